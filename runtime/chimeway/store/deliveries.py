"""Deliveries and attempts: what must be sent, that it is being sent, and what became of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from chimeway.limits import HISTORY
from chimeway.store.ids import SHARDS
from chimeway.store.ledger import Fence
from chimeway.store.pool import Database, column

BeginAnswer: TypeAlias = Literal["begun", "unseen", "stale", "busy", "gone"]
RecordAnswer: TypeAlias = Literal["applied", "repeat", "busy", "gone"]


@dataclass(frozen=True, slots=True)
class Sendable:
    """A delivery as the dispatcher needs it."""

    id: UUID
    run_id: UUID
    visit: int
    step_id: str
    tenant_id: str
    recipient_id: str
    channel: str
    render_key: str
    status: str
    revision: int
    attempt_count: int
    counted_attempts: int
    next_attempt_at: datetime | None
    first_attempt_at: datetime | None
    created_at: datetime
    address: str | None
    message: dict[str, Any] | None
    history: list[list[Any]]
    """[provider, error class] of failed attempts, the oldest first; None where no provider is named."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """An attempt to be made durable before its provider is called."""

    delivery_id: UUID
    run_id: UUID
    revision: int
    mailbox: int
    address: str | None
    message: dict[str, Any]
    provider: str | None = None
    profile: int | None = None
    """With `tenant`: the versions of the rows that policy judged by; None: it did not."""
    tenant: int | None = None
    budget: int | None = None
    """The revision of the budget that was counted by, where a cap is set; `keep` sends are remembered."""
    room: int | None = None
    """How many more may be sent by that count: so many deliveries may name one revision."""
    keep: int | None = None
    verdict: dict[str, Any] | None = None
    """Why policy let it go, where there was anything to judge."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What policy said of a delivery that was about to be sent, and by which rows."""

    delivery_id: UUID
    run_id: UUID
    revision: int
    mailbox: int
    profile: int
    tenant: int
    verdict: Literal["defer", "suppress"]
    reason: str
    until: datetime | None
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What became of a HeldBack; `nudged`: the run can move now."""

    answer: Literal["applied", "unseen", "stale", "busy", "gone"]
    nudged: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of a Beginning; `attempt_no` when it was begun."""

    answer: BeginAnswer
    attempt_no: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt, and of its delivery by the rules of retrying.

    `attempt_no` None: the delivery ends without any provider having been asked.
    """

    delivery_id: UUID
    run_id: UUID
    attempt_no: int | None
    outcome: Literal["succeeded", "failed", "unknown"] | None
    status: Literal["succeeded", "failed", "cancelled", "suppressed"]
    reason: str | None = None
    error_class: str | None = None
    note: str | None = None
    provider_reference: str | None = None
    next_attempt_at: datetime | None = None
    nudge: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an Outcome; `nudged`: the run can move now."""

    answer: RecordAnswer
    nudged: bool


async def load_sendables(database: Database, ids: Sequence[UUID]) -> dict[UUID, Sendable]:
    """Return deliveries by id."""
    rows = await database.fetch("load_deliveries", list(ids), HISTORY)
    names = Sendable.__slots__
    return {row["id"]: Sendable(**{name: row[name] for name in names}) for row in rows}


async def begin_attempts(
    database: Database, fence: Fence | None, node: UUID, rows: Sequence[Beginning]
) -> list[Begun]:
    """Write attempt rows, each guarded by its delivery's revision, its run's mailbox and what policy saw."""
    owner, epoch = (fence.owner, fence.epoch) if fence else (None, None)
    names = (
        "delivery_id", "run_id", "revision", "mailbox", "address", "message", "provider", "profile", "tenant",
        "budget", "room", "keep", "verdict",
    )  # fmt: skip
    columns = (column(rows, name) for name in names)
    found = await database.fetch("begin_attempts", owner, epoch, node, *columns)
    answers = {row["delivery_id"]: Begun(row["answer"], row["attempt_no"]) for row in found}
    return [answers[row.delivery_id] for row in rows]


async def begin_again(rows: Sequence[Beginning]) -> list[Begun]:
    """Say of attempts whose answer did not come that their rows must be looked at again, and the hour, too.

    They may have been begun; if not, policy was asked some time ago, and its answer may be another now.
    """
    return [Begun("stale", None) for _ in rows]


async def record_verdicts(database: Database, fence: Fence | None, rows: Sequence[HeldBack]) -> list[Held]:
    """Write down what policy holds back, guarded as attempts are."""
    owner, epoch = (fence.owner, fence.epoch) if fence else (None, None)
    names = (
        "delivery_id", "run_id", "revision", "mailbox", "profile", "tenant", "verdict", "reason",
        "until", "inputs",
    )  # fmt: skip
    found = await database.fetch("record_verdicts", owner, epoch, *(column(rows, name) for name in names))
    answers = {row["delivery_id"]: Held(row["answer"], row["nudged"]) for row in found}
    return [answers[row.delivery_id] for row in rows]


async def put_off_until(database: Database, delivery_id: UUID) -> datetime | None:
    """Return until when policy has put a delivery off, the last time; None: never."""
    until: datetime | None = await database.fetchval("put_off_until", delivery_id)
    return until


async def record_results(database: Database, rows: Sequence[Outcome]) -> list[Recorded]:
    """Write what became of attempts; the same again is a `repeat` and changes nothing."""
    names = (
        "delivery_id", "run_id", "attempt_no", "outcome", "error_class", "note", "provider_reference",
        "status", "reason", "next_attempt_at", "nudge",
    )  # fmt: skip
    found = await database.fetch("record_results", *(column(rows, name) for name in names))
    answers = {row["delivery_id"]: Recorded(row["answer"], row["nudged"]) for row in found}
    return [answers[row.delivery_id] for row in rows]


async def abandoned(
    database: Database,
    node: UUID,
    after: UUID,
    limit: int,
    shards: Collection[int] = SHARDS,
    *,
    ended: bool = False,
) -> list[tuple[UUID, UUID, int]]:
    """Return (delivery, run, attempt) of attempts whose sender is gone, behind the cursor.

    Of deliveries that wait for the result; `ended`: of those that ended without it, by what a provider told.
    In these shards, senders whose lease has ended; in all, attempts of this `node` that began long ago.
    """
    statement = "unanswered_attempts" if ended else "abandoned_attempts"
    rows = await database.fetch(statement, node, after, limit, sorted(shards))
    return [(row["delivery_id"], row["run_id"], row["attempt_no"]) for row in rows]


async def postpone(database: Database, rows: Sequence[tuple[UUID, datetime]]) -> list[bool]:
    """Have deliveries be due later, which are not being sent; False for one that somebody else has locked."""
    ids, instants = [row[0] for row in rows], [row[1] for row in rows]
    done = {row["id"] for row in await database.fetch("postpone_deliveries", ids, instants)}
    return [delivery_id in done for delivery_id in ids]


async def mark_incapable(database: Database, delivery_id: UUID, lacks: str) -> bool:
    """Say of a delivery that this node lacks its channel; False when it is locked by somebody else."""
    return bool(await database.fetchval("mark_delivery_incapable", delivery_id, lacks))


async def reclaim_capable(database: Database, channels: Sequence[str]) -> list[UUID]:
    """Give back the deliveries that waited for one of these channels."""
    rows = await database.fetch("clear_deliveries_incapable", list(channels))
    return [row["id"] for row in rows]

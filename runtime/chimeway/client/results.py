"""What the producers' verbs return."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chimeway.progression.snapshot import RunState
from chimeway.store.call import uuid, uuids


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a trigger began. `duplicate`: its idempotency key was known, and nothing was written."""

    run_ids: tuple[UUID, ...]
    recipients: tuple[str, ...]
    duplicate: bool

    @property
    def runs(self) -> Mapping[str, UUID]:
        """Return the run of each recipient."""
        return dict(zip(self.recipients, self.run_ids, strict=True))


@dataclass(frozen=True, slots=True)
class StoppedRun:
    """A run that a cancel stopped.

    `step` is where it stood (None: it had entered none), `cancelled` are deliveries that now never
    leave, `on_their_way` those for which a provider had been asked already.
    """

    run_id: UUID
    step: str | None
    cancelled: tuple[UUID, ...]
    on_their_way: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that had ended before a cancel reached it."""

    run_id: UUID
    state: RunState
    step: str | None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancel did, exactly; it holds once the caller's transaction commits."""

    stopped: tuple[StoppedRun, ...]
    already_ended: tuple[EndedRun, ...]

    @property
    def cancelled(self) -> tuple[UUID, ...]:
        """Return all deliveries that now never leave."""
        return tuple(delivery for run in self.stopped for delivery in run.cancelled)

    @property
    def on_their_way(self) -> tuple[UUID, ...]:
        """Return all deliveries for which a provider had been asked already."""
        return tuple(delivery for run in self.stopped for delivery in run.on_their_way)


def receipt(rows: Iterable[Mapping[str, Any]]) -> Receipt:
    """Return the receipt of one trigger's rows."""
    found = tuple(rows)
    return Receipt(
        run_ids=uuids(row["run_id"] for row in found),
        recipients=tuple(row["recipient_id"] for row in found),
        duplicate=any(row["known"] for row in found),
    )


def cancellation(rows: Iterable[Mapping[str, Any]]) -> Cancellation:
    """Return what a cancel did, from its rows."""
    stopped: list[StoppedRun] = []
    ended: list[EndedRun] = []
    for row in rows:
        run_id, step = uuid(row["stopped_run_id"]), row["step"]
        if row["outcome"] == "stopped":
            stopped.append(StoppedRun(run_id, step, uuids(row["cancelled"]), uuids(row["on_their_way"])))
        else:
            ended.append(EndedRun(run_id, row["state"], step))
    return Cancellation(tuple(stopped), tuple(ended))

"""The rows that a simulation has, each frozen: as `schema.sql` has them, less what no rule is about."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chimeway.progression.decision import Decision, Transition
from chimeway.progression.instants import read
from chimeway.progression.snapshot import Delivery, Run
from chimeway.testing.simulation.facts import Picture


@dataclass(frozen=True, slots=True)
class SignalRow:
    """A signal; `arrival` is its number, taken when it was written, `run_id` the run that it is for alone."""

    id: UUID
    type: str
    payload: Any
    arrival: int
    created_at: datetime
    tenant: str
    actor: str
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of a run's mailbox; `consumed_by` is the decision that obeyed it."""

    number: int
    signal: SignalRow
    consumed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt, and its result once there is one."""

    number: int
    result: str | None = None


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A delivery with its attempts; `told` is the rank of the gravest feedback."""

    delivery: Delivery
    next_attempt_at: datetime | None
    stop_requested: bool = False
    attempts: tuple[Attempt, ...] = ()
    told: int = 0


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run with its mailbox and its transitions, each with the decision that wrote it."""

    run: Run
    arrival: int
    data: Mapping[str, Any]
    letters: tuple[Letter, ...] = ()
    mailbox_seen: int = 0
    transitions: tuple[tuple[str, Transition], ...] = ()
    decisions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """A decision on its way, with its id: submitted again after a lost answer it is the same."""

    id: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Guards:
    """What keeps the rows right. All of it is in force; tests take one away to see that it is missed.

    Of decisions: `live`, `held`, `paused`, `revision`, `mailbox`, `delivery`, `clock`. Of attempts: `status`,
    `attempt_revision`, `attempt_mailbox`, `attempt_held`, `attempt_paused`. Of both: `lock`, and `younger`
    (signals are looked for in a statement after the lock's, and not by its snapshot). Of signals: `arrival`
    (only later ones are heard), `whose`, `early` (a run's first evaluation takes what was routed before it),
    `ahead` (a signal is put into the mailbox before its wait), `consumed`. Of stops: `cancels`, `no_repeat`,
    `supersedes`. Of results: `one_result`. Of wakes: `wakes`, `unanswered` (attempts of the dead are found).
    """

    live: bool = True
    held: bool = True
    paused: bool = True
    revision: bool = True
    mailbox: bool = True
    delivery: bool = True
    clock: bool = True
    status: bool = True
    attempt_revision: bool = True
    attempt_mailbox: bool = True
    attempt_held: bool = True
    attempt_paused: bool = True
    lock: bool = True
    younger: bool = True
    arrival: bool = True
    whose: bool = True
    early: bool = True
    ahead: bool = True
    consumed: bool = True
    cancels: bool = True
    no_repeat: bool = True
    supersedes: bool = True
    one_result: bool = True
    wakes: bool = True
    unanswered: bool = True


IN_FORCE = Guards()


class Broken(AssertionError):  # noqa: N818  (what is so, not that it is wrong)
    """An invariant does not hold; its text begins with which."""


def picture_of(row: RunRow, messages: Mapping[int, MessageRow]) -> Picture:
    """Return what the rows say, in the model's words. `messages`: the run's, by visit."""
    return picture(
        row.run,
        unread=(letter.number for letter in row.letters if letter.consumed_by is None),
        deliveries={visit: message.delivery for visit, message in messages.items()},
        transitions=(transition for _, transition in row.transitions[1:]),
    )


def picture(
    run: Run,
    *,
    unread: Iterable[int],
    deliveries: Mapping[int, Delivery],
    transitions: Iterable[Transition],
) -> Picture:
    """Return a run in the model's words.

    Args:
        run: as it stands.
        unread: the numbers of its mail that no decision has consumed.
        deliveries: its own, by visit.
        transitions: all but the first.
    """
    return Picture(
        state=run.state,
        step=run.step,
        visit=run.visit,
        status_reason=run.status_reason,
        held=run.held_reason is not None,
        due=read(run.status_context.get("due_at")) if run.state == "waiting" else None,
        unread=tuple(unread),
        deliveries={
            visit: (each.step_id, each.status, each.suppression_reason) for visit, each in deliveries.items()
        },
        trail=tuple((t.reason, t.to_state, t.to_step, t.visit) for t in transitions),
    )


def message_id(run_id: UUID, visit: int) -> UUID:
    """Return the id of the delivery of a visit."""
    return UUID(int=run_id.int + visit)


def signal_id(arrival: int) -> UUID:
    """Return the id of the signal with this number."""
    return UUID(int=(1 << 100) + arrival)

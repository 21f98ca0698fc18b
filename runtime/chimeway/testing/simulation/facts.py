"""What may become durable of a run, and how it looks then: the words in which the model is told and answers.

    model = Reference(definition, Begun(run="r1", recipient="ada", arrival=1, data={...}))
    model.happened(Said(signal="s1", type="read", ...))    # all: also those before the run, and of others
    model.happened(Routed(1, "s1"))
    model.happened(Decided(now=..., at=..., births={1: Born("id of the delivery")}))
    model.picture.differences(picture_of_the_rows)         # what the rows must say now
    model.moves(now)                                       # whether an evaluation would write something

A fact is one thing that one transaction wrote; they are told in the order of the commits. Of one
transaction routing comes first, then the decision or the attempt that went with it. `Decided` does not say
what was decided: the model says it. `happened` raises `Contradiction` where a fact cannot be.

Whoever reads rows takes decisions from the transitions (one for each `decision_id`, with `now` from its
`inputs`, and `births` from the deliveries of the visits that it entered), commands from the transitions
that people write, and all else from the rows of their names. All instants are aware; ids are text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from chimeway.workflow.calendar import USUAL_DAYS, WorkingCalendar


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The run was committed by a trigger; before `starts_at`, its first `wake_at`, it does not begin."""

    run: str
    recipient: str
    arrival: int
    tenant: str = "default"
    data: Mapping[str, Any] = field(default_factory=dict)
    zone: str = "UTC"
    working: WorkingCalendar = USUAL_DAYS
    starts_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A signal was committed. `at` is its `created_at`; `run`: it is for that run alone."""

    signal: str
    type: str
    arrival: int
    at: datetime
    actor: str
    payload: Any = None
    tenant: str = "default"
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """A signal was put into the run's mailbox, as this number."""

    number: int
    signal: str


@dataclass(frozen=True, slots=True)
class Born:
    """A delivery as its row was inserted: policy and templates had their say."""

    id: str
    status: str = "pending"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision was committed: made for the instant `now`, committed `at`. What it decided, the model says.

    `births`: the deliveries inserted with it, by visit. `unseen`: signals that were committed only after the
    statement that looked for signals under the run's lock, and so came too late for this transaction.
    """

    now: datetime
    at: datetime
    births: Mapping[int, Born] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt row was committed; `unseen` as for a decision."""

    visit: int
    number: int
    unseen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Called:
    """A provider was called for an attempt."""

    visit: int
    number: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of an attempt was committed.

    `result` is the attempt's: succeeded, failed, unknown. `status` and `reason` are what the rules of
    retrying wanted of the delivery: succeeded, failed (to be tried again), cancelled. `number` and `result`
    None: it ended (cancelled, suppressed), or was put off (deferred), without any provider having been
    asked.
    """

    visit: int
    number: int | None
    result: str | None
    status: str
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Feedback of a provider was committed: `delivered`, `failed` or `bounced`."""

    visit: int
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ordered:
    """A command was committed: cancel, hold, resume (of the run), pause, unpause (of its workflow).

    `hold` is also what the engine does with a run that it cannot decide about. A run that begins while its
    workflow is paused is told so first.
    """

    command: str


Fact: TypeAlias = Said | Routed | Decided | Attempted | Called | Answered | Told | Ordered


@dataclass(frozen=True, slots=True)
class Picture:
    """What the rows must say. `trail`: (reason, state after, step, visit) of each transition but the first.

    `due`: of a run that waits, as its context has it (it may be woken earlier). `unread`: the numbers of its
    unconsumed mailbox rows. `deliveries`: by visit, (step, status, reason). What rows say besides (`wake_at`,
    texts) is not the model's affair.
    """

    state: str
    step: str | None
    visit: int
    status_reason: str
    held: bool
    due: datetime | None
    unread: tuple[int, ...]
    deliveries: Mapping[int, tuple[str, str, str | None]]
    trail: tuple[tuple[str, str, str | None, int], ...]

    def differences(self, rows: "Picture") -> tuple[str, ...]:
        """Return in words where the rows say something else; empty where they agree."""
        return tuple(
            f"{name}: the model says {ours}, the rows {theirs}"
            for name in self.__dataclass_fields__
            if (ours := getattr(self, name)) != (theirs := getattr(rows, name))
        )

"""What a journey is, as frozen values: the parsed form of a definition.

Nothing here reads text or judges it: `parse` does, and hands out only what is valid. The names are
those of the definition format, so that a reader who knows the one knows the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from chimeway.workflow.calendar import EVERY_DAY, LocalTime, WeeklyWindow, WorkingCalendar

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list of it, dict of str to it."""

Outcome: TypeAlias = Literal[
    "delivered",
    "suppressed",
    "temporary_failure",
    "retries_exhausted",
    "permanent_failure",
    "bounced",
]
OUTCOMES: tuple[Outcome, ...] = (
    "delivered",
    "suppressed",
    "temporary_failure",
    "retries_exhausted",
    "permanent_failure",
    "bounced",
)
END = "end"
"""Where a run goes when nothing follows; no step may bear this id."""


@dataclass(frozen=True, slots=True)
class DataRef:
    """`{"data": name}`: a top-level field of the trigger's data."""

    name: str


@dataclass(frozen=True, slots=True)
class DeliveryRef:
    """`{"delivery": step_id}`: the id of that step's latest delivery."""

    step_id: str


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """A JSON value as it stands (objects are written `{"value": {...}}`)."""

    value: Json


MatchTerm: TypeAlias = DataRef | DeliveryRef | LiteralValue


@dataclass(frozen=True, slots=True)
class Goto:
    """`then: {"goto": step_id}`."""

    step_id: str


Then: TypeAlias = Literal["stop", "continue"] | Goto


@dataclass(frozen=True, slots=True)
class Condition:
    """`{type: signal_received, ...}`: when a signal ends a wait or the run."""

    signal_type: str
    match: tuple[tuple[str, MatchTerm], ...] = ()
    then: Then = "stop"
    since: Literal["run", "entered"] = "run"


@dataclass(frozen=True, slots=True)
class OnOutcome:
    """`{kind: on_outcome, ...}`."""

    outcome: Outcome
    to_step: str
    keep_retrying: bool = False


@dataclass(frozen=True, slots=True)
class StopOn:
    """`{kind: stop, outcome}`."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """`{kind: wait_until, ...}`: wait after the delivery became terminal.

    Exactly one of `delay` (ISO 8601) and `delay_seconds` is given.
    """

    to_step: str
    delay: str | None = None
    delay_seconds: float | None = None
    cancel_signals: tuple[Condition, ...] = ()
    anchor: Literal["prior_delivery_terminal_at"] = "prior_delivery_terminal_at"


Rule: TypeAlias = OnOutcome | StopOn | WaitUntil


Days: TypeAlias = frozenset[str] | Literal["working_days"]
"""Which days count: days of the week, or those on which the tenant works."""
WORKING_DAYS: Final = "working_days"


@dataclass(frozen=True, slots=True)
class Hours:
    """`{from, to, on?}`: hours of some days, by the recipient's clock."""

    start: LocalTime
    end: LocalTime
    on: Days = EVERY_DAY

    def window(self, working: WorkingCalendar) -> WeeklyWindow:
        """Return the window that this is for somebody whose tenant has this calendar."""
        if isinstance(self.on, frozenset):
            return WeeklyWindow(self.start, self.end, self.on)
        return WeeklyWindow(self.start, self.end, working.working_days, working.holidays)


@dataclass(frozen=True, slots=True)
class AtLocalTime:
    """`until: {at, on?}`: the next such time by the recipient's clock, strictly after entry."""

    time: LocalTime
    on: Days = EVERY_DAY


@dataclass(frozen=True, slots=True)
class Within:
    """`until: {within: {from, to, on?}}`: the next moment of these hours; at once when inside."""

    hours: Hours


Until: TypeAlias = datetime | DataRef | AtLocalTime | Within


@dataclass(frozen=True, slots=True)
class NotifyAction:
    """`action: {type: notify, ...}`; `send_window` are the hours in which it may be sent."""

    channel: str
    render_key: str
    data: Mapping[str, Json] = field(default_factory=dict)
    send_window: Hours | None = None


@dataclass(frozen=True, slots=True)
class WaitAction:
    """`action: {type: wait, ...}`; exactly one of `duration` and `until` is given."""

    duration: str | None = None
    until: Until | None = None
    stop_conditions: tuple[Condition, ...] = ()


Action: TypeAlias = NotifyAction | WaitAction


@dataclass(frozen=True, slots=True)
class Repeat:
    """`next: {repeat, times, then}`: back to `step_id` at most so often, and then on to `then`.

    It is counted for each step that leads back. Once used up the count begins anew, so that a round
    within a round is gone in full each time.
    """

    step_id: str
    times: int
    then: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `next` is None where the definition leaves it to the default."""

    id: str
    action: Action
    progress: tuple[Rule, ...] = ()
    next: str | Repeat | None = None


@dataclass(frozen=True)
class Definition:
    """An immutable, versioned, valid definition.

    It is asked the same questions at each decision of each of its runs, so what is found once is kept.
    """

    key: str
    version: int
    steps: tuple[Step, ...]
    stop_conditions: tuple[Condition, ...] = ()
    critical: bool = False
    category: str | None = None
    description: str | None = None

    def step(self, step_id: str | None) -> Step | None:
        """Return the step of this id, or None."""
        return self._by_id.get(step_id)

    def after(self, step: Step, repeated: int = 0) -> str:
        """Return where a run goes when `step` ends and no rule applies: a step id or `end`.

        `repeated` is how often it has led back already, where it may.
        """
        if isinstance(step.next, Repeat):
            return step.next.step_id if repeated < step.next.times else step.next.then
        if step.next is not None:
            return step.next
        return self._following[step.id]

    def place(self, step: Step) -> int:
        """Return the place of a step among all."""
        return self._places[step.id]

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What others have worked out of it, once for all."""
        return {}

    @cached_property
    def _by_id(self) -> Mapping[str | None, Step]:
        return {step.id: step for step in self.steps}

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {step.id: place for place, step in enumerate(self.steps)}

    @cached_property
    def _following(self) -> Mapping[str, str]:
        return {step.id: default_next(self.steps, place) for place, step in enumerate(self.steps)}


def default_next(steps: Sequence[Step], place: int) -> str:
    """Return where the step at `place` leads when its `next` is left to the default."""
    step = steps[place]
    if isinstance(step.action, NotifyAction) and step.progress:
        return END
    return steps[place + 1].id if place + 1 < len(steps) else END

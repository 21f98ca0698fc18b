"""Every way through a definition, with the earliest and the latest moment of each step.

Moments are counted as if each message ended as soon as its `send_window` is open, or at once where it is
suppressed; a slow provider, quiet hours and caps can only make things later.
What is open (`until` from data that is not given) has no latest moment, nor has anything after it. The
workflow's own `stop_conditions` may cut any path short, and are not among the ways.

Paths can be many: they are yielded one by one, and who lists them says when it is enough.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from chimeway.limits import MAX_VISITS
from chimeway.workflow.calendar import USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import (
    END,
    AtLocalTime,
    DataRef,
    Definition,
    Json,
    NotifyAction,
    Repeat,
    Step,
    WaitAction,
    WaitUntil,
    Within,
)
from chimeway.workflow.durations import known_zone, parse_duration, parse_instant, seconds_after
from chimeway.workflow.graph import Edge, graph_of
from chimeway.workflow.moments import next_moment

PathEnd: TypeAlias = Literal["completed", "stopped", "repeats", "held"]


@dataclass(frozen=True, slots=True)
class Span:
    """From the earliest to the latest moment; `latest` None: nobody can say."""

    earliest: datetime
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class Leg:
    """A step on a path: when it is entered, and by which way it is left; `at`: when what it does is done.

    That is when its message goes out, in its hours if it has any; for a wait it is when it is entered.
    """

    step: Step
    entered: Span
    left_by: Edge
    at: Span

    @property
    def sends(self) -> bool:
        """Tell whether a message is planned on entering."""
        return _sends(self.step)


@dataclass(frozen=True, slots=True)
class Path:
    """One way, from the first step to an end; `repeats` where it comes to a step again.

    Rounds that are bounded are gone one by one, so they end; `repeats` is for those that are not, and
    `held` where a run has entered as many steps as it may.
    """

    legs: tuple[Leg, ...]
    end: PathEnd


def paths(
    definition: Definition,
    *,
    start: datetime,
    zone: str = "UTC",
    data: Mapping[str, Json] | None = None,
    working: WorkingCalendar | None = None,
) -> Iterator[Path]:
    """Yield the ways through a definition, depth first, in the order in which they are tried.

    Args:
        definition: the journey, valid.
        start: when it is triggered.
        zone: where the recipient lives: calendar durations and local times depend on it.
        data: the trigger's, as far as it is known: an `until` may refer to it.
        working: on which days the tenant works; Monday to Friday if left out.

    Raises:
        ValueError: the zone is unknown, an `until` refers to data that is no instant, no working day
            comes within ten years, or a moment lies beyond the year 9999.
    """
    if not known_zone(zone):
        raise ValueError(f"given the time zone {zone[:60]!r}; wanted an IANA name")
    walk = _Walk(definition, zone, {} if data is None else data, working or USUAL_DAYS)
    yield from walk.all(Span(start, start))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path has come to: a step, and how often each step has led back so far.

    Who comes to a step again with the same counts goes round for ever.
    """

    step: Step
    entered: Span
    legs: tuple[Leg, ...]
    rounds: Mapping[str, int]
    seen: frozenset[object] = frozenset()

    @property
    def mark(self) -> object:
        return self.step.id, frozenset(self.rounds.items())


class _Walk:
    def __init__(
        self, definition: Definition, zone: str, data: Mapping[str, Json], working: WorkingCalendar
    ) -> None:
        self._definition = definition
        self._ways = graph_of(definition.steps).edges
        self._zone = zone
        self._data = data
        self._working = working

    def all(self, start: Span) -> Iterator[Path]:
        """Yield the ways, depth first. No recursion: a path may be as long as a run's life."""
        first = _Place(self._definition.steps[0], start, (), {})
        open_: list[Path | _Place] = [first]
        while open_:
            place = open_.pop()
            if isinstance(place, Path):
                yield place
            else:
                open_.extend(reversed(list(self._further(place))))

    def _further(self, place: "_Place") -> Iterator["Path | _Place"]:
        """Yield what follows from a place on a path, one for each way out, in order."""
        step, entered = place.step, place.entered
        sent = self._sent(step, entered)
        ended = Span(entered.earliest, sent.latest)  # one that is suppressed ends when it is planned
        due = self._due(step, entered, ended if _sends(step) else _anchor(entered, place.legs))
        seen = place.seen | {place.mark}
        for edge in self._ways[step.id]:
            rounds = _counted(step, edge, place.rounds)
            if rounds is None:
                continue
            legs = (*place.legs, Leg(step, entered, edge, sent))
            if edge.target == END:
                yield Path(legs, "stopped" if edge.kind == "stop" else "completed")
                continue
            following = self._definition.step(edge.target)
            assert following is not None, edge
            left = sent if _was_sent(step, edge) else _left(edge, ended, due)
            onward = _Place(following, left, legs, rounds, seen)
            if onward.mark in seen:
                yield Path(legs, "repeats")
            else:
                yield Path(legs, "held") if len(legs) >= MAX_VISITS else onward

    def _sent(self, step: Step, entered: Span) -> Span:
        """Return when the message of a step can go out; of any other step, its entry."""
        hours = step.action.send_window if isinstance(step.action, NotifyAction) else None
        if hours is None:
            return entered
        window = hours.window(self._working)
        latest = None if entered.latest is None else window.opens(entered.latest, self._zone)
        return Span(window.opens(entered.earliest, self._zone), latest)

    def _due(self, step: Step, entered: Span, anchor: Span) -> Span:
        """Return when a wait on this step elapses; for a step without one, when its message has ended."""
        match step.action:
            case WaitAction(duration=str() as duration):
                return _later(entered, self._after(anchor, duration))
            case WaitAction(until=DataRef(name=name)):
                return self._at(name, entered)
            case WaitAction(until=datetime() as at):
                return _later(entered, Span(at, at))
            case WaitAction(until=AtLocalTime() | Within() as until):
                latest = None if entered.latest is None else self._next(until, entered.latest)
                return Span(self._next(until, entered.earliest), latest)
        rule = next((rule for rule in step.progress if isinstance(rule, WaitUntil)), None)
        if rule is None:
            return anchor
        return self._after(anchor, rule.delay if rule.delay is not None else rule.delay_seconds or 0)

    def _next(self, until: AtLocalTime | Within, entered: datetime) -> datetime:
        return next_moment(until, entered, self._zone, self._working)

    def _at(self, name: str, entered: Span) -> Span:
        given = self._data.get(name)
        if given is None:
            return Span(entered.earliest, None)
        if not isinstance(given, str):
            raise ValueError(f"the data's {name} is given as {given!r:.60}; wanted an instant as text")
        at = parse_instant(given)
        return _later(entered, Span(at, at))

    def _after(self, anchor: Span, delay: str | float) -> Span:
        latest = None if anchor.latest is None else self._moment(anchor.latest, delay)
        return Span(self._moment(anchor.earliest, delay), latest)

    def _moment(self, anchor: datetime, delay: str | float) -> datetime:
        if isinstance(delay, str):
            return parse_duration(delay).after(anchor, self._zone)
        return seconds_after(anchor, delay)


def _counted(step: Step, edge: Edge, rounds: Mapping[str, int]) -> Mapping[str, int] | None:
    """Return the counts once this way is taken; None where it is not open: a way back used up, or not yet."""
    if not isinstance(step.next, Repeat) or not (edge.times or edge.last):
        return rounds
    gone = rounds.get(step.id, 0)
    if edge.last is (gone < step.next.times):
        return None
    others = {name: count for name, count in rounds.items() if name != step.id}
    return others if edge.last else {**others, step.id: gone + 1}


def _anchor(entered: Span, before: tuple[Leg, ...]) -> Span:
    """Return what a wait counts from: the end of the message of the step before, else its entry."""
    if not before or not before[-1].sends:
        return entered
    last = before[-1]
    return last.at if _was_sent(last.step, last.left_by) else Span(last.entered.earliest, last.at.latest)


def _sends(step: Step) -> bool:
    return isinstance(step.action, NotifyAction)


def _was_sent(step: Step, edge: Edge) -> bool:
    """Tell whether this way is only taken once something became of a message that went out."""
    return _sends(step) and edge.kind == "on_outcome" and edge.by != "suppressed"


def _later(one: Span, other: Span) -> Span:
    latest = None if one.latest is None or other.latest is None else max(one.latest, other.latest)
    return Span(max(one.earliest, other.earliest), latest)


def _left(edge: Edge, ended: Span, due: Span) -> Span:
    """Return when a step is left; `ended` is when its message has, or for a wait when it is entered."""
    match edge.kind:
        case "continue" | "goto" | "stop":
            return Span(ended.earliest, due.latest)  # a signal comes at any moment of the wait
        case "on_outcome":
            return ended
        case "next" | "wait_until":
            return due

"""A definition in words: what a step does, what a condition listens for, how a step is left.

The one place that words these things: `explain`, `workflow show` and `workflow paths` all use it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from chimeway.workflow.calendar import EVERY_DAY, in_order
from chimeway.workflow.definition import (
    END,
    AtLocalTime,
    Condition,
    DataRef,
    Days,
    DeliveryRef,
    Hours,
    LiteralValue,
    MatchTerm,
    NotifyAction,
    OnOutcome,
    Step,
    WaitAction,
    WaitUntil,
    Within,
)
from chimeway.workflow.durations import iso_instant
from chimeway.workflow.graph import Edge, Graph


def visible(text: str) -> str:
    """Return text in which what would move a cursor, turn the reading order or hide is spelled out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def doing(step: Step) -> str:
    """Return what a step does: `sends email "mention_email"`, `waits PT2H`."""
    match step.action:
        case NotifyAction(channel=channel, render_key=render_key, send_window=window):
            only = "" if window is None else f", only {hours_of(window)}"
            return f'sends {channel} "{render_key}"{only}'
        case WaitAction(duration=str() as duration):
            return f"waits {duration}"
        case WaitAction(until=datetime() as at):
            return f"waits until {iso_instant(at)}"
        case WaitAction(until=DataRef(name=name)):
            return f"waits until the trigger's {name}"
        case WaitAction(until=AtLocalTime() as at):
            return f"waits until {time_of(at)}"
        case WaitAction(until=Within(hours=hours)):
            return f"waits for the hours {hours_of(hours)}"
        case _:
            raise AssertionError(step.action)


def time_of(at: AtLocalTime) -> str:
    """Return a local time and its days: `09:00 on mon and thu`."""
    return f"{at.time}{_days(at.on)}"


def hours_of(hours: Hours) -> str:
    """Return hours and their days: `from 09:00 to 17:00 on working days`."""
    return f"from {hours.start} to {hours.end}{_days(hours.on)}"


def _days(on: Days) -> str:
    if not isinstance(on, frozenset):
        return " on working days"
    if on == EVERY_DAY:
        return ""
    days = in_order(on)
    return f" on {' and '.join((', '.join(days[:-1]), days[-1])) if len(days) > 1 else days[0]}"


def signal_of(condition: Condition) -> str:
    """Return what a condition listens for: the type, and what its payload must be."""
    terms = [f"{name} = {_term(term)}" for name, term in condition.match]
    return condition.signal_type + (f" (with {' and '.join(terms)})" if terms else "")


def waited(rule: WaitUntil) -> str:
    """Return how long a rule waits, as ISO 8601 where it is a whole number of microseconds."""
    if rule.delay is not None:
        return rule.delay
    return f"{rule.delay_seconds:g} s"


def rule_to_wait(step: Step) -> WaitUntil | None:
    """Return the rule by which a run waits on a notify step, if there is one."""
    return next((rule for rule in step.progress if isinstance(rule, WaitUntil)), None)


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a step, in words: what takes it, and where it leads.

    `target` is a step's id, `stopped` or `completed`; `ends` tells the two kinds apart. `by_itself`
    says that the run takes it when nothing else has happened.
    """

    label: str
    target: str
    ends: bool
    by_itself: bool


def ways_out(graph: Graph, step: Step) -> Iterator[Way]:
    """Yield the ways out of a step of this graph, in the order in which they are tried."""
    heard = iter(_conditions(step))
    condition: Condition | None = None
    for edge in graph.edges[step.id]:
        if by_signal(step, edge) and not edge.last:
            condition = next(heard)
        ends = edge.target == END
        target = ("stopped" if edge.kind == "stop" else "completed") if ends else edge.target
        label = ", ".join(part for part in (_label(step, edge, condition), _how_often(edge)) if part)
        yield Way(label, target, ends, edge.kind in ("next", "wait_until"))


def by_signal(step: Step, edge: Edge) -> bool:
    """Tell whether a signal takes this way, and not an outcome or time."""
    if edge.kind == "stop":
        return edge.timed or isinstance(step.action, WaitAction)
    return edge.kind in ("continue", "goto")


def _how_often(edge: Edge) -> str:
    if edge.times is not None:
        return f"again at most {edge.times} time{'' if edge.times == 1 else 's'}"
    return "the last time" if edge.last else ""


def _label(step: Step, edge: Edge, condition: Condition | None) -> str:
    if condition is not None and by_signal(step, edge):
        return signal_of(condition)
    if edge.kind == "wait_until" and (rule := rule_to_wait(step)) is not None:
        return f"{waited(rule)} after it"
    if edge.kind == "next":
        return _over(step.action) if isinstance(step.action, WaitAction) else ""
    kept = edge.by == "temporary_failure" and any(
        isinstance(rule, OnOutcome) and rule.outcome == edge.by and rule.keep_retrying
        for rule in step.progress
    )
    return f"{edge.by}, still retried" if kept else f"{edge.by}"


def _conditions(step: Step) -> tuple[Condition, ...]:
    if isinstance(step.action, WaitAction):
        return step.action.stop_conditions
    return tuple(
        condition
        for rule in step.progress
        if isinstance(rule, WaitUntil)
        for condition in rule.cancel_signals
    )


def _over(action: WaitAction) -> str:
    if action.duration is not None:
        return f"after {action.duration}"
    return f"at {time_of(action.until)}" if isinstance(action.until, AtLocalTime) else ""


def _term(term: MatchTerm) -> str:
    match term:
        case DataRef(name=name):
            return f"the trigger's {name}"
        case DeliveryRef(step_id=step_id):
            return f"the id of {step_id}'s delivery"
        case LiteralValue(value=value):
            return json.dumps(value, ensure_ascii=False)
        case _:
            assert_never(term)

"""From a definition back to JSON: the canonical form, its digest, and what SQL needs to know.

The canonical form leaves out every field that equals its default. A default, once released, never
changes: the golden digests of the tests stand guard.
"""

import copy
import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Literal, TypeAlias, assert_never

import rfc8785

from chimeway.workflow.calendar import EVERY_DAY, in_order
from chimeway.workflow.definition import (
    AtLocalTime,
    Condition,
    DataRef,
    Days,
    Definition,
    DeliveryRef,
    Goto,
    Hours,
    Json,
    LiteralValue,
    MatchTerm,
    NotifyAction,
    OnOutcome,
    Repeat,
    Rule,
    Step,
    StopOn,
    Then,
    Until,
    WaitAction,
    WaitUntil,
    Within,
    default_next,
)
from chimeway.workflow.durations import iso_instant

DataKind: TypeAlias = Literal["any", "instant"]


def encode(definition: Definition) -> dict[str, Json]:
    """Return the definition in its canonical JSON form; `parse` gives the same one back."""
    steps = definition.steps
    return {
        "key": definition.key,
        "version": definition.version,
        "steps": [_step(steps, place) for place in range(len(steps))],
        **_given("stop_conditions", _conditions(definition.stop_conditions)),
        **_given("critical", definition.critical),
        **_unless_none("category", definition.category),
        **_unless_none("description", definition.description),
    }


def canonical_json(definition: Definition) -> bytes:
    """Return the canonical form as RFC 8785 text in UTF-8: the bytes that the digest is of."""
    return rfc8785.dumps(encode(definition))


def digest(definition: Definition) -> str:
    """Return the SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(definition)).hexdigest()


def signal_types(definition: Definition) -> tuple[str, ...]:
    """Return the signal types that any condition listens for, sorted: what routing needs."""
    return tuple(sorted({each.signal_type for each in conditions_of(definition)}))


def required_data(definition: Definition) -> dict[str, DataKind]:
    """Return the fields that the trigger's data must have, and whether each must be an instant."""
    wanted: dict[str, DataKind] = {}
    for condition in conditions_of(definition):
        for _, term in condition.match:
            if isinstance(term, DataRef):
                wanted[term.name] = "any"
    for step in definition.steps:
        if isinstance(step.action, WaitAction) and isinstance(step.action.until, DataRef):
            wanted[step.action.until.name] = "instant"
    return dict(sorted(wanted.items()))


def conditions_of(definition: Definition) -> Iterator[Condition]:
    """Yield every condition of a definition: the workflow's, the waits', the `cancel_signals`."""
    yield from definition.stop_conditions
    for step in definition.steps:
        if isinstance(step.action, WaitAction):
            yield from step.action.stop_conditions
        for rule in step.progress:
            if isinstance(rule, WaitUntil):
                yield from rule.cancel_signals


def _given(key: str, value: Json) -> dict[str, Json]:
    return {key: value} if value else {}


def _unless_none(key: str, value: Json) -> dict[str, Json]:
    return {} if value is None else {key: value}


def _step(steps: tuple[Step, ...], place: int) -> dict[str, Json]:
    step = steps[place]
    following = None if step.next == default_next(steps, place) else step.next
    return {
        "id": step.id,
        "action": _notify(step.action) if isinstance(step.action, NotifyAction) else _wait(step.action),
        **_given("progress", [_rule(rule) for rule in step.progress]),
        **_unless_none("next", _next(following)),
    }


def _next(following: str | Repeat | None) -> Json:
    if not isinstance(following, Repeat):
        return following
    return {"repeat": following.step_id, "times": following.times, "then": following.then}


def _notify(action: NotifyAction) -> dict[str, Json]:
    return {
        "type": "notify",
        "channel": action.channel,
        "render_key": action.render_key,
        **_given("data", copy.deepcopy(dict(action.data))),
        **({} if action.send_window is None else {"send_window": _hours(action.send_window)}),
    }


def _wait(action: WaitAction) -> dict[str, Json]:
    return {
        "type": "wait",
        **_unless_none("duration", action.duration),
        **_unless_none("until", _until(action.until)),
        **_given("stop_conditions", _conditions(action.stop_conditions)),
    }


def _until(until: Until | None) -> Json:
    match until:
        case None:
            return None
        case DataRef(name):
            return {"data": name}
        case AtLocalTime(time, on):
            return {"at": str(time), **_on(on)}
        case Within(hours):
            return {"within": _hours(hours)}
        case datetime():
            return iso_instant(until)
        case _:
            assert_never(until)


def _hours(hours: Hours) -> dict[str, Json]:
    return {"from": str(hours.start), "to": str(hours.end), **_on(hours.on)}


def _on(on: Days) -> dict[str, Json]:
    if isinstance(on, frozenset):
        return {} if on == EVERY_DAY else {"on": in_order(on)}
    return {"on": on}


def _rule(rule: Rule) -> dict[str, Json]:
    match rule:
        case OnOutcome(outcome, to_step, keep_retrying):
            return {
                "kind": "on_outcome",
                "outcome": outcome,
                "to_step": to_step,
                **_given("keep_retrying", keep_retrying),
            }
        case StopOn(outcome):
            return {"kind": "stop", "outcome": outcome}
        case WaitUntil():
            return {
                "kind": "wait_until",
                "to_step": rule.to_step,
                **_unless_none("delay", rule.delay),
                **_unless_none("delay_seconds", rule.delay_seconds),
                **_given("cancel_signals", _conditions(rule.cancel_signals)),
            }
        case _:
            assert_never(rule)


def _conditions(conditions: tuple[Condition, ...]) -> list[Json]:
    return [_condition(condition) for condition in conditions]


def _condition(condition: Condition) -> dict[str, Json]:
    return {
        "type": "signal_received",
        "signal_type": condition.signal_type,
        **_given("match", {name: _term(term) for name, term in condition.match}),
        **({} if condition.then == "stop" else {"then": _then(condition.then)}),
        **({} if condition.since == "run" else {"since": condition.since}),
    }


def _then(then: Then) -> Json:
    return {"goto": then.step_id} if isinstance(then, Goto) else then


def _term(term: MatchTerm) -> Json:
    match term:
        case DataRef(name):
            return {"data": name}
        case DeliveryRef(step_id):
            return {"delivery": step_id}
        case LiteralValue(dict() as value):
            return {"value": copy.deepcopy(value)}
        case LiteralValue(value):
            return copy.deepcopy(value)
        case _:
            assert_never(term)

"""Reading conditions: `{type: signal_received, signal_type, match?, then?, since?}`."""

from typing import Final, Literal

from chimeway.workflow.definition import (
    Condition,
    DataRef,
    DeliveryRef,
    Goto,
    LiteralValue,
    MatchTerm,
    Then,
)
from chimeway.workflow.place import PLACEHOLDER, Fields, Place
from chimeway.workflow.problems import shown

Level = Literal["workflow", "wait", "cancel_signals"]
_FORMS: Final = ("data", "delivery", "value")


def read_conditions(places: list[Place], level: Level) -> tuple[Condition, ...]:
    """Read a list of conditions.

    Those of the whole workflow can only stop, at any step; those of `cancel_signals` only stop,
    without `match`.
    """
    return tuple(_condition(place, level) for place in places)


def _condition(place: Place, level: Level) -> Condition:
    fields = place.fields(("type", "signal_type"), ("match", "then", "since"))
    if kind := fields["type"]:
        kind.choice(("signal_received",))
    return Condition(
        signal_type=fields.identifier("signal_type"),
        match=_match(fields, level),
        then=_then(fields["then"], level),
        since=_since(fields["since"], level),
    )


def _match(fields: Fields, level: Level) -> tuple[tuple[str, MatchTerm], ...]:
    place = fields["match"]
    if place is None:
        return ()
    if not isinstance(place.value, dict):
        place.wrong_type("an object")
        return ()
    if level == "cancel_signals" and place.value:
        place.error("invalid_value", "given a `match`; conditions of `cancel_signals` have none")
    # Sorted, since the order of keys means nothing: equal definitions are equal values.
    return tuple((name, _term(place.member(name))) for name in sorted(place.value))


def _term(place: Place) -> MatchTerm:
    value = place.value
    if not isinstance(value, dict):
        return LiteralValue(value)
    if len(value) != 1 or next(iter(value)) not in _FORMS:
        place.error(
            "invalid_value",
            f"given {shown(value)}; wanted {{data: name}}, {{delivery: step id}} or, for an object "
            "as it stands, {value: {...}}",
        )
        return LiteralValue(None)
    form = next(iter(value))
    member = place.member(form)
    if form == "data":
        return DataRef(member.identifier())
    if form == "value":
        return LiteralValue(member.value)
    step_id = member.step_id()
    if step_id in place.scope.wait_ids:
        member.error("invalid_value", f"given the wait {shown(step_id)}; a wait has no delivery")
    return DeliveryRef(step_id)


def _then(place: Place | None, level: Level) -> Then:
    if place is None or place.value == "stop":
        return "stop"
    if level != "wait":
        where = "of the whole workflow" if level == "workflow" else "of `cancel_signals`"
        place.error("invalid_value", f"given {shown(place.value)}; a condition {where} can only `stop`")
        return "stop"
    if isinstance(place.value, dict):
        target = place.fields(("goto",))["goto"]
        return Goto(PLACEHOLDER if target is None else target.step_id())
    if place.value == "continue":
        return "continue"
    place.error("invalid_value", f"given {shown(place.value)}; wanted stop, continue or {{goto: step id}}")
    return "stop"


def _since(place: Place | None, level: Level) -> Literal["run", "entered"]:
    if place is None or place.choice(("run", "entered")) != "entered":
        return "run"
    if level == "workflow":
        told = "given 'entered'; a condition of the whole workflow belongs to no step: wanted run"
        place.error("invalid_value", told)
    return "entered"

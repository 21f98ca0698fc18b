"""Reading rules of progress: `on_outcome`, `stop`, `wait_until`."""

from typing import Final, cast

from chimeway.workflow.definition import OUTCOMES, OnOutcome, Outcome, Rule, StopOn, WaitUntil
from chimeway.workflow.durations import LONGEST_SECONDS, parse_duration
from chimeway.workflow.place import PLACEHOLDER, Fields, Place
from chimeway.workflow.problems import shown
from chimeway.workflow.read_conditions import read_conditions
from chimeway.workflow.soundness import REFUSED

_KINDS: Final = ("on_outcome", "stop", "wait_until")
_ANCHORS: Final = ("prior_delivery_terminal_at",)
_NO_DELAY: Final = "P1D"
"""Stands for a delay that was wrong: the cycle rule gives it the benefit of the doubt."""


def read_rules(places: list[Place]) -> tuple[Rule, ...]:
    """Read the `progress` of a notify step."""
    rules = [_rule(place) for place in places]
    _remark_on_order(places, rules)
    return tuple(rules)


def read_duration(place: Place | None) -> str:
    """Read an ISO 8601 duration and keep its text; a placeholder when it is wrong or absent."""
    if place is None:
        return _NO_DELAY
    if not isinstance(place.value, str):
        place.wrong_type("an ISO 8601 duration such as PT2H")
        return _NO_DELAY
    try:
        parse_duration(place.value)
    except ValueError as fault:
        place.error("invalid_duration", str(fault))
        return _NO_DELAY
    return place.value


def _rule(place: Place) -> Rule:
    match place.word("kind"):
        case "on_outcome":
            fields = place.fields(("kind", "outcome", "to_step"), ("keep_retrying",))
            return OnOutcome(_outcome(fields), _to_step(fields), fields.flag("keep_retrying"))
        case "stop":
            return StopOn(_outcome(place.fields(("kind", "outcome"))))
        case "wait_until":
            return _wait_until(place)
        case _:
            if not isinstance(place.value, dict):
                place.wrong_type("an object")
            elif "kind" not in place.value:
                place.missing("kind", f"wanted one of {', '.join(_KINDS)}")
            else:
                place.member("kind").choice(_KINDS)
            return StopOn("delivered")  # a placeholder that leads nowhere


def _wait_until(place: Place) -> WaitUntil:
    optional = ("anchor", "delay", "delay_seconds", "cancel_signals")
    fields = place.fields(("kind", "to_step"), optional)
    if anchor := fields["anchor"]:
        anchor.choice(_ANCHORS)
    given = fields.one_of("delay", "delay_seconds")
    delay, seconds = read_duration(fields["delay"]), _seconds(fields["delay_seconds"])  # each is judged
    return WaitUntil(
        to_step=_to_step(fields),
        delay=None if given == "delay_seconds" else delay,
        delay_seconds=seconds if given == "delay_seconds" else None,
        cancel_signals=read_conditions(fields.items("cancel_signals"), "cancel_signals"),
    )


def _to_step(fields: Fields) -> str:
    place = fields["to_step"]
    return PLACEHOLDER if place is None else place.step_id()


def _outcome(fields: Fields) -> Outcome:
    place = fields["outcome"]
    found = None if place is None else place.choice(OUTCOMES, "unknown_outcome")
    return cast("Outcome", found or "delivered")


def _seconds(place: Place | None) -> float:
    if place is None or place.value is REFUSED:
        return 1.0
    if isinstance(place.value, bool) or not isinstance(place.value, int | float):
        place.wrong_type("a number of seconds")
    elif not 0.000_001 <= place.value <= LONGEST_SECONDS:
        place.error(
            "invalid_duration",
            f"given {shown(place.value)}; wanted more than zero seconds (a microsecond at least) "
            f"and at most ten years ({LONGEST_SECONDS})",
        )
    else:
        return float(place.value)
    return 1.0


def _remark_on_order(places: list[Place], rules: list[Rule]) -> None:
    """Note a second `wait_until`, and outcomes that an earlier rule has taken."""
    timed = False
    taken: set[str] = set()
    for place, rule in zip(places, rules, strict=True):
        if isinstance(rule, WaitUntil):
            if timed:
                place.error("conflicting_keys", "given a second `wait_until`; wanted at most one")
            timed = True
        elif place.word("kind") in _KINDS and place.word("outcome") == rule.outcome:
            if rule.outcome in taken:
                told = f"an earlier rule takes {shown(rule.outcome)}; this one never applies"
                place.problems.warning("never_used", place.path, told)
            taken.add(rule.outcome)

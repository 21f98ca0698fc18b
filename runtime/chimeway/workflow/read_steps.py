"""Reading steps: `{id, action, progress?, next?}` and the two actions there are."""

from typing import Final

from chimeway.limits import MAX_REPEATS, MAX_STEPS
from chimeway.workflow.definition import (
    END,
    Action,
    Hours,
    Json,
    NotifyAction,
    Repeat,
    Step,
    WaitAction,
    WaitUntil,
)
from chimeway.workflow.place import PLACEHOLDER, Place
from chimeway.workflow.problems import shown
from chimeway.workflow.read_conditions import read_conditions
from chimeway.workflow.read_rules import read_duration, read_rules
from chimeway.workflow.read_times import read_hours, read_until
from chimeway.workflow.soundness import REFUSED

_ACTIONS: Final = ("notify", "wait")


def read_steps(place: Place) -> tuple[Step, ...]:
    """Read the list of steps, with as many placeholders as there are faults."""
    places = place.items()
    if isinstance(place.value, list) and not places:
        place.error("empty_steps", "given no step; wanted at least one")
    if len(places) > MAX_STEPS:
        place.error("too_many_steps", f"given {len(places)} steps; wanted at most {MAX_STEPS}")
    _note_duplicates(places)
    return tuple(_step(each) for each in places)


def _note_duplicates(places: list[Place]) -> None:
    first: dict[str, int] = {}
    for index, place in enumerate(places):
        step_id = place.word("id")
        if step_id is not None and first.setdefault(step_id, index) < index:
            told = f"given {shown(step_id)}, the id of steps[{first[step_id]}] already"
            place.member("id").error("duplicate_step_id", told)


def _step(place: Place) -> Step:
    fields = place.fields(("id", "action"), ("progress", "next"))
    step_id = fields.identifier("id")
    if step_id == END:
        place.member("id").error(
            "invalid_value", f"given {shown(END)}, the word for where a run ends; name it otherwise"
        )
    action = _action(fields["action"])
    rules = read_rules(fields.items("progress")) if isinstance(action, NotifyAction) else ()
    given, kind = fields["progress"], fields["action"]
    if given and kind and kind.word("type") == "wait":
        given.error(
            "progress_on_wait",
            "given rules of progress on a wait; only a notify step has a delivery to judge: "
            "use `stop_conditions` and `next`",
        )
    following = fields["next"]
    if following is None:
        return Step(step_id, action, rules)
    if any(isinstance(rule, WaitUntil) for rule in rules):
        place.problems.warning(
            "never_used", following.path, "the `wait_until` rule always decides before `next` does"
        )
    return Step(step_id, action, rules, _next(following))


def _next(place: Place) -> str | Repeat:
    if not isinstance(place.value, dict):
        if place.value is not REFUSED and not isinstance(place.value, str):
            place.wrong_type(
                "a step's id, `end`, or {repeat: step id, times: number, then: step id or `end`}"
            )
            return PLACEHOLDER
        return place.step_id(end_allowed=True)
    fields = place.fields(("repeat", "times", "then"))
    back, then = fields["repeat"], fields["then"]
    target = PLACEHOLDER if back is None else back.step_id()
    onward = END if then is None else then.step_id(end_allowed=True)
    if then is not None and onward == target != PLACEHOLDER:
        then.error("invalid_value", f"given {shown(onward)}, which is repeated: it would never end")
    return Repeat(target, _times(fields["times"]), onward)


def _times(place: Place | None) -> int:
    if place is None:
        return 1
    if isinstance(place.value, bool) or not isinstance(place.value, int):
        place.wrong_type("a whole number")
    elif not 1 <= place.value <= MAX_REPEATS:
        place.error("invalid_value", f"given {shown(place.value)}; wanted 1 to {MAX_REPEATS}")
    else:
        return place.value
    return 1


def _action(place: Place | None) -> Action:
    # The placeholder is a wait for some time, about which the cycle rule is silent.
    unread = WaitAction(duration="P1D")
    if place is None:
        return unread
    match place.word("type"):
        case "notify":
            return _notify(place)
        case "wait":
            return _wait(place)
        case _:
            if not isinstance(place.value, dict):
                place.wrong_type("an object")
            elif "type" not in place.value:
                place.missing("type", f"wanted one of {', '.join(_ACTIONS)}")
            else:
                place.member("type").choice(_ACTIONS)
            return unread


def _notify(place: Place) -> NotifyAction:
    fields = place.fields(("type", "channel", "render_key"), ("data", "send_window"))
    channel = fields.identifier("channel")
    known = place.scope.channels
    if known is not None and channel and channel not in known and place.word("channel") == channel:
        place.problems.warning(
            "unknown_channel",
            place.member("channel").path,
            f"given {shown(channel)}; known here: {', '.join(sorted(known)) or 'none'}"
            f"{place.hint(channel, known)}",
        )
    window = _send_window(fields["send_window"], channel)
    return NotifyAction(channel, fields.identifier("render_key"), _data(fields["data"]), window)


def _send_window(place: Place | None, channel: str) -> Hours | None:
    if place is None:
        return None
    if channel == "in_app":
        place.error(
            "invalid_value", "given hours for in_app, which is a list to look into and disturbs nobody"
        )
    return read_hours(place)


def _data(place: Place | None) -> dict[str, Json]:
    if place is None:
        return {}
    if isinstance(place.value, dict):
        return place.value
    place.wrong_type("an object")
    return {}


def _wait(place: Place) -> WaitAction:
    fields = place.fields(("type",), ("duration", "until", "stop_conditions"))
    given = fields.one_of("duration", "until")
    duration, until = read_duration(fields["duration"]), read_until(fields["until"])  # each is judged
    conditions = read_conditions(fields.items("stop_conditions"), "wait")
    if given == "until":
        return WaitAction(until=until, stop_conditions=conditions)
    return WaitAction(duration=duration, stop_conditions=conditions)

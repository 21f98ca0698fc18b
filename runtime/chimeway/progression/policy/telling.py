"""A verdict in words, made of its inputs alone: what a trace has kept is enough, whatever has changed since.

Traces are read by programs of other versions, too: what is missing is left out, and nothing raises.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Inputs: TypeAlias = Mapping[str, Any]
Moment: TypeAlias = Callable[[str], str]
_WORD = {True: "yes", False: "no"}


def because(reason: str | None, inputs: Inputs, moment: Moment = str) -> str:
    """Return why a verdict was what it was, as what may stand after "because of".

    Args:
        reason: of the verdict; None where the message was sent.
        inputs: of the verdict, as they stand in its row.
        moment: how an instant, given as RFC 3339, is written.

    Returns:
        The words; an empty text where there is nothing to tell.
    """
    if reason is None:
        return _let_through(inputs, moment)
    told = {
        "preference": _preference,
        "quiet_hours": _quiet_hours,
        "send_window": _send_window,
        "cap": _cap,
    }.get(reason)
    because_of = reason if told is None else told(inputs, moment)
    return because_of + _chain(reason, inputs, moment)


def _let_through(inputs: Inputs, moment: Moment) -> str:
    otherwise = inputs.get("otherwise")
    if inputs.get("critical") and isinstance(otherwise, Mapping):
        told = because(otherwise.get("reason"), {**inputs, "otherwise": None, "moves": ()}, moment)
        return f"its critical workflow; otherwise it would have been held back because of {told}"
    decided = [each for each in _list(inputs, "statements") if each.get("decided")]
    return _and([_statement(each) for each in decided])


def _preference(inputs: Inputs, _moment: Moment) -> str:
    said = _list(inputs, "statements")
    decided = _and([_statement(each) for each in said if each.get("decided")]) or "a no"
    overruled = [each for each in said if not each.get("decided") and each.get("says")]
    if not overruled:
        return decided
    return f"{decided}, which counts more than {_and([_statement(each) for each in overruled])}"


def _statement(said: Inputs) -> str:
    return f"the {said.get('whose')}'s {_WORD[bool(said.get('says'))]} ({said.get('path')})"


def _quiet_hours(inputs: Inputs, _moment: Moment) -> str:
    holding = [each for each in _list(inputs, "quiet_hours") if each.get("holds")]
    told = [f"the {each.get('whose')}'s quiet hours, {_hours(each)}" for each in holding]
    return f"{_and(told)}{_zone(inputs)}" if told else "quiet hours"


def _send_window(inputs: Inputs, _moment: Moment) -> str:
    window = inputs.get("send_window")
    told = f", {_hours(window)}{_zone(inputs)}" if isinstance(window, Mapping) else ""
    return f"the step's send window{told}"


def _cap(inputs: Inputs, moment: Moment) -> str:
    full = [each for each in _list(inputs, "caps") if each.get("full")]
    return _and([_one_cap(each, inputs.get("channel"), moment) for each in full]) or "a cap"


def _one_cap(cap: Inputs, channel: object, moment: Moment) -> str:
    oldest = f", the first at {moment(cap['oldest'])}" if cap.get("oldest") else ""
    return (
        f"the {cap.get('whose')}'s cap of {cap.get('limit')} on {channel} in {cap.get('per')} "
        f"({cap.get('sent')} had been sent{oldest})"
    )


def _chain(reason: str, inputs: Inputs, moment: Moment) -> str:
    """Tell how the instant came about where more than one thing put it off, and where none comes."""
    if inputs.get("never"):
        return "; no moment was found at which all hours allow it"
    moves = _list(inputs, "moves")
    if len(moves) < 2 or reason == "preference":
        return ""
    words = {"quiet_hours": "quiet hours", "send_window": "the send window", "cap": "a cap"}
    steps = [
        f"{words.get(str(move.get('reason')), 'something')} until {moment(move['until'])}"
        for move in moves
        if move.get("until")
    ]
    more = f", and {inputs['moves_left_out']} times more" if inputs.get("moves_left_out") else ""
    return f"; held by {', then '.join(steps)}{more}"


def _hours(hours: Inputs) -> str:
    days = hours.get("days")
    told = ""
    if hours.get("on") == "working_days":
        told = " on working days"
    elif isinstance(days, list | tuple) and days:
        told = f" on {_and([str(day) for day in days])}"
    return f"{hours.get('from')} to {hours.get('to')}{told}"


def _zone(inputs: Inputs) -> str:
    return f" ({inputs['zone']})" if inputs.get("zone") else ""


def _list(inputs: Inputs, key: str) -> list[Inputs]:
    found = inputs.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list | tuple) else []


def _and(told: list[str]) -> str:
    return f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else "".join(told)

"""What policy said of a message, in sentences: why it waited, why it was not sent, whose words decided. Pure.

The words come from the trace, not from what is preferred today. Of somebody who was forgotten it has only the
reasons: then the sentences are shorter, and nothing else is different.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chimeway.client.words import listed, message, moment, whom, written_moment
from chimeway.store.views import DeliveryView, Story, VerdictView

_TOLD: Final = 3
"""Times that a message was put off, told one by one; more are counted."""
_OF: Final = {"recipient": "{who}'s own", "tenant": "the tenant's"}
_SHORT: Final = {
    "preference": "{who} does not want it",
    "quiet_hours": "it fell into quiet hours",
    "send_window": "it was outside the hours of its step",
    "cap": "as many had been sent as a cap lets through",
}


def put_off(story: Story, row: DeliveryView) -> Iterator[str]:
    """Yield when and why a message was put off, and until when."""
    deferred = [verdict for verdict in row.verdicts if verdict.verdict == "defer"]
    told = deferred if len(deferred) <= _TOLD else [*deferred[: _TOLD - 1], deferred[-1]]
    for place, verdict in enumerate(told):
        if len(deferred) > _TOLD and place == _TOLD - 1:
            reasons = sorted({str(each.reason) for each in deferred[_TOLD - 1 : -1]})
            yield f"{len(deferred) - _TOLD} times more it was put off ({listed(reasons)})."
        before = "sent again" if _attempted(row, verdict) else "sent"
        yield (
            f"{message(row)} was not {before} at {moment(story, verdict.at)}: {because(story, verdict)}. "
            f"It was put off until {_until(story, verdict)}."
        )


def why_not(story: Story, row: DeliveryView) -> str | None:
    """Return why policy ended a message unsent; None where it did not."""
    verdict = next((one for one in reversed(row.verdicts) if one.verdict == "suppress"), None)
    if verdict is None or row.status != "suppressed":
        return None
    when = "when it was planned" if verdict.stage == "planned" else "before it was sent"
    if _attempted(row, verdict):
        when = "before it was tried again"
    return f"{when}, at {moment(story, verdict.at)}, {because(story, verdict)}"


def in_spite_of(story: Story, row: DeliveryView) -> str:
    """Return what would have become of a critical message that was sent, had it not been critical."""
    sent = next((one for one in reversed(row.verdicts) if one.verdict == "send"), None)
    otherwise = sent.inputs.get("otherwise") if sent else None
    if row.status != "succeeded" or not isinstance(otherwise, Mapping):
        return ""
    reason = otherwise.get("reason")
    if otherwise.get("verdict") == "defer":
        until = written_moment(story, otherwise.get("until"))
        return f" Its workflow is critical: otherwise it would have waited ({reason}) until {until}."
    return f" Its workflow is critical: otherwise it would not have been sent ({reason})."


def because(story: Story, verdict: VerdictView) -> str:
    """Return why not then, in words, with the enum's word in brackets."""
    who, inputs = whom(story), verdict.inputs
    told = {
        "preference": _preference,
        "quiet_hours": _quiet_hours,
        "send_window": _send_window,
        "cap": _delayed if verdict.verdict == "defer" else _dropped,
    }
    write = told.get(verdict.reason or "")
    words = write(inputs, who) if write and inputs else None
    if words is None:
        words = _SHORT.get(verdict.reason or "", "policy held it back").format(who=who)
    never = "; no hour allows it" if inputs.get("never") else ""
    return f"{words} ({verdict.reason}){never}"


def _preference(inputs: Mapping[str, Any], who: str) -> str | None:
    decided = [one for one in _rows(inputs, "statements") if one.get("decided")]
    if not decided:
        return None
    places = listed([str(one.get("path")) for one in decided])
    says = "says" if len(decided) == 1 else "say"
    if any(one.get("whose") == "recipient" for one in decided):
        return f"{who} does not want it: {places} {says} no"
    return f"the tenant does not want it: {places} {says} no"


def _quiet_hours(inputs: Mapping[str, Any], who: str) -> str | None:
    moved = next((one.get("path") for one in _rows(inputs, "moves")), None)
    rules = _rows(inputs, "quiet_hours")
    rule = next((one for one in rules if one.get("path") == moved), None)
    if rule is None:
        rule = next((one for one in rules if one.get("holds")), None)
    return None if rule is None else f"{_hours(rule, inputs)} are {_whose(rule, who)} quiet hours"


def _send_window(inputs: Mapping[str, Any], who: str) -> str | None:
    del who
    window = inputs.get("send_window")
    if not isinstance(window, Mapping):
        return None
    return f"the step sends only in the hours {_hours(window, inputs)}"


def _delayed(inputs: Mapping[str, Any], who: str) -> str | None:
    """Name the cap that has a place last: it put the message off."""
    moved = next((one.get("path") for one in _rows(inputs, "moves") if one.get("reason") == "cap"), None)
    full = [one for one in _rows(inputs, "caps") if one.get("full") and one.get("then") == "delay"]
    return _full(next((one for one in full if one.get("path") == moved), None), inputs, who)


def _dropped(inputs: Mapping[str, Any], who: str) -> str | None:
    """Name the cap that dropped the message: one that delays may have been full, too."""
    full = (one for one in _rows(inputs, "caps") if one.get("full") and one.get("then") == "drop")
    return _full(next(full, None), inputs, who)


def _full(full: Mapping[str, Any] | None, inputs: Mapping[str, Any], who: str) -> str | None:
    if full is None:
        return None
    return (
        f"{full.get('sent')} had been sent on {inputs.get('channel')} within {full.get('per')}, and "
        f"{_whose(full, who)} cap is {full.get('limit')}"
    )


def _hours(hours: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    days = hours.get("days")
    on = f" on {days if isinstance(days, str) else listed([str(day) for day in days])}" if days else ""
    return f"{_short(hours.get('from'))} to {_short(hours.get('to'))}{on} in {inputs.get('zone')}"


def _short(time: object) -> str:
    """Return 22:00 for 22:00:00."""
    text = str(time)
    return text.removesuffix(":00") if text.count(":") == 2 else text


def _whose(rule: Mapping[str, Any], who: str) -> str:
    return _OF.get(str(rule.get("whose")), "a").format(who=who)


def _rows(inputs: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = inputs.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _attempted(row: DeliveryView, verdict: VerdictView) -> bool:
    return any(attempt.started_at <= verdict.at for attempt in row.attempts)


def _until(story: Story, verdict: VerdictView) -> str:
    return "later" if verdict.until is None else moment(story, verdict.until)

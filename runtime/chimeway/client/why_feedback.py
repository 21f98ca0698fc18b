"""What a provider told later of a message, in sentences. Pure."""

from collections.abc import Iterator
from typing import Final

from chimeway.client.words import listed, message, moment
from chimeway.store.views import AttemptView, DeliveryView, FeedbackView, Story

_GRAVEST: Final = ("bounced", "failed", "delivered")
"""What outweighs what, as in `chimeway.feedback_rank`."""
_REFUSED_AS: Final = {"bounced": ("bounced",), "failed": ("permanent", "configuration")}


def corrected(story: Story, row: DeliveryView) -> str | None:
    """Return the sentence of a delivery that is what a provider told later, and not what its calls said."""
    verdict = _verdict(row)
    if verdict is None or _known_before(row, verdict):
        return None
    at = f"at {moment(story, verdict.at)}"
    detail = f" ({verdict.detail})" if verdict.detail else ""
    match verdict.kind:
        case "bounced":
            told = f"{message(row)} bounced {at}, as {verdict.source} told{detail}: the address is wrong."
        case "failed":
            told = f"{message(row)} was given up by its provider {at}, as {verdict.source} told{detail}."
        case _:
            told = f"{message(row)} was delivered {at}, as {verdict.source} told{detail}."
    return f"{told} {_calls(story, row)}"


def also(story: Story, row: DeliveryView, *, told: bool) -> Iterator[str]:
    """Yield what else a provider told, each kind once; `told`: the verdict has been told already."""
    verdict = _verdict(row)
    others = {each.kind: each for each in reversed(row.feedback)}
    if told and verdict is not None:
        del others[verdict.kind]
    words = [
        f"{each.kind} at {moment(story, each.at)}{f' ({each.detail})' if each.detail else ''}"
        for each in sorted(others.values(), key=lambda each: (each.at, each.kind))
    ]
    if words:
        sources = listed(sorted({each.source for each in others.values()}))
        yield f"Of it {sources} {'also ' if told else ''}told: {listed(words)}."


def _verdict(row: DeliveryView) -> FeedbackView | None:
    """Return the first event of the gravest kind."""
    return next((each for kind in _GRAVEST for each in row.feedback if each.kind == kind), None)


def _known_before(row: DeliveryView, verdict: FeedbackView) -> bool:
    """Say whether a call had said the same."""
    if verdict.kind == "delivered":
        return _taken(row) is not None
    return any(attempt.error_class in _REFUSED_AS[verdict.kind] for attempt in row.attempts)


def _taken(row: DeliveryView) -> AttemptView | None:
    return next((attempt for attempt in row.attempts if attempt.outcome == "succeeded"), None)


def _calls(story: Story, row: DeliveryView) -> str:
    """Say what the calls had said."""
    taken, last = _taken(row), row.attempts[-1] if row.attempts else None
    if taken is not None and taken.finished_at is not None:
        return f"It had been sent at {moment(story, taken.finished_at)}, with attempt {taken.number}."
    if last is None or last.outcome is None:
        return "Of its last attempt no result had been recorded."
    return f"Its last attempt had ended as {last.error_class or last.outcome}."

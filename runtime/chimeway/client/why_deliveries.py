"""Why a message was sent, or not sent: one sentence for each delivery. Pure."""

from datetime import timedelta
from typing import Final, assert_never

from chimeway.client.why_feedback import also, corrected
from chimeway.client.why_policy import in_spite_of, put_off, why_not
from chimeway.client.why_restored import DROPPED, HELD, due, held_back
from chimeway.client.words import by, message, moment, said, whom
from chimeway.store.views import AttemptView, DeliveryView, Story

_IN_APP: Final = "in_app"
LATE: Final = timedelta(seconds=5)
"""What is due for so long is late, a run or a message, and is told so."""
_SUPPRESSED: Final = {
    "no_address": "{who} had no address on that channel (no_address); with one it would have been sent then",
    "preference": "{who} does not want it (preference); without that it would have been sent then",
    "quiet_hours": "it fell into quiet hours (quiet_hours); outside them it would have been sent",
    "cap": "{who} had got as many as are allowed (cap); below that it would have been sent",
}


def told(story: Story, row: DeliveryView) -> str:
    """Return the sentences of a delivery: why it waited, what became of it, what a provider told later."""
    by_provider = corrected(story, row)
    rest = also(story, row, told=by_provider is not None)
    now = by_provider or _told(story, row)
    return " ".join((*put_off(story, row), now, *held_back(story, row), *rest))


def _told(story: Story, row: DeliveryView) -> str:
    match row.status:
        case "succeeded":
            return _sent(story, row)
        case "suppressed":
            return _suppressed(story, row)
        case "cancelled":
            return _cancelled(story, row)
        case "pending" | "deferred" | "digested":
            return _not_yet(story, row)
        case "dispatched":
            return _under_way(story, row)
        case "failed" if row.waiting_for_node == HELD:
            return f"{message(row)} has not been sent, as far as is known: {_failures(row)}."
        case "failed":
            not_yet = f"{message(row)} has not been sent yet: {_failures(row)}."
            return f"{not_yet} {_left(story, row) or f'It is tried again {_when_next(story, row)}.'}"
        case _:
            assert_never(row.status)


def _suppressed(story: Story, row: DeliveryView) -> str:
    """What policy ended, or had no address; after attempts that failed it was not tried again."""
    tried = f" after {_failures(row)}" if row.attempts else ""
    by_policy = why_not(story, row)
    if by_policy is not None:
        return f"{message(row)} was not sent{tried}: {by_policy}.{_maybe(row)}"
    because = _SUPPRESSED.get(row.suppression_reason or "", f"of {row.suppression_reason}")
    told_so = because.format(who=whom(story))
    return f"{message(row)} was not sent: when it was planned, at {_ended(story, row)}, {told_so}."


def _sent(story: Story, row: DeliveryView) -> str:
    if not row.attempts:
        verb = "was put into the inbox" if row.channel == _IN_APP else "was delivered"
        return f"{message(row)} {verb} at {_ended(story, row)}.{in_spite_of(story, row)}"
    failed = [attempt for attempt in row.attempts if attempt.outcome in ("failed", "unknown")]
    taken = next((a for a in row.attempts if a.outcome == "succeeded"), None)
    number = row.attempt_count if taken is None else f"{taken.number}{by(row, taken)}"
    before = f", after {_counted(len(failed))} that failed ({_classes(row, failed)})" if failed else ""
    late = " It was on its way already when the run ended." if row.stop_requested else ""
    at = _ended(story, row) if taken is None else moment(story, taken.finished_at or row.created_at)
    sent = f"{message(row)} was sent at {at}, with attempt {number}{before}."
    return f"{sent}{late}{in_spite_of(story, row)}{_maybe(row)}"


def _maybe(row: DeliveryView) -> str:
    doubtful = [str(attempt.number) for attempt in row.attempts if attempt.outcome == "unknown"]
    if not doubtful:
        return ""
    return (
        f" Attempt {', '.join(doubtful)} ended without an answer, so the provider may have had it before; "
        "it was given the same idempotency key."
    )


def _cancelled(story: Story, row: DeliveryView) -> str:
    at = _ended(story, row)
    match row.suppression_reason:
        case "retries_exhausted":
            return (
                f"{message(row)} was not sent: {_failures(row)}, and at {at} the limit of retries was "
                "reached (retries_exhausted). One success before then would have sent it."
            )
        case "permanent_failure" if not row.attempts:
            return (
                f"{message(row)} was not sent: it could not be made, at {at} (permanent_failure, "
                f"{_fault(row)}). No provider was called."
            )
        case "permanent_failure":
            return (
                f"{message(row)} was not sent: at {at} the provider refused it for good "
                f"({_refused_as(row)}). Such failures are not tried again."
            )
        case "bounced":
            because = f" ({said(row.note)})" if row.note else ""
            return f"{message(row)} bounced{because} at {at}: the address is wrong, so it is not tried again."
        case "superseded" if row.note == DROPPED:
            by_whom = "" if row.restored else ": an operator dropped it after a restore"
            return f"{message(row)} was given up (superseded) at {at}{by_whom}."
        case "superseded":
            return (
                f"{message(row)} was given up (superseded) at {at}: {_failures(row)}, and a rule led the run "
                "on. One message is the point of escalation."
            )
        case "stopped_before_send":
            planned = moment(story, row.created_at)
            return (
                f"{message(row)} was planned at {planned} and not sent: no provider was called "
                "(stopped_before_send)."
            )
        case "recipient_forgotten":
            done = f", {_failures(row)}" if row.attempts else ", and no provider had been called"
            return f"{message(row)} was not sent: at {at} this person was forgotten{done}."
        case _:
            done = f", {_failures(row)}" if row.attempts else ", and no provider had been called"
            return f"{message(row)} was not sent: it was cancelled ({row.suppression_reason}) at {at}{done}."


def _not_yet(story: Story, row: DeliveryView) -> str:
    planned = moment(story, row.created_at)
    if row.waiting_for_node == HELD:
        return f"{message(row)} was planned at {planned}."
    if row.waiting_for_node is not None:
        return (
            f"{message(row)} was planned at {planned} and waits for a node that has what it needs "
            f"({row.waiting_for_node})."
        )
    if row.status == "pending" and (story.run.held_reason or story.paused_at):
        kept = "its run is held" if story.run.held_reason else "its workflow is paused"
        return f"{message(row)} was planned at {planned}; no provider is called while {kept}."
    if row.status == "pending" and (left := _left(story, row)) is not None:
        return f"{message(row)} was planned at {planned}, and no provider has been called. {left}"
    if row.status == "pending":
        return f"{message(row)} was planned at {planned} and is about to be sent."
    if row.status == "deferred" and row.verdicts:
        return f"It is due {_when_next(story, row)}, and is judged anew then."
    return f"{message(row)} was planned at {planned} and is {row.status}: it is due {_when_next(story, row)}."


def _left(story: Story, row: DeliveryView) -> str | None:
    """Say that a message is due and nobody sends it, and why that may be; None where it is not late."""
    since = due(row)
    if since is None or story.run.held_reason or story.now - since < LATE:
        return None
    return (
        f"It has been due since {moment(story, since)}: its channel is full, its provider failed and is left "
        "alone for a while, or no node works. `chimeway doctor` and `chimeway top` say which."
    )


def _under_way(story: Story, row: DeliveryView) -> str:
    began = f" since {moment(story, row.attempts[-1].started_at)}" if row.attempts else ""
    stop = (
        ". The run has stopped meanwhile: if this attempt fails there is no other"
        if row.stop_requested
        else ""
    )
    return f"{message(row)} has been on its way{began}, with attempt {row.attempt_count}{stop}."


def _failures(row: DeliveryView) -> str:
    """Return "3 attempts failed (timeout, timeout, transient: note)"."""
    failed = [attempt for attempt in row.attempts if attempt.outcome in ("failed", "unknown")]
    note = f": {said(row.note)}" if row.note else ""
    return f"{_counted(len(failed))} failed ({_classes(row, failed)}{note})"


def _counted(many: int) -> str:
    return f"{many} attempt" if many == 1 else f"{many} attempts"


def _classes(row: DeliveryView, failed: list[AttemptView]) -> str:
    several = len({attempt.provider for attempt in row.attempts}) > 1
    words = [f"{attempt.error_class or 'unknown'}{by(row, attempt) if several else ''}" for attempt in failed]
    if len(words) > 3:
        return f"the last: {words[-1]}"
    return ", ".join(words)


def _refused_as(row: DeliveryView) -> str:
    """Return the reason's word and the fault; the class of a plain refusal says what the reason says."""
    if row.last_error_class == "permanent":
        return f"permanent_failure: {said(row.note)}" if row.note else "permanent_failure"
    return f"permanent_failure, {_fault(row)}"


def _fault(row: DeliveryView) -> str:
    return ": ".join(word for word in (row.last_error_class, said(row.note)) if word) or "no more is known"


def _when_next(story: Story, row: DeliveryView) -> str:
    return "soon" if row.next_attempt_at is None else f"at {moment(story, row.next_attempt_at)}"


def _ended(story: Story, row: DeliveryView) -> str:
    return moment(story, row.terminal_at or row.created_at)

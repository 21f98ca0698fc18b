"""What `explain` returns: a run's rows, their order in time, and why things went as they did."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from chimeway.client.why import why
from chimeway.client.words import by, said
from chimeway.progression.snapshot import RunState
from chimeway.store.views import (
    AttemptView,
    DeliveryView,
    MailView,
    RunView,
    Story,
    TransitionView,
    VerdictView,
)
from chimeway.workflow.durations import iso_instant


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline. `what` is an enum word of the row, `detail` a few words more.

    transition: `what` is its reason; signal: its type; delivery: "planned", or how it ended, or what a
    restore made of it, "held_after_restore", and then "released" or "dropped"; attempt: "attempt_started",
    or its outcome; verdict: what policy said, "send", "defer" or "suppress"; feedback: what a provider told
    later. `step` is None where the run stood on none.
    """

    at: datetime
    kind: Literal["transition", "signal", "delivery", "attempt", "verdict", "feedback"]
    what: str
    step: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A run as it is, and how it came to be so.

    `why` are sentences that answer "why was this sent, or not sent?"; `timeline` holds all that
    happened, in order; `zone` is the recipient's, in which local times are told.
    """

    run: RunView
    zone: str
    why: tuple[str, ...]
    timeline: tuple[Moment, ...]
    transitions: tuple[TransitionView, ...]
    deliveries: tuple[DeliveryView, ...]
    signals: tuple[MailView, ...]

    @property
    def run_id(self) -> UUID:
        """Return the run's id."""
        return self.run.id

    @property
    def state(self) -> RunState:
        """Return the run's state."""
        return self.run.state

    @property
    def step(self) -> str | None:
        """Return the step on which the run stands, or stood last."""
        return self.run.step

    @property
    def attempts(self) -> tuple[AttemptView, ...]:
        """Return all provider calls, by delivery and number."""
        return tuple(attempt for delivery in self.deliveries for attempt in delivery.attempts)


def explained(story: Story) -> Explanation:
    """Return the explanation of a story."""
    return Explanation(
        run=story.run,
        zone=story.zone,
        why=why(story),
        timeline=timeline(story),
        transitions=story.transitions,
        deliveries=story.deliveries,
        signals=story.mail,
    )


def timeline(story: Story) -> tuple[Moment, ...]:
    """Return all that happened to a run, in the order of time; at one instant in the order of causes.

    A step is entered, its message planned, attempted and ended, and then what follows from that.
    """
    placed = [*_signals(story), *_transitions(story), *_deliveries(story)]
    return tuple(entry for _, entry in sorted(placed, key=lambda each: (each[1].at, each[0])))


_Placed: TypeAlias = tuple[tuple[int, int], Moment]
"""A moment, with the visit and the place in it that order what happened at one instant."""


def _signals(story: Story) -> Iterator[_Placed]:
    ended = story.run.ended_at
    for mail in story.mail:
        late = ended is not None and mail.consumed_by is None and mail.created_at >= ended
        detail = "arrived_after_end" if late else ""
        yield (-1, 0), Moment(mail.created_at, "signal", mail.type, None, detail)


def _transitions(story: Story) -> Iterator[_Placed]:
    for row in story.transitions:
        changed = f"{row.from_state or 'new'} to {row.to_state}" if row.from_state != row.to_state else ""
        detail = ": ".join(word for word in (changed, row.signal_type, row.note) if word)
        rank = 0 if row.reason == "step_activated" else 4
        yield (row.visit, rank), Moment(row.at, "transition", row.reason, row.to_step, detail)


def _deliveries(story: Story) -> Iterator[_Placed]:
    for row in story.deliveries:
        label = f"{row.channel} {row.render_key}"
        yield (row.visit, 1), Moment(row.created_at, "delivery", "planned", row.step_id, label)
        yield from (((row.visit, 1), _verdict(row, verdict)) for verdict in row.verdicts)
        yield from (((row.visit, 2), each) for each in _restored(row))
        for attempt in row.attempts:
            yield from (((row.visit, 2), each) for each in _attempt(row, attempt))
        for told in row.feedback:
            words = ": ".join(word for word in (told.source, told.detail) if word)
            yield (row.visit, 2), Moment(told.recorded_at, "feedback", told.kind, row.step_id, words)
        if row.terminal_at is not None:
            # A message that was born ended has the time of its decision, a little before its row.
            at = max(row.terminal_at, row.created_at)
            ending = f"{label}: {row.suppression_reason}" if row.suppression_reason else label
            yield (row.visit, 3), Moment(at, "delivery", row.status, row.step_id, ending)


def _verdict(row: DeliveryView, verdict: VerdictView) -> Moment:
    until = "" if verdict.until is None else f", until {iso_instant(verdict.until)}"
    detail = f"{row.channel}: {verdict.reason}{until}" if verdict.reason else row.channel
    return Moment(verdict.at, "verdict", verdict.verdict, row.step_id, detail)


def _restored(row: DeliveryView) -> Iterator[Moment]:
    """Yield when a restore held a message back, and when somebody decided about it."""
    if (was := row.restored) is None:
        return
    label = f"{row.channel} {row.render_key}"
    taken = f"{label}: the backup of {iso_instant(was.taken_at)}"
    yield Moment(was.held_at, "delivery", "held_after_restore", row.step_id, taken)
    if was.decision in {"released", "dropped"} and was.decided_at is not None:
        by_whom = f"{label}: by {was.decided_by or 'somebody'}"
        yield Moment(was.decided_at, "delivery", was.decision, row.step_id, by_whom)


def _attempt(row: DeliveryView, attempt: AttemptView) -> Iterator[Moment]:
    label = f"{row.channel} {attempt.number}{by(row, attempt)}"
    yield Moment(attempt.started_at, "attempt", "attempt_started", row.step_id, label)
    if attempt.finished_at is not None and attempt.outcome is not None:
        words = ", ".join(word for word in (attempt.error_class, said(attempt.note)) if word)
        detail = f"{label}: {words}" if words else label
        yield Moment(attempt.finished_at, "attempt", attempt.outcome, row.step_id, detail)

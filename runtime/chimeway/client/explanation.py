"""What `explain` returns: a run's rows, their order in time, and why things went as they did."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from chimeway.client.why import why
from chimeway.progression.snapshot import RunState
from chimeway.store.views import AttemptView, DeliveryView, MailView, RunView, Story, TransitionView


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline. `what` is an enum word of the row, `detail` a few words more.

    transition: `what` is its reason; signal: its type; delivery: "planned", or how it ended; attempt:
    "attempt_started", or its outcome. `step` is None where the run stood on none.
    """

    at: datetime
    kind: Literal["transition", "signal", "delivery", "attempt"]
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
    """Return all that happened to a run, in the order of time; ties in the order of causes."""
    moments = [*_signals(story), *_transitions(story), *_deliveries(story)]
    return tuple(sorted(moments, key=lambda moment: moment.at))


def _signals(story: Story) -> list[Moment]:
    ended = story.run.ended_at is not None
    return [
        Moment(
            mail.created_at,
            "signal",
            mail.type,
            None,
            "" if mail.consumed_by or not ended else "arrived_after_end",
        )
        for mail in story.mail
    ]


def _transitions(story: Story) -> list[Moment]:
    return [
        Moment(
            row.at,
            "transition",
            row.reason,
            row.to_step,
            f"{row.from_state or 'new'} to {row.to_state}"
            if row.from_state != row.to_state
            else row.note or "",
        )
        for row in story.transitions
    ]


def _deliveries(story: Story) -> list[Moment]:
    moments: list[Moment] = []
    for row in story.deliveries:
        label = f"{row.channel} {row.render_key}"
        moments.append(Moment(row.created_at, "delivery", "planned", row.step_id, label))
        for attempt in row.attempts:
            moments.append(
                Moment(
                    attempt.started_at,
                    "attempt",
                    "attempt_started",
                    row.step_id,
                    f"{row.channel} {attempt.number}",
                )
            )
            if attempt.finished_at is not None and attempt.outcome is not None:
                told = ", ".join(word for word in (attempt.error_class, attempt.note) if word)
                moments.append(
                    Moment(
                        attempt.finished_at,
                        "attempt",
                        attempt.outcome,
                        row.step_id,
                        f"{row.channel} {attempt.number}" + (f": {told}" if told else ""),
                    )
                )
        if row.terminal_at is not None:
            moments.append(
                Moment(
                    row.terminal_at,
                    "delivery",
                    row.status,
                    row.step_id,
                    f"{label}: {row.suppression_reason}" if row.suppression_reason else label,
                )
            )
    return moments

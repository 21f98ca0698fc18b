"""Random journeys on paper: definitions, data, births, and a world in which things happen.

`played()` gives journeys that are over; every answer of the core on the way is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop
from chimeway.progression.paper import Paper, attempted, signalled, triggered, under_way, written_down
from chimeway.workflow.definition import (
    OUTCOMES,
    Condition,
    DataRef,
    Definition,
    DeliveryRef,
    LiteralValue,
    Outcome,
    Step,
)
from chimeway.workflow.encode import conditions_of, required_data
from chimeway.workflow.parse import parse
from property.definitions import calendars, definitions, instants, json_values

START = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "s3cr3t"
ZONES = st.sampled_from(["UTC", "Europe/London", "Pacific/Apia", "europe/nowhere"])
BIRTHS = st.lists(
    st.sampled_from(
        [
            Birth("pending"),
            Birth("pending"),
            Birth("pending"),
            Birth("succeeded"),
            Birth("suppressed", "no_address"),
            Birth("cancelled", "permanent_failure", "configuration", "a note"),
        ]
    ),
    min_size=1,
    max_size=4,
)


@dataclass(frozen=True)
class Signal:
    """A signal that would meet this condition, or one that meets none."""

    condition: Condition | None


@dataclass(frozen=True)
class Attempt:
    """Something becomes of the latest delivery, or of the one before; None: it is under way."""

    outcome: Outcome | None
    before: bool = False


@dataclass(frozen=True)
class Passing:
    """Time passes; None: until the run's wake."""

    span: timedelta | None


Event = Signal | Attempt | Passing

RICH = parse(
    {
        "key": "rich",
        "version": 1,
        "stop_conditions": [
            {"type": "signal_received", "signal_type": "halt", "match": {"x": {"data": "x"}}}
        ],
        "steps": [
            {
                "id": "mail",
                "action": {"type": "notify", "channel": "email", "render_key": "r"},
                "progress": [
                    {"kind": "on_outcome", "outcome": "temporary_failure", "to_step": "sms"},
                    {"kind": "on_outcome", "outcome": "bounced", "to_step": "sms"},
                    {"kind": "stop", "outcome": "permanent_failure"},
                    {
                        "kind": "wait_until",
                        "delay_seconds": 60,
                        "to_step": "gate",
                        "cancel_signals": [{"type": "signal_received", "signal_type": "read"}],
                    },
                ],
            },
            {
                "id": "gate",
                "action": {
                    "type": "wait",
                    "duration": "PT2H",
                    "stop_conditions": [
                        {
                            "type": "signal_received",
                            "signal_type": "read",
                            "match": {"id": {"delivery": "mail"}},
                        },
                        {"type": "signal_received", "signal_type": "skip", "then": "continue"},
                        {"type": "signal_received", "signal_type": "jump", "then": {"goto": "mail"}},
                        {"type": "signal_received", "signal_type": "stop", "since": "entered"},
                    ],
                },
            },
            {
                "id": "sms",
                "action": {"type": "notify", "channel": "sms", "render_key": "r"},
                "progress": [
                    {
                        "kind": "on_outcome",
                        "outcome": "temporary_failure",
                        "to_step": "rest",
                        "keep_retrying": True,
                    },
                    {"kind": "on_outcome", "outcome": "suppressed", "to_step": "push"},
                ],
                "next": "rest",
            },
            {"id": "rest", "action": {"type": "wait", "duration": "P1D"}, "next": "mail"},
            {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "r"}},
        ],
    }
)
"""A journey without end in which every row of the table can happen."""


@dataclass(frozen=True)
class Answer:
    """What the core said, of which rows, when."""

    rows: Paper
    now: datetime
    said: Decision | Noop


@dataclass
class Journey:
    """One run's rows in time, and the answers so far."""

    paper: Paper
    births: tuple[Birth, ...]
    now: datetime = START
    answers: list[Answer] = field(default_factory=list)

    @property
    def decisions(self) -> list[tuple[Answer, Decision]]:
        """The answers that were decisions."""
        return [(answer, answer.said) for answer in self.answers if isinstance(answer.said, Decision)]

    def born(self, step: Step, visit: int) -> Birth:
        """Say how a delivery is born."""
        del step
        return self.births[visit % len(self.births)]

    def happen(self, event: Event) -> None:
        """Let the world change."""
        match event:
            case Signal(condition=condition):
                self._signal(condition)
            case Attempt(outcome=outcome, before=before):
                visits = sorted(self.paper.deliveries)[-2 if before else -1 :][:1]
                for visit in visits:
                    if outcome is None:
                        self.paper = under_way(self.paper, visit)
                    else:
                        self.paper = attempted(self.paper, visit, outcome, self.now)
            case Passing(span=span):
                wake = self.paper.run.wake_at
                self.now = max(self.now, wake or self.now) if span is None else self.now + span

    def evaluate(self) -> None:
        """Wake the run, and again as long as it says that a limit was reached."""
        for _ in range(50):
            said = decide(self.paper.snapshot, self.now, self.born)
            self.answers.append(Answer(self.paper, self.now, said))
            if isinstance(said, Noop):
                return
            self.paper = written_down(self.paper, said)
            if said.after.held_reason or said.after.wake_at != self.now:
                return

    def _signal(self, condition: Condition | None) -> None:
        payload = {"secret": SECRET}
        if condition is not None:
            payload |= meeting(condition, self.paper)
        kind = "unheard of" if condition is None else condition.signal_type
        self.paper = signalled(self.paper, kind, payload, self.now)


def meeting(condition: Condition, paper: Paper) -> dict[str, Any]:
    """Return a payload that meets the condition, as far as its references are there."""
    payload = {}
    for name, term in condition.match:
        match term:
            case LiteralValue(value):
                payload[name] = value
            case DataRef(name=key) if key in paper.data:
                payload[name] = paper.data[key]
            case DeliveryRef(step_id=step_id) if (row := paper.latest_delivery(step_id)) is not None:
                payload[name] = str(row.id)
            case _:
                pass
    return payload


@st.composite
def datas(draw: st.DrawFn, definition: Definition) -> Mapping[str, Any]:
    """Return the trigger's data; sometimes, by other hands, without what it needs."""
    kinds = required_data(definition)
    data = {
        name: draw(instants | st.just("soon") if kind == "instant" else json_values)
        for name, kind in kinds.items()
        if draw(st.integers(0, 9))
    }
    return {**data, "secret": SECRET}


def events(definition: Definition) -> st.SearchStrategy[list[Event]]:
    """Return what happens to a run of this definition."""
    heard = [Signal(condition) for condition in conditions_of(definition)]
    spans = st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(hours=1), timedelta(days=40)])
    return st.lists(
        st.sampled_from([*heard, Signal(None)])
        | st.builds(Attempt, st.sampled_from([*OUTCOMES, None]), st.booleans())
        | st.just(Passing(None))
        | st.builds(Passing, spans),
        max_size=14,
    )


@st.composite
def begun(draw: st.DrawFn) -> tuple[Journey, list[Event]]:
    """Return a journey that was triggered, and what will happen."""
    definition = draw(st.just(RICH) | definitions() | definitions(min_steps=3))
    data, working = draw(datas(definition)), draw(calendars)
    paper = triggered(definition, START, data=data, zone=draw(ZONES), working=working)
    return Journey(paper, tuple(draw(BIRTHS))), draw(events(definition))


@st.composite
def played(draw: st.DrawFn) -> Journey:
    """Return a journey after everything has happened; wakes come after some of the events."""
    journey, happening = draw(begun())
    journey.evaluate()
    for event in happening:
        journey.happen(event)
        if draw(st.booleans()):
            journey.evaluate()
    journey.evaluate()
    return journey


def same_end(one: Journey, other: Journey, but: Callable[[Paper], Any] = lambda paper: paper) -> bool:
    """Tell whether two journeys have the same rows in the end."""
    return bool(but(one.paper) == but(other.paper))

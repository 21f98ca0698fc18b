"""Random journeys through the harness and on paper: the same rows, at the same instants.

The paper is the decision core with the simplest world around it; the harness is the real engine on a
real database. What one tells and the other does not is a fault of one of them.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chimeway import Bounced, PermanentFailure, RateLimited, Recipient, Sent, TransientFailure
from chimeway.delivery.channel import classify
from chimeway.progression.decision import Birth
from chimeway.progression.paper import Paper, attempted, signalled, triggered
from chimeway.progression.retry import Failure, GiveUp, RetryPolicy, after_failure
from chimeway.store.verify import verify
from chimeway.testing import Harness, Journey
from chimeway.workflow.definition import Condition, Definition, NotifyAction, Step
from chimeway.workflow.encode import conditions_of, required_data
from property.definitions import definitions, instants, json_values
from property.journeys import RICH, meeting
from property.journeys import Journey as OnPaper

START = datetime.fromisoformat("2026-03-27T22:30:00Z")
POLICY = RetryPolicy(max_attempts=3, base_s=600)
ZONES = st.sampled_from(["UTC", "Europe/London", "Pacific/Apia"])
FATES = st.lists(
    st.sampled_from(
        [None, None, TransientFailure(), RateLimited(90), PermanentFailure(), Bounced(), OSError()]
    ),
    max_size=8,
)
TICK = timedelta(microseconds=1)


class World(OnPaper):
    """Paper with a provider and time: sends, retries, and the microsecond of `since: entered`."""

    def begin(self, fates: list[Exception | None]) -> None:
        """Take what becomes of the sends, in order."""
        self.fates = list(fates)
        self.draw = random.Random(0).random
        self.due: dict[int, datetime] = {}
        self.first: dict[int, datetime] = {}
        self.counted: dict[int, int] = {}
        self.held = False
        self.hears_later = any(c.since == "entered" for c in conditions_of(self.paper.definition))

    def born(self, step: Step, visit: int) -> Birth:
        """Inbox items are there at once; all others wait for their provider."""
        del visit
        in_app = isinstance(step.action, NotifyAction) and step.action.channel == "in_app"
        return Birth("succeeded" if in_app else "pending")

    def settle(self) -> None:
        """Play what is due now."""
        entered = True
        while entered:
            known = len(self.answers)
            self.evaluate()
            while (visit := self._next_due()) is not None:
                self._send(visit)
                self.evaluate()
            entered = self.hears_later and any(
                answer.said.after.entered_at == self.now
                for answer, _ in self.decisions
                if answer in self.answers[known:]
            )
            if entered:
                self.now += TICK

    def advance(self, end: datetime) -> None:
        """Let time pass, stop by stop."""
        self.settle()
        while (stop := self.next_stop()) is not None and stop <= end:
            self.now = stop
            self.settle()
        self.now = max(end, self.now)

    def next_stop(self) -> datetime | None:
        """Return when something is due next."""
        run = self.paper.run
        wakes = [run.wake_at] if run.wake_at and run.held_reason is None else []
        sends = [] if self.held or run.held_reason else [self.due[visit] for visit in self._open()]
        return min((at for at in wakes + sends if at > self.now), default=None)

    def _open(self) -> list[int]:
        rows = self.paper.deliveries
        for visit, row in rows.items():
            if row.status == "pending" and visit not in self.due:
                self.due[visit] = self.now
        return [visit for visit, row in rows.items() if row.status in {"pending", "failed"}]

    def _next_due(self) -> int | None:
        waiting = [] if self.held or self.paper.run.held_reason else self._open()
        due = [visit for visit in waiting if self.due[visit] <= self.now]
        return min(due, key=lambda visit: (self.due[visit], visit), default=None)

    def _send(self, visit: int) -> None:
        if self.now > self.first.setdefault(visit, self.now) + timedelta(seconds=POLICY.max_age_s):
            self._end_unsent(visit)
            return
        error = self.fates.pop(0) if self.fates else None
        if error is None:
            self.paper = attempted(self.paper, visit, "delivered", self.now)
            return
        kind = classify(error)
        self.counted[visit] = self.counted.get(visit, 0) + (kind != "rate_limited")
        after_s = error.retry_after if isinstance(error, RateLimited) else None
        failure = Failure(kind, self.counted[visit], self.first[visit], after_s)
        follows = after_failure(POLICY, failure, now=self.now, jitter=self.draw())
        if isinstance(follows, GiveUp):
            self.paper = attempted(self.paper, visit, follows.reason, self.now)
            return
        self.due[visit] = follows.at
        self.paper = attempted(self.paper, visit, "temporary_failure", self.now)

    def _end_unsent(self, visit: int) -> None:
        """End a delivery whose first attempt was too long ago: nobody is called for it any more."""
        before = self.paper.deliveries[visit].attempts
        self.paper = attempted(self.paper, visit, "retries_exhausted", self.now)
        ended = replace(self.paper.deliveries[visit], attempts=before)
        self.paper = replace(self.paper, deliveries={**self.paper.deliveries, visit: ended})


def _sent_at_any_hour(definition: Definition) -> Definition:
    """Return a journey without send windows: policy, which heeds them, has no part on paper."""
    steps = (
        replace(step, action=replace(step.action, send_window=None))
        if isinstance(step.action, NotifyAction)
        else step
        for step in definition.steps
    )
    return replace(definition, steps=tuple(steps))


@st.composite
def scripts(draw: st.DrawFn) -> tuple[Definition, Mapping[str, Any], str, list[Any], list[Any]]:
    """Return a journey, its data, a zone, what happens, and what becomes of sends."""
    definition = _sent_at_any_hour(draw(st.just(RICH) | definitions() | definitions(min_steps=3)))
    data = {
        name: draw(instants if kind == "instant" else json_values)
        for name, kind in required_data(definition).items()
    }
    assume(
        "e-" not in repr((definition, data))
    )  # numbers of 300 digits, as small ones are, the database refuses
    spans = st.sampled_from(
        [timedelta(0), TICK, timedelta(minutes=1), timedelta(hours=2), timedelta(days=40)]
    )
    heard = list(conditions_of(definition))
    what = spans | st.sampled_from(["next", "hold", "release"])
    if heard:
        what |= st.sampled_from(heard)
    return definition, data, draw(ZONES), draw(st.lists(what, max_size=10)), draw(FATES)


def _payload(condition: Condition, paper: World, journey: Journey) -> tuple[Any, Any]:
    """Return a payload that meets a condition, on paper and in rows, where ids differ."""
    payload = meeting(condition, paper.paper)
    by_visit = {one.visit: str(one.id) for one in journey.deliveries}
    ids = {str(row.id): by_visit[visit] for visit, row in paper.paper.deliveries.items()}
    real = {k: ids.get(v, v) if isinstance(v, str) else v for k, v in payload.items()}
    return payload, real


async def _play(script: tuple[Definition, Mapping[str, Any], str, list[Any], list[Any]]) -> None:
    definition, data, zone, happening, fates = script
    paper = World(triggered(definition, START, data=data, zone=zone), (Birth("pending"),), START)
    paper.begin(fates)
    provider = _Provider(fates)
    channels = {s.action.channel for s in definition.steps if isinstance(s.action, NotifyAction)} - {"in_app"}
    sends = [_Channel(name, provider) for name in sorted(channels)]
    async with Harness(definition, channels=sends, start=START, retry=POLICY) as journey:
        await journey.trigger(data=data, recipients=[Recipient("ada", timezone=zone)])
        paper.settle()
        await _same(paper, journey)
        for one in happening:
            await _happen(one, paper, journey)
            await _same(paper, journey)
        paper.held = False
        journey._stage.player.held_channels.clear()
        await journey.settle()
        paper.settle()
        await _same(paper, journey)
        assert await verify(journey.client.database) == []


async def _happen(one: Any, paper: World, journey: Journey) -> None:
    match one:
        case Condition():
            on_paper, in_rows = _payload(one, paper, journey)
            paper.paper = _said(paper, one, on_paper)
            await journey.signal(one.signal_type, actor="ada", payload=in_rows)
            paper.settle()
        case "next":
            stop = paper.next_stop()
            assert await journey.advance_to_next() == (None if stop is None else journey.now)
            if stop is not None:
                paper.advance(stop)
        case "hold" | "release":
            paper.held = one == "hold"
            held = journey._stage.player.held_channels
            held.clear()
            if paper.held:
                held.update(journey._channels)
            await journey.settle()
            paper.settle()
        case timedelta():
            await journey.advance(one)
            paper.advance(paper.now + one)


def _said(paper: World, condition: Condition, payload: Any) -> Paper:
    return signalled(paper.paper, condition.signal_type, payload, paper.now)


class _Provider:
    """What becomes of sends, on whichever channel."""

    def __init__(self, fates: list[Exception | None]) -> None:
        self.fates = list(fates)


class _Channel:
    """A channel of it."""

    def __init__(self, name: str, provider: _Provider) -> None:
        self.name = name
        self._provider = provider

    async def send(self, _message: object) -> Any:
        error = self._provider.fates.pop(0) if self._provider.fates else None
        if error is not None:
            raise error
        return Sent()


async def _same(paper: World, journey: Journey) -> None:
    """Compare: state, transitions with their contexts, deliveries with their attempts."""
    assert journey.now == paper.now
    told = await journey.explain(journey.run.id)
    visits = {str(one.id): one.visit for one in journey.deliveries}
    on_paper = {str(row.id): visit for visit, row in paper.paper.deliveries.items()}
    got = [
        (
            t.reason,
            t.from_state or "active",
            t.to_state,
            t.from_step,
            t.to_step,
            t.visit,
            _plain(t.context, visits),
        )
        for t in told.transitions
    ]
    want = [
        (t.reason, t.from_state, t.to_state, t.from_step, t.to_step, t.visit, _plain(t.context, on_paper))
        for t in paper.paper.transitions
    ]
    assert got == want
    run = paper.paper.run
    assert (journey.run.state, journey.run.step, journey.run.wake_at) == (run.state, run.step, run.wake_at)
    assert journey.run.held_reason == run.held_reason
    sent = [
        (d.visit, d.step_id, d.status, d.suppression_reason, d.attempt_count, d.terminal_at)
        for d in journey.deliveries
    ]
    planned = [
        (visit, d.step_id, d.status, d.suppression_reason, d.attempts, d.terminal_at)
        for visit, d in sorted(paper.paper.deliveries.items())
    ]
    assert sorted(sent) == planned


def _plain(context: Mapping[str, Any], visits: Mapping[str, int]) -> dict[str, Any]:
    anchor = context.get("anchor_delivery_id")
    kept = {k: v for k, v in context.items() if k != "anchor_delivery_visit"}
    if "evidence" in kept:  # on paper every failure is a transient one
        wording = {"error_class", "attempt_outcome"}
        kept["evidence"] = {k: v for k, v in kept["evidence"].items() if k not in wording}
    return kept if anchor is None else {**kept, "anchor_delivery_id": visits.get(anchor, anchor)}


def _alike(examples: int) -> Any:
    """Return the property, tried so often."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scripts())
    def play(script: Any) -> None:
        asyncio.run(_play(script))

    return play


def test_the_harness_and_paper_play_alike() -> None:
    """Whatever happens, in whichever order, rows and paper say the same after each of it."""
    _alike(8)()


@pytest.mark.big
def test_the_harness_and_paper_play_alike_often() -> None:
    """The same, a few hundred times."""
    _alike(300)()

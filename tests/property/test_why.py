"""The explanation of any journey: it never fails, and what it says would have happened is what would have."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from chimeway.client.why import why
from chimeway.client.words import moment_in, what_follows
from chimeway.progression.decision import Birth, Decision
from chimeway.progression.instants import read
from chimeway.progression.paper import Paper, triggered
from chimeway.progression.snapshot import LIVE
from chimeway.store.views import AttemptView, DeliveryView, MailView, RunView, Story, TransitionView
from chimeway.workflow.definition import END, OUTCOMES, Definition, Json, WaitUntil
from chimeway.workflow.encode import conditions_of
from chimeway.workflow.parse import parse
from property.journeys import START, Answer, Attempt, Event, Journey, Passing, Signal, played

NOBODY = UUID(int=7)
MAIL = {"type": "notify", "channel": "email"}


@st.composite
def pointed(draw: st.DrawFn) -> Journey:
    """Return a small journey of rules and signals: a message with rules, a wait, two messages."""
    outcomes = draw(st.lists(st.sampled_from(OUTCOMES), unique=True, max_size=2))
    rules: list[Json] = [
        {"kind": "stop", "outcome": outcome}
        if draw(st.booleans())
        else {"kind": "on_outcome", "outcome": outcome, "to_step": draw(st.sampled_from(["c", "d"]))}
        for outcome in outcomes
    ]
    if not draw(st.integers(0, 3)):
        heard = [{"type": "signal_received", "signal_type": "read"}]
        rules.append({"kind": "wait_until", "delay_seconds": 60, "to_step": "d", "cancel_signals": heard})
    ways = [{"then": "stop"}, {"then": "continue"}, {"then": {"goto": "d"}}]
    steps: list[dict[str, Json]] = [
        {"id": "a", "action": {**MAIL, "render_key": "a"}, "progress": rules},
        {"id": "b", "action": {"type": "wait", "duration": "PT2H", "stop_conditions": [
            {"type": "signal_received", "signal_type": "read", **draw(st.sampled_from(ways))}]}},
        {"id": "c", "action": {**MAIL, "render_key": "c"}},
        {"id": "d", "action": {**MAIL, "render_key": "d"}},
    ]  # fmt: skip
    for place, step in enumerate(steps[:3]):
        if draw(st.booleans()):
            step["next"] = draw(st.sampled_from(["b", "b", "c", "d", "end"][place * 2 :]))
    over = [{"type": "signal_received", "signal_type": "halt"}] if draw(st.booleans()) else []
    definition = parse({"key": "pointed", "version": 1, "steps": steps, "stop_conditions": over})
    journey = Journey(triggered(definition, START, data={}), (Birth("pending"),))
    journey.evaluate()
    signals = [Signal(condition) for condition in conditions_of(definition)]
    becomes = st.builds(Attempt, st.sampled_from([*outcomes, "delivered"]))
    for _ in range(draw(st.integers(2, 5))):
        waits = journey.paper.run.state == "waiting"
        likely = st.sampled_from([*signals, Passing(None)]) if waits else becomes
        event: Event = draw(likely | likely | st.sampled_from([*signals, Passing(None)]))
        journey.happen(event)
        journey.evaluate()
    return journey


def attempts(row_at: datetime, many: int, failed: int) -> tuple[AttemptView, ...]:
    """Return attempts as a provider's rows would tell them: the failed first."""
    return tuple(
        AttemptView(
            number, NOBODY, row_at, "failed" if number <= failed else None, "transient", None, None, row_at
        )
        for number in range(1, many + 1)
    )


def story_of(journey: Journey) -> Story:
    """Return a journey on paper as the reads give it."""
    paper, run = journey.paper, journey.paper.run
    transitions = [(START, paper.transitions[0])]
    planned: dict[int, tuple[datetime, str, str]] = {}
    mail = {each.number: each for each in paper.mail}
    for answer, said in journey.decisions:
        mail |= {each.number: each for each in answer.rows.mail}
        transitions += [(said.now, row) for row in said.transitions]
        planned |= {plan.visit: (said.now, plan.channel, plan.render_key) for plan in said.planned}
    rows = tuple(
        TransitionView(
            seq, NOBODY, row.reason, row.from_state, row.to_state, row.from_step, row.to_step, row.visit,
            row.status_reason, row.context, row.signal_id, row.signal_type, None, at,
        )
        for seq, (at, row) in enumerate(transitions, 1)
    )  # fmt: skip
    deliveries = tuple(
        DeliveryView(
            row.id, row.visit, row.step_id, planned[visit][1], planned[visit][2], row.status,
            row.suppression_reason, row.attempts, row.failed_attempts, False, None, None, row.last_outcome,
            row.last_error_class, None, planned[visit][0], row.terminal_at,
            attempts(planned[visit][0], row.attempts, row.failed_attempts),
        )
        for visit, row in sorted(paper.deliveries.items())
    )  # fmt: skip
    left = {each.number for each in paper.mail}
    mails = tuple(
        MailView(each.number, each.signal_id, each.type, each.created_at, None if number in left else NOBODY)
        for number, each in sorted(mail.items())
    )
    ended = None if run.state in LIVE else rows[-1].at
    view = RunView(
        run.id, run.tenant_id, run.recipient_id, paper.definition.key, paper.definition.version, run.state,
        run.step, run.visit, run.status_reason, run.status_context, run.pending_signals, run.wake_at,
        run.held_reason, START if run.held_reason else None, None, None, NOBODY, START, ended,
    )  # fmt: skip
    return Story(view, paper.zone, journey.now, paper.definition, None, rows, deliveries, mails)


def went_on(paper: Paper, journey: Journey, now: datetime) -> str | None:
    """Let a journey go on from these rows until it enters a step or ends; return where it went."""
    other = Journey(paper, journey.births, now)
    for _ in range(3):
        before = len(other.answers)
        other.evaluate()
        for said in (answer.said for answer in other.answers[before:]):
            for row in said.transitions if isinstance(said, Decision) else ():
                if row.reason == "step_activated":
                    return row.to_step
                if row.reason in ("workflow_completed", "workflow_stopped"):
                    return END if row.reason == "workflow_completed" else None
        if other.paper.run.wake_at is None:
            return None
        other.now = max(other.now, other.paper.run.wake_at)
    return None


def stops_at_a_wait(journey: Journey) -> Iterator[Answer]:
    """Yield the answers that a signal made while the run waited already."""
    for answer, said in journey.decisions:
        first = said.transitions[0]
        if first.reason == "signal_received" and answer.rows.run.state == "waiting":
            yield answer


@settings(deadline=None, max_examples=40)
@given(played())
def test_every_journey_is_explained(journey: Journey) -> None:
    """Whatever its rows are, there are whole sentences, and no failure."""
    told = why(story_of(journey))
    assert told
    assert all(sentence.endswith(".") for sentence in told), told


@settings(deadline=None, max_examples=100)
@given(pointed())
def test_what_would_have_happened_without_the_signal_is_so(journey: Journey) -> None:
    """Take the signal away and let time pass: the core goes where the sentence says, then."""
    told = why(story_of(journey))
    for answer in stops_at_a_wait(journey):
        due = read(answer.rows.run.status_context.get("due_at"))
        assert due is not None
        went = went_on(replace(answer.rows, mail=()), journey, answer.now)
        at = moment_in("UTC", due)
        otherwise = f"Otherwise {what_follows(journey.paper.definition, went)} at {at}."
        assert any(otherwise in sentence for sentence in told), (went, told)


@settings(deadline=None, max_examples=100)
@given(pointed())
def test_what_would_have_happened_without_the_rule_is_so(journey: Journey) -> None:
    """Take the rule out of the definition and decide again: the core goes where the sentence says."""
    told = why(story_of(journey))
    for answer, said in journey.decisions:
        first = said.transitions[0]
        kind, outcome = first.context.get("rule_kind"), first.context.get("workflow_outcome")
        if kind not in ("stop", "on_outcome") or outcome == "temporary_failure":
            continue
        bare = without_rule(answer.rows.definition, first.from_step, outcome)
        step = bare.step(first.from_step)
        assert step is not None
        if any(isinstance(rule, WaitUntil) for rule in step.progress):
            continue  # it would have waited first, which has words of its own
        went = went_on(replace(answer.rows, definition=bare, mail=()), journey, answer.now)
        assert any(f"Without it {what_follows(bare, went)}." in sentence for sentence in told), (went, told)


def without_rule(definition: Definition, step_id: str | None, outcome: object) -> Definition:
    """Return a definition in which a step has no rule about an outcome."""
    steps = tuple(
        replace(step, progress=tuple(r for r in step.progress if getattr(r, "outcome", None) != outcome))
        if step.id == step_id
        else step
        for step in definition.steps
    )
    return replace(definition, steps=steps)

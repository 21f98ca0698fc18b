"""What is true of every journey, whatever happens: semantics §5, §6 and §10, on paper."""

import copy
import json

from chimeway.limits import MAX_SIGNALS_PER_DECISION, MAX_STEPS_PER_DECISION
from chimeway.progression.decide import decide
from chimeway.progression.decision import STUCK_NOOPS, Decision, Noop
from chimeway.progression.fold import fold
from chimeway.progression.instants import read
from chimeway.progression.paper import Paper, written_down
from chimeway.progression.replay import differences, replay
from chimeway.progression.signals import conditions_of
from chimeway.progression.snapshot import ENDED
from chimeway.workflow.conditions import matches
from chimeway.workflow.definition import Condition, NotifyAction
from property.journeys import SECRET, Journey


def one_delivery_a_visit(journey: Journey) -> None:
    """Visits are numbered 1, 2, 3, ...; each of a notify step has one delivery, no other has (I2)."""
    entered = [t for t in journey.paper.transitions if t.reason == "step_activated"]
    assert [t.visit for t in entered] == list(range(1, len(entered) + 1))
    definition = journey.paper.definition
    sent = [t.visit for t in entered if isinstance(definition.step(t.to_step).action, NotifyAction)]
    planned = [plan.visit for _, decision in journey.decisions for plan in decision.planned]
    assert planned == sent == sorted(journey.paper.deliveries)


def the_end_is_final(journey: Journey) -> None:
    """Once a run has ended, every wake is a noop, and its row stays (I4)."""
    ended = [answer for answer in journey.answers if answer.rows.run.state in ENDED]
    assert all(answer.said == Noop("run_not_active") for answer in ended)
    assert (
        len({(answer.rows.run.state, answer.rows.run.visit, answer.rows.run.revision) for answer in ended})
        <= 1
    )


def deciding_leaves_the_rows_alone(journey: Journey) -> None:
    """The same rows at the same time give the same answer, and are as they were."""
    for answer in journey.answers:
        before = copy.deepcopy(answer.rows)
        assert decide(answer.rows.snapshot, answer.now, journey.born) == answer.said
        assert answer.rows == before


def folding_the_transitions_gives_the_run(journey: Journey) -> None:
    """After each decision: state, step, visit, reason and context (I1)."""
    for answer, decision in journey.decisions:
        after = written_down(answer.rows, decision)
        run = after.run
        assert fold(after.transitions) == (
            run.state,
            run.step,
            run.visit,
            run.status_reason,
            run.status_context,
        )
        states = [(t.from_state, t.from_step) for t in after.transitions[1:]]
        assert states == [(t.to_state, t.to_step) for t in after.transitions[:-1]]


def evaluating_twice_is_evaluating_once(journey: Journey) -> None:
    """The second wake, at the same time, writes nothing (T-25-06)."""
    assert isinstance(journey.answers[-1].said, Noop | Decision)
    journey.evaluate()
    paper, answers = journey.paper, len(journey.answers)
    for _ in range(2):
        journey.evaluate()
    assert journey.paper is paper
    assert all(isinstance(answer.said, Noop) for answer in journey.answers[answers:])


def a_decision_on_rows_that_have_changed_is_refused(journey: Journey) -> None:
    """Two who decide on the same rows: the second's guard does not hold (`stale`)."""
    for answer, decision in journey.decisions:
        after = written_down(answer.rows, decision)
        assert after.run.revision == decision.seen.revision + 1
        try:
            written_down(after, decision)
        except AssertionError:
            continue
        raise AssertionError(decision)


def replay_gives_the_same_decision(journey: Journey) -> None:
    """From definition, transitions before and inputs alone, once they were JSON (I10)."""
    for answer, decision in journey.decisions:
        inputs = json.loads(json.dumps(decision.inputs))
        again = replay(answer.rows.definition, fold(answer.rows.transitions), inputs)
        assert differences(decision, again) == ()


def what_is_written_bears_no_value_of_data_or_payload(journey: Journey) -> None:
    """Only ids, types, enum words and instants (semantics §8)."""
    for _, decision in journey.decisions:
        assert SECRET not in repr((decision.transitions, decision.inputs, decision.after, decision.planned))


def a_wait_elapses_when_it_is_due_and_not_before(journey: Journey) -> None:
    """A waiting run's wake is its `due_at`; without one it is stuck, and says so."""
    for answer, decision in journey.decisions:
        after = decision.after
        if after.state == "waiting" and after.wake_at != answer.now:
            assert after.wake_at == read(after.status_context["due_at"])
        for transition in decision.transitions:
            if transition.reason == "reactivated_from_wait":
                assert read(transition.context["due_at"]) <= answer.now
                assert decision.elapsed
    last = journey.answers[-1]
    if isinstance(last.said, Noop) and last.rows.run.state == "waiting" and last.rows.run.wake_at is None:
        assert last.said.reason in STUCK_NOOPS


def one_evaluation_is_bounded(journey: Journey) -> None:
    """At most 25 steps and 25 signals, each signal once."""
    consumed = [number for _, decision in journey.decisions for number in decision.consumed]
    assert len(set(consumed)) == len(consumed)
    for _, decision in journey.decisions:
        entered = [t for t in decision.transitions if t.reason == "step_activated"]
        assert len(entered) <= MAX_STEPS_PER_DECISION
        assert len(decision.consumed) <= MAX_SIGNALS_PER_DECISION


def _first_heard(paper: Paper) -> tuple[int, Condition] | None:
    """Return the first pair that fits a waiting run, found the plain way."""
    run, snapshot = paper.run, paper.snapshot
    step = paper.definition.step(run.step)
    of_step = [condition for _, condition in conditions_of(step)]
    for mail in paper.mail:
        for condition in [*of_step, *paper.definition.stop_conditions]:
            late = condition.since == "run" or mail.created_at > run.entered_at
            fits = mail.type == condition.signal_type and matches(
                condition, payload=mail.payload, data=paper.data, delivery_ids=snapshot.delivery_ids
            )
            if late and fits:
                return mail.number, condition
    return None


def a_signal_goes_before_outcome_and_time(journey: Journey) -> None:
    """The first pair that fits a waiting run is obeyed, due or not; a stop plans nothing (I5)."""
    for answer in journey.answers:
        heard = _first_heard(answer.rows) if answer.rows.run.state == "waiting" else None
        if heard is None:
            continue
        number, condition = heard
        assert isinstance(answer.said, Decision)
        assert answer.said.consumed[0] == number
        assert answer.said.transitions[0].reason == "signal_received"
        if condition.then == "stop":
            assert (answer.said.kind, answer.said.planned, answer.said.consumed) == ("stopped", (), (number,))


def no_run_stops_at_a_wait_and_plans_the_step_after_it(journey: Journey) -> None:
    """Stopped while it waits: no later visit. Stopped by what stayed armed: nothing was attempted."""
    heard = [t for t in journey.paper.transitions if t.reason == "signal_received"]
    if journey.paper.run.state != "stopped" or not heard:
        return
    last = heard[-1]
    if last.visit != journey.paper.run.visit or last.context["then"] != "stop":
        return
    assert max(journey.paper.deliveries, default=0) <= last.visit
    if last.context["step"] not in (None, last.from_step):
        unsent = journey.paper.deliveries[last.visit]
        assert (unsent.status, unsent.suppression_reason, unsent.attempts) == (
            "cancelled",
            "stopped_before_send",
            0,
        )


def a_stopped_run_leaves_nothing_to_be_sent(journey: Journey) -> None:
    """Its open deliveries are cancelled with it, but for one that is with its provider (§7)."""
    for _, decision in journey.decisions:
        if decision.kind == "stopped":
            statuses = {row.status for row in journey.paper.deliveries.values()}
            assert statuses <= {"succeeded", "suppressed", "cancelled", "dispatched"}


INVARIANTS = (
    one_delivery_a_visit,
    the_end_is_final,
    deciding_leaves_the_rows_alone,
    folding_the_transitions_gives_the_run,
    a_decision_on_rows_that_have_changed_is_refused,
    replay_gives_the_same_decision,
    what_is_written_bears_no_value_of_data_or_payload,
    a_wait_elapses_when_it_is_due_and_not_before,
    one_evaluation_is_bounded,
    a_signal_goes_before_outcome_and_time,
    no_run_stops_at_a_wait_and_plans_the_step_after_it,
    a_stopped_run_leaves_nothing_to_be_sent,
    evaluating_twice_is_evaluating_once,  # the last one, since it wakes the run again
)

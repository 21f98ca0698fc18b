"""The reference model: what one run may be, by the words of the semantics, told only what became durable.

It shares nothing with the engine but `chimeway.workflow`, so that a mistake is made twice or found. `facts`
has the words in which it is told and answers, and how it is used.

Three promises are checked where they are kept. Who decides, or begins an attempt, has routed each signal
that he could see (section 5). An attempt is begun only where no signal would have the run, deciding now,
call it off (6 b). A decision is made only where something follows, for an instant that has come (ESC-03, 9).
Limits are counted as the engine does: of 25 signals the last place is kept for one that stops.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chimeway.testing.simulation import facts
from chimeway.testing.simulation.facts import Attempted, Begun, Born, Decided, Fact, Picture, Said
from chimeway.testing.simulation.records import ENDED, LIVE, OPEN, Journey, Left, Message
from chimeway.workflow import definition as of
from chimeway.workflow.conditions import matches
from chimeway.workflow.durations import known_zone, parse_duration, parse_instant, seconds_after
from chimeway.workflow.encode import signal_types
from chimeway.workflow.moments import next_moment

MAX_STEPS, MAX_SIGNALS, MAX_VISITS = 25, 25, 1_000
AHEAD: Final = timedelta(milliseconds=50)


class Contradiction(AssertionError):  # noqa: N818  (what is so, not that it is wrong)
    """Something became durable that the semantics do not allow."""


class Reference:
    """One run, followed by what became durable."""

    def __init__(self, definition: of.Definition, begun: Begun) -> None:
        """Take its definition and its trigger."""
        self.definition, self.begun = definition, begun
        self._types = frozenset(signal_types(definition))
        self._zone = begun.zone if known_zone(begun.zone) else "UTC"
        self._said: tuple[Said, ...] = ()  # for this run, and not routed yet
        self._routed = 0
        self._run = Journey()

    @property
    def picture(self) -> Picture:
        """What the rows must say now."""
        run = self._run
        rows = {visit: (each.step, each.status, each.reason) for visit, each in run.deliveries.items()}
        due, unread = run.due if run.state == "waiting" else None, tuple(number for number, _ in run.mail)
        told = (run.state, run.step, run.visit, run.status_reason, run.held)
        return Picture(*told, due, unread, rows, run.trail)

    def moves(self, now: datetime) -> bool:
        """Say whether an evaluation at this instant would write something, with all signals routed."""
        run = replace(self._run, mail=(*self._run.mail, *((0, said) for said in self._said)))
        return self._evaluated(run, now, {}) is not run

    def happened(self, fact: Fact) -> None:
        """Take the next fact; raises Contradiction where it cannot be."""
        match fact:
            case Said():
                me = self.begun
                mine = (fact.tenant, fact.actor) == (me.tenant, me.recipient) and fact.run in (None, me.run)
                if mine and fact.arrival > me.arrival and fact.type in self._types:
                    self._said = tuple(sorted((*self._said, fact), key=lambda said: said.arrival))
            case facts.Routed():
                self._run = self._routed_to_me(fact)
            case Decided():
                self._run = self._decided(fact)
            case facts.Ordered(command):
                self._run = self._ordered(command)
            case facts.Attempted() | facts.Called() | facts.Answered() | facts.Told():
                self._must(fact.visit in self._run.deliveries, "no message was planned there", fact)
                self._run = self._run.having(fact.visit, self._became(self._run.deliveries[fact.visit], fact))

    def _must(self, true: bool, told: str, fact: object) -> None:  # noqa: FBT001  (as an assertion has it)
        if not true:
            raise Contradiction(f"{told}: {fact}")

    def _routed_to_me(self, fact: facts.Routed) -> Journey:
        said = [each for each in self._said if each.signal == fact.signal]
        self._must(len(said) == 1, "a signal was routed that is not for this run, or had been before", fact)
        self._must(self._run.state in LIVE, "a signal was routed to a run that had ended", fact)
        self._routed += 1
        self._must(fact.number == self._routed, "the mailbox is not numbered 1, 2, 3", fact)
        self._said = tuple(each for each in self._said if each not in said)
        return replace(self._run, mail=(*self._run.mail, (fact.number, said[0])))

    def _ordered(self, command: str) -> Journey:
        run = self._run
        if command in ("pause", "unpause"):
            return replace(run, paused=command == "pause")
        self._must(run.state in LIVE, "a command was obeyed by a run that had ended", command)
        if command == "cancel":
            return run.stopped("cancelled_by_request")
        self._must(run.held is (command == "resume"), "held twice, or resumed for nothing", command)
        word = "run_held" if command == "hold" else "run_resumed"
        return replace(run.says(word, run.state, run.status_reason), held=command == "hold")

    def _decided(self, fact: Decided) -> Journey:
        self._must(fact.now <= fact.at + AHEAD, "decided for an instant that has not come", fact)
        self._all_routed(fact)
        after = self._evaluated(self._run, fact.now, fact.births)
        self._must(after is not self._run, "a decision was written where nothing follows", fact)
        planned = sorted(after.deliveries.keys() - self._run.deliveries.keys())
        self._must(planned == sorted(fact.births), f"to be planned were those of visits {planned}", fact)
        return after

    def _all_routed(self, fact: Decided | Attempted) -> None:
        missed = [each.signal for each in self._said if each.signal not in fact.unseen]
        self._must(not missed or self._run.state not in LIVE, f"{missed} could be seen, and was not", fact)

    def _became(self, each: Message, fact: Attempted | facts.Called | facts.Answered | facts.Told) -> Message:
        match fact:
            case Attempted():
                self._may_begin(each, fact)
                unanswered = each.unanswered | {fact.number}
                return replace(each, status="dispatched", attempts=fact.number, unanswered=unanswered)
            case facts.Called(number=number):
                self._must(number <= each.attempts, "a provider was called without an attempt row", fact)
                self._must(number not in each.called, "a provider was called twice for one attempt", fact)
                return replace(each, called=each.called | {number})
            case facts.Answered():
                return self._answered(each, fact)
            case facts.Told(kind=kind, at=at):
                self._must(each.attempts > 0, "feedback of a message that nobody sent", fact)
                return each.told_of(kind, at)

    def _may_begin(self, each: Message, fact: Attempted) -> None:
        run = self._run
        self._must(each.status in OPEN, "an attempt was begun of a message that must not be sent", fact)
        self._must(fact.number == each.attempts + 1, "attempts are not numbered 1, 2, 3", fact)
        self._must(not run.held, "an attempt was begun while the run was held", fact)
        self._must(not run.paused or each.attempts > 0, "a first attempt while the workflow was paused", fact)
        self._all_routed(fact)
        if run.state in LIVE and run.entered is not None:  # in what is asked here no time passes
            after = self._evaluated(replace(run, paused=False), run.entered, {})
            heard = [row[0] for row in after.trail[len(run.trail) :]][:1] == ["signal_received"]
            off = heard and after.deliveries[fact.visit].status == "cancelled"
            self._must(not off, "an attempt, though its run would call it off", fact)

    def _answered(self, each: Message, fact: facts.Answered) -> Message:
        if fact.number is None:
            self._must(each.status in OPEN, "a message ended unsent that had ended or was being sent", fact)
        else:
            self._must(fact.number in each.unanswered, "a result without attempt, or a second one", fact)
            each = replace(each, unanswered=each.unanswered - {fact.number})
            each = replace(each, failed=each.failed + (fact.result != "succeeded"))
        if each.status in ENDED:
            return each
        status, reason = fact.status, fact.reason if fact.status in ENDED else None
        if each.stop_requested and status != "succeeded":
            status, reason = "cancelled", "run_stopped"
        return replace(each, status=status, reason=reason, ended=fact.at if status in ENDED else None)

    # One evaluation: the table of section 5, row by row, until the world must move.

    def _evaluated(self, run: Journey, now: datetime, births: Mapping[int, Born]) -> Journey:
        entered = heard = 0
        while (after := self._row(run, now)) is not None:
            if len(after.mail) < len(run.mail) and after.state != "stopped":
                heard += 1
                if heard == MAX_SIGNALS:
                    break
            if after.visit > run.visit:
                entered += 1
                if run.visit >= MAX_VISITS:
                    return replace(run.says("run_held", run.state, run.status_reason), held=True)
                if entered > MAX_STEPS:
                    break
                after = after.bearing(births.get(after.visit), now)
            run = after
        return run

    def _row(self, run: Journey, now: datetime) -> Journey | None:
        if run.state not in LIVE or run.held or run.paused:
            return None  # 1, 2
        for number, said in run.mail:
            for condition, since, whose in self._listens(run):
                if self._fits(run, said, condition, since):
                    return self._obeyed(run, number, condition, whose, now)  # 3, 5, 5a, 6
        step, starts_at = self.definition.step(run.step), self.begun.starts_at
        if step is None:
            begins = starts_at is None or now >= starts_at
            return self._arrived(run, self.definition.steps[0].id, now) if begins else None  # 4
        each, wait = run.deliveries.get(run.visit), _wait_after(step)
        outcome = each.outcome if each else None
        rules = (rule for rule in step.progress if isinstance(rule, of.OnOutcome | of.StopOn))
        rule = next((rule for rule in rules if rule.outcome == outcome), None)
        if run.state == "waiting":
            if rule is not None and outcome != run.waits_since:
                return self._followed(run, rule, now, (step, run.entered))  # 7
            if run.due is None or now < run.due:
                return None  # 8, 10
            left, run = (step, run.entered), run.says("reactivated_from_wait", "active")  # 9
            return self._arrived(run, wait.to_step, now, left) if wait else self._onward(run, step, now, left)
        if rule is not None:
            return self._followed(run, rule, now, None)  # 11
        if each is None or each.status not in ENDED:
            return None  # 12, 13
        if wait is None:
            return self._onward(run, step, now, None)  # 15, 16
        ended = each.ended or now
        due = seconds_after(ended, wait.delay_seconds or 0)
        due = parse_duration(wait.delay).after(ended, self._zone) if wait.delay else due
        run = replace(run, due=due, waits_since=outcome)
        return run.says("waiting_for_step_progression", "waiting")  # 14

    def _listens(self, run: Journey) -> Iterator[tuple[of.Condition, datetime | None, str | None]]:
        each = run.deliveries.get(run.visit)
        if run.state == "waiting":
            yield from ((one, run.entered, "step") for one in _conditions(self.definition.step(run.step)))
        elif run.armed is not None and each and each.attempts == 0 and each.status in OPEN:
            step, since = run.armed
            yield from ((one, since, "armed") for one in _conditions(step) if one.then == "stop")
        yield from ((one, None, None) for one in self.definition.stop_conditions)

    def _fits(self, run: Journey, said: Said, condition: of.Condition, since: datetime | None) -> bool:
        if said.type != condition.signal_type:
            return False
        if condition.since == "entered" and (since is None or said.at <= since):
            return False
        ids = {each.step: each.id for _, each in sorted(run.deliveries.items())}
        return matches(condition, payload=said.payload, data=self.begun.data, delivery_ids=ids)

    def _obeyed(
        self, run: Journey, number: int, condition: of.Condition, whose: str | None, now: datetime
    ) -> Journey:
        mail = tuple(row for row in run.mail if row[0] != number)
        step, left = self.definition.step(run.step), run.entered
        run = replace(run, mail=mail).says("signal_received", "active")
        if whose is None or condition.then == "stop" or step is None:
            if whose == "armed":
                each = replace(run.deliveries[run.visit], status="cancelled", reason="stopped_before_send")
                run = run.having(run.visit, each)
            return run.stopped("workflow_stopped")
        if isinstance(condition.then, of.Goto):
            return self._arrived(run, condition.then.step_id, now, (step, left))
        return self._onward(run, step, now, (step, left))

    def _followed(self, run: Journey, rule: of.OnOutcome | of.StopOn, now: datetime, left: Left) -> Journey:
        run = run.says("progressed_on_delivery_outcome", "active")
        if isinstance(rule, of.StopOn):
            return run.stopped("workflow_stopped")
        each = run.deliveries[run.visit]
        if each.status not in ENDED and not rule.keep_retrying:
            run = run.having(run.visit, replace(each, status="cancelled", reason="superseded", ended=now))
        return self._arrived(run, rule.to_step, now, left)

    def _onward(self, run: Journey, step: of.Step, now: datetime, left: Left) -> Journey:
        gone, rounds = run.rounds.get(step.id, 0), dict(run.rounds)
        to = self.definition.after(step, gone)
        if isinstance(step.next, of.Repeat):
            rounds[step.id] = gone + 1 if gone < step.next.times else 0
        run = replace(run, rounds=rounds)
        if left is None and to == of.END and step.progress:
            return run.says("workflow_completed", "completed", "implicit_completion")
        if left is None and to != of.END:
            run = run.says("progressed_on_delivery_outcome", "active")
        return self._arrived(run, to, now, left)

    def _arrived(self, run: Journey, to: str, now: datetime, left: Left = None) -> Journey:
        if to == of.END:
            return replace(run.says("workflow_completed", "completed"), armed=None)
        step = next(step for step in self.definition.steps if step.id == to)
        before = run.deliveries.get(run.visit)
        run = replace(run, step=to, visit=run.visit + 1, entered=now, armed=None)
        run = run.says("step_activated", "active")
        if isinstance(step.action, of.NotifyAction):  # 11: one message for each visit
            return replace(run, armed=left).having(run.visit, Message("", to, "pending"))
        ended = before.ended if before else None
        run = replace(run, due=self._due(step.action, now, ended))
        return run.says("waiting_for_step_progression", "waiting")  # 17

    def _due(self, action: of.WaitAction, entered: datetime, ended: datetime | None) -> datetime | None:
        if action.duration is not None:
            return parse_duration(action.duration).after(ended or entered, self._zone)
        try:
            match action.until:
                case of.DataRef(name):
                    return parse_instant(str(self.begun.data.get(name)))
                case of.AtLocalTime() | of.Within() as until:
                    return next_moment(until, max(ended or entered, entered), self._zone, self.begun.working)
                case until:
                    return until
        except ValueError:
            return None  # 10


def _conditions(step: of.Step | None) -> tuple[of.Condition, ...]:
    if step is not None and isinstance(step.action, of.WaitAction):
        return step.action.stop_conditions
    wait = _wait_after(step) if step is not None else None
    return wait.cancel_signals if wait else ()


def _wait_after(step: of.Step) -> of.WaitUntil | None:
    return next((rule for rule in step.progress if isinstance(rule, of.WaitUntil)), None)

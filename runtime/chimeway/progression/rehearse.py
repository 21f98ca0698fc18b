"""A journey played on paper: the decision core, a script, and time that jumps. No database.

At each moment the world comes first (signals, outcomes), then the run is evaluated; then time jumps
to whatever is next. A message's fate is its step's in the script, else delivered at once. Policy is asked as
on a node, by the script's preferences: when a message is planned, and when what it has deferred is due.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from chimeway.errors import InvalidInput
from chimeway.progression.asking import asked_of
from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop, NoopReason, Transition
from chimeway.progression.paper import (
    Paper,
    attempted,
    let_go,
    signalled,
    suppressed,
    triggered,
    written_down,
)
from chimeway.progression.policy import INBOX, NONE, Verdict, judge, merged, suppressed_as
from chimeway.progression.script import Event, Fate, OutcomeEvent, Script, SignalEvent, parse_script
from chimeway.progression.snapshot import LIVE, Delivery, Run
from chimeway.workflow.definition import Definition, Json, NotifyAction, Step
from chimeway.workflow.durations import BeyondCalendar, iso_instant, parse_duration


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline: when, what (a word), at which step, and a few words more."""

    at: datetime
    what: str
    step: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was played: the timeline, and the rows as they are at its end.

    `noop` is why the run rests there; a run that is still live waits for something unscripted.
    """

    timeline: tuple[Line, ...]
    run: Run
    deliveries: tuple[Delivery, ...]
    transitions: tuple[Transition, ...]
    noop: NoopReason


def rehearse(definition: Definition, script: Json | Script = None) -> Rehearsal:
    """Play a journey for one recipient.

    Args:
        definition: the journey, valid.
        script: what happens, as `parse_script` reads it; None for nothing but the passing of time.

    Returns:
        the rehearsal. It ends when the run has ended and no event is left, or nothing more comes.

    Raises:
        InvalidInput: the script has a fault, and the message names the field; or the journey goes on
            beyond the year 9999.
    """
    if not isinstance(script, Script):
        script = parse_script(script, definition)
    stage = _Stage(definition, script)
    try:
        while (now := stage.next_moment()) is not None:
            stage.play(now)
        return stage.rehearsal()
    except BeyondCalendar:
        ended = f"the journey goes on beyond the year 9999, from {iso_instant(stage.now)}"
        raise InvalidInput(f"{ended}: begin earlier, or let something end it", field="script") from None


@dataclass(frozen=True, slots=True)
class _Due:
    """A deferred message's time has come."""

    step_id: str
    visit: int


class _Stage:
    """Where a rehearsal stands: the only mutable thing here, and it never leaves `rehearse`."""

    def __init__(self, definition: Definition, script: Script) -> None:
        self.script = script
        self.now = script.start
        self.paper: Paper = triggered(
            definition, script.start, data=script.data, zone=script.zone, working=script.working
        )
        self.lines = [Line(script.start, "workflow_started", None)]
        self.wake: datetime | None = script.start
        self.sent: list[tuple[str, datetime]] = []
        self.coming: list[tuple[datetime, int, Event | _Due]] = [
            (max(event.at, script.start), place, event) for place, event in enumerate(script.events)
        ]
        self.places = len(self.coming)
        heapq.heapify(self.coming)

    def next_moment(self) -> datetime | None:
        moments = [at for at in (self.wake, self.coming[0][0] if self.coming else None) if at]
        return max(self.now, min(moments)) if moments else None

    def play(self, now: datetime) -> None:
        self.now = now
        while self.coming and self.coming[0][0] <= now:
            self._happen(heapq.heappop(self.coming)[2])
        self._evaluate()

    def rehearsal(self) -> Rehearsal:
        paper = self.paper
        deliveries = tuple(row for _, row in sorted(paper.deliveries.items()))
        rest = decide(paper.snapshot, self.now, self._birth)
        if not isinstance(rest, Noop):
            raise AssertionError(f"the rehearsal ended and the run goes on: {rest.kind}")
        return Rehearsal(tuple(self.lines), paper.run, deliveries, paper.transitions, rest.reason)

    def _happen(self, event: Event | _Due) -> None:
        match event:
            case _Due(step_id=step_id, visit=visit):
                self._judge_again(step_id, visit)
            case SignalEvent(signal_type=signal_type, payload=payload):
                late = "" if self.paper.run.state in LIVE else " (arrived_after_end)"
                self._say("signal", self.paper.run.step, signal_type + late)
                self.paper = signalled(self.paper, signal_type, payload, self.now)
            case OutcomeEvent(step_id=step_id, outcome=outcome, visit=visit):
                before, row = self.paper, self.paper.latest_delivery(step_id)
                if row is not None:
                    visit = row.visit if visit is None else visit
                    self.paper = attempted(before, visit, outcome, self.now)
                ignored = " (no open delivery)" if self.paper is before else ""
                self._say("outcome", step_id, outcome + ignored)
            case _:
                assert_never(event)

    def _evaluate(self) -> None:
        run = self.paper.run
        decision = decide(self.paper.snapshot, self.now, self._birth)
        match decision:
            case Noop():
                self.wake = None if self.wake and self.wake <= self.now else self.wake
            case Decision():
                self.paper = written_down(self.paper, decision)
                self.wake = decision.after.wake_at if decision.after.held_reason is None else None
                self.lines.extend(_lines(decision, run))
                self._let_fates_come(decision)
            case _:
                assert_never(decision)

    def _let_fates_come(self, decision: Decision) -> None:
        for plan in decision.planned:
            if plan.birth.until is not None:
                self._come(plan.birth.until, _Due(plan.step_id, plan.visit))
            elif plan.birth.status == "pending":
                self._send(plan.step_id, plan.channel, plan.visit)
            elif plan.birth.status == "succeeded":
                self.sent.append((plan.channel, self.now))

    def _send(self, step_id: str, channel: str, visit: int) -> None:
        """Begin the first attempt, and have its fate come."""
        self.sent.append((channel, self.now))
        fate = self.script.fates.get(step_id, Fate())
        if fate.outcome is None:
            return
        at = self.now
        if fate.after is not None:
            at = parse_duration(fate.after).after(self.now, self.script.zone)
        self._come(at, OutcomeEvent(at, step_id, fate.outcome, visit))

    def _come(self, at: datetime, event: Event | _Due) -> None:
        self.places += 1
        heapq.heappush(self.coming, (at, self.places, event))

    def _judge_again(self, step_id: str, visit: int) -> None:
        """Ask policy again about what it had deferred; a verdict of the script's was meant until now."""
        row, step = self.paper.deliveries[visit], self.paper.definition.step(step_id)
        if row.status != "deferred" or step is None or not isinstance(step.action, NotifyAction):
            return
        scripted = self.script.fates.get(step_id, Fate()).verdict
        verdict = None if scripted else self._verdict(step.action)
        if verdict is None or verdict.kind == "send":
            self.paper = let_go(self.paper, visit)
            self._say("delivery_let_go", step_id, step.action.channel)
            self._send(step_id, step.action.channel, visit)
        elif verdict.until is not None:
            self._say("delivery_deferred", step_id, f"{verdict.reason} until {iso_instant(verdict.until)}")
            self._come(verdict.until, _Due(step_id, visit))
        else:
            self.paper = suppressed(self.paper, visit, suppressed_as(verdict), self.now)
            self._say("delivery_suppressed", step_id, suppressed_as(verdict))

    def _birth(self, step: Step, visit: int) -> Birth:
        del visit
        if not isinstance(step.action, NotifyAction):
            raise AssertionError(f"step {step.id} plans no delivery")
        fate = self.script.fates.get(step.id, Fate())
        held = self._held_back(step.action, fate)
        if held is not None and held.status == "suppressed":
            return held
        if fate.outcome == "suppressed" and fate.after is None:
            return Birth("suppressed", "no_address")
        if step.action.channel == INBOX:
            if fate.outcome == "permanent_failure":
                return Birth("cancelled", "permanent_failure", "configuration")
            return Birth("succeeded")
        return held or Birth("pending")

    def _held_back(self, action: NotifyAction, fate: Fate) -> Birth | None:
        """Return how a message is born that policy does not let go at once: as scripted, else as it says."""
        match fate.verdict:
            case "send":
                return None
            case "suppress":
                return Birth("suppressed", fate.reason)
            case "defer":
                until = fate.until
                if isinstance(until, str):
                    until = parse_duration(until).after(self.now, self.script.zone)
                return (
                    None
                    if until is None or until <= self.now
                    else Birth("deferred", fate.reason, until=until)
                )
            case None:
                verdict = self._verdict(action)
                if verdict is None or verdict.kind == "send":
                    return None
                if verdict.kind == "suppress":
                    return Birth("suppressed", suppressed_as(verdict))
                return Birth("deferred", verdict.reason, until=verdict.until)
            case _:
                assert_never(fate.verdict)

    def _verdict(self, action: NotifyAction) -> Verdict | None:
        script = self.script
        if script.preferences is NONE and action.send_window is None:
            return None
        sent = [at for channel, at in self.sent if channel == action.channel]
        asked = asked_of(self.paper.definition, action, zone=script.zone, working=script.working, sent=sent)
        return judge(merged(NONE, script.preferences), asked, self.now)

    def _say(self, what: str, step: str | None, detail: str) -> None:
        self.lines.append(Line(self.now, what, step, detail))


def _lines(decision: Decision, before: Run) -> Iterator[Line]:
    """Yield a decision's lines: each delivery after the transition that entered its step."""
    planned = {plan.visit: plan for plan in decision.planned}
    visit = before.visit
    for transition in decision.transitions:
        yield Line(decision.now, transition.reason, transition.to_step, _detail(transition))
        plan = planned.get(transition.visit) if transition.visit > visit else None
        visit = transition.visit
        if plan is not None:
            how = plan.birth.status + (f" ({plan.birth.reason})" if plan.birth.reason else "")
            how += f" until {iso_instant(plan.birth.until)}" if plan.birth.until else ""
            detail = f"{plan.channel} {plan.render_key}: {how}"
            yield Line(decision.now, "delivery_planned", plan.step_id, detail)
    for cancelled in decision.cancelled:
        yield Line(
            decision.now,
            "delivery_cancelled",
            None,
            f"visit {cancelled.visit}: {cancelled.reason}",
        )


def _detail(transition: Transition) -> str:
    context = transition.context
    match transition.reason:
        case "waiting_for_step_progression":
            return f"until {context['due_at']}"
        case "signal_received":
            return f"{transition.signal_type} meets {context['condition']}"
        case "progressed_on_delivery_outcome":
            return f"{context['workflow_outcome']}, on to {context['to_step']}"
        case "step_activated" if (repeat := context.get("repeat")) and not repeat["used_up"]:
            return f"again, {repeat['number']} of at most {repeat['times']} time{'s' * (repeat['times'] > 1)}"
        case "workflow_completed":
            return transition.status_reason
        case _:
            return ""

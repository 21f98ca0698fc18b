"""A journey played on paper: the decision core, a script, and time that jumps. No database.

At each moment the world comes first (signals, outcomes), then the run is evaluated; then time jumps
to whatever is next. A message's fate is its step's in the script, else delivered at once.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from chimeway.errors import InvalidInput
from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop, NoopReason, Transition
from chimeway.progression.paper import Paper, attempted, signalled, triggered, written_down
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
        self.coming: list[tuple[datetime, int, Event]] = [
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

    def _happen(self, event: Event) -> None:
        match event:
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
            fate = self.script.fates.get(plan.step_id, Fate())
            if plan.birth.status != "pending" or fate.outcome is None:
                continue
            at = self.now
            if fate.after is not None:
                at = parse_duration(fate.after).after(self.now, self.script.zone)
            self.places += 1
            event = OutcomeEvent(at, plan.step_id, fate.outcome, plan.visit)
            heapq.heappush(self.coming, (at, self.places, event))

    def _birth(self, step: Step, visit: int) -> Birth:
        del visit
        fate = self.script.fates.get(step.id, Fate())
        if fate.outcome == "suppressed" and fate.after is None:
            return Birth("suppressed", "no_address")
        if isinstance(step.action, NotifyAction) and step.action.channel == "in_app":
            if fate.outcome == "permanent_failure":
                return Birth("cancelled", "permanent_failure", "configuration")
            return Birth("succeeded")
        return Birth("pending")

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
            return f"again, {repeat['number']} of at most {repeat['times']} times"
        case "workflow_completed":
            return transition.status_reason
        case _:
            return ""

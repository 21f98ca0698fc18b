"""Why a run went as it did, in plain sentences. Pure: a story in, sentences out.

They follow the audit, transition by transition; a delivery is told where its step was entered. Each
turn names the signal or the rule that made it, the step, the moment (local and UTC), and what would
have happened otherwise. What was said too late, and what was never sent, stands at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from chimeway.client.why_deliveries import LATE, told
from chimeway.client.why_standing import standing
from chimeway.client.words import (
    effect,
    heard_by,
    listed,
    moment,
    times,
    went_on,
    what_follows,
    whom,
    written_moment,
)
from chimeway.progression.instants import read
from chimeway.progression.working import repeats_in
from chimeway.store.views import MailView, Story, TransitionView
from chimeway.workflow.definition import Condition, NotifyAction, OnOutcome, Rule, WaitUntil
from chimeway.workflow.telling import signal_of


def why(story: Story) -> tuple[str, ...]:
    """Return sentences that answer "why was this sent, or not sent?", in the order of time."""
    return tuple(sentence for sentence in (*_Walk(story).turns(), *standing(story), *_afterwards(story)))


@dataclass(slots=True)
class _Walk:
    """A way through the transitions; `waiting` is the wait in which the run then was, if any.

    `repeats` says how often steps had led back by then: what ends a run from outside bears no counts.
    """

    story: Story
    waiting: TransitionView | None = None
    repeats: Mapping[str, int] = field(default_factory=dict)

    def turns(self) -> Iterator[str]:
        rows = self.story.transitions
        for place, row in enumerate(rows):
            after = rows[place + 1] if place + 1 < len(rows) else None
            yield from self._turn(row, after)
            if row.reason == "waiting_for_step_progression":
                self.waiting = row
            elif row.reason == "wait_retimed" and self.waiting is not None:
                self.waiting = replace(self.waiting, context=row.context)  # it began when it began
            elif row.to_state != "waiting":
                self.waiting = None
            self.repeats = repeats_in(row.context)

    def _turn(self, row: TransitionView, after: TransitionView | None) -> Iterator[str]:
        story, at = self.story, moment(self.story, row.at)
        match row.reason:
            case "workflow_started":
                run = story.run
                yield (f"{run.workflow_key} version {run.workflow_version} began for {whom(story)} at {at}.")
            case "step_activated":
                yield from (told(story, d) for d in story.deliveries if d.visit == row.visit)
            case "signal_received":
                yield self._heard(row, after)
            case "reactivated_from_wait":
                yield self._elapsed(row, _note(after))
            case "progressed_on_delivery_outcome":
                yield from self._rule(row, _note(after))
            case "workflow_completed":
                yield self._completed(row)
            case "recipient_forgotten":
                where, otherwise = _where(row), self._otherwise(row)
                yield f"The run was ended at {at} {where}: this person was forgotten.{otherwise}"
            case "cancelled_by_request" | "failed_by_request":
                note = f', with the note "{row.note}"' if row.note else ""
                yield f"The run was ended ({row.reason}) at {at} {_where(row)}{note}.{self._otherwise(row)}"
            case "run_held" if after is not None:
                yield f"The run was held at {at} {_where(row)} ({row.note or 'no note'})."
            case "run_resumed":
                yield f"The run was given back at {at} ({row.note or 'no note'})."
            case "wait_retimed":
                due = written_moment(story, row.context.get("due_at"))
                yield f"The wait at {row.to_step} was moved at {at}: it is then over at {due}."
            case _:
                return

    def _heard(self, row: TransitionView, after: TransitionView | None) -> str:
        """A signal: which, where it counted, what it did, and what would have been without it."""
        mail = next((m for m in self.story.mail if m.signal_id == row.signal_id), None)
        came = moment(self.story, mail.created_at if mail else row.at)
        owner = row.context.get("step")
        path = row.context.get("condition")
        armed = owner is not None and owner != row.from_step
        told_where = self._when_heard(row, mail, armed_by=owner if armed else None)
        of = f"a condition of {owner}" if owner else "a condition of the workflow"
        if after is None or after.to_state == "stopped":
            result = "the run stopped"
        else:
            ended = after.reason == "workflow_completed"
            result = "the run ended" if ended else went_on(after.to_step, _note(after))
        otherwise = " Otherwise it would have been sent." if armed else self._otherwise(row)
        return f"{row.signal_type} came at {came}, {told_where}, and met {of} ({path}): {result}.{otherwise}"

    def _when_heard(self, row: TransitionView, mail: MailView | None, *, armed_by: object) -> str:
        """Say where the run was when the signal counted, and when the signal had come before that."""
        if armed_by is not None:
            return (
                f"before the message of {row.from_step} had gone to any provider, in time for the wait at "
                f"{armed_by} that the run had just left"
            )
        began = self.waiting.at if self.waiting else None
        if mail is not None and began is not None and mail.created_at < began:
            then = moment(self.story, began)
            return f"before the run waited at {row.from_step}, was kept until it did, at {then}"
        return _while(row)

    def _elapsed(self, row: TransitionView, note: object) -> str:
        """A wait that is over: until when nothing was said, and what would have changed that."""
        story, context = self.story, row.context
        due, to = written_moment(story, context.get("due_at")), context.get("to_step")
        went = went_on(to, note)
        went += self._how_late(row, read(context.get("due_at")))
        conditions = heard_by(story.definition, row.from_step)
        if not conditions:
            return f"The wait at {row.from_step} was over at {due}, and {went}."
        names = listed([signal_of(condition) for condition in conditions], "or")
        return (
            f"The wait at {row.from_step} was over at {due}: no {names} had come by then, so {went}. "
            f"One that came before {_one_before(to, conditions)}."
        )

    def _how_late(self, row: TransitionView, due: datetime | None) -> str:
        """Say that a run went on long after its wait was over, and whether because somebody held it."""
        if due is None or row.at - due < LATE:
            return ""
        held, at = list(_held(self.story.transitions, due, row.at)), moment(self.story, row.at)
        if not held:
            return f", late, at {at}"
        until = moment(self.story, held[-1][1])
        if row.at - due - sum((end - start for start, end in held), timedelta()) >= LATE:
            return f", late, at {at}; it had been held until {until}"
        return f", at {at}, as it had been held until {'then' if until == at else until}"

    def _rule(self, row: TransitionView, note: object) -> Iterator[str]:
        """What an outcome led to; that the next step follows a delivered message goes without saying."""
        at, step = moment(self.story, row.at), row.from_step
        outcome, to = row.context.get("workflow_outcome"), row.context.get("to_step")
        otherwise = self._without_rule(step, outcome, repeats_in(row.context).get(step or "", 0))
        match row.context.get("rule_kind"):
            case "stop":
                yield f"By the rule of {step} to stop on {outcome} the run stopped at {at}.{otherwise}"
            case "on_outcome":
                yield f"By the rule of {step} for {outcome} the run went on to {to} at {at}.{otherwise}"
            case _ if outcome != "delivered":
                yield f"No rule of {step} is about {outcome or 'that'}, so {went_on(to, note)} at {at}."
            case _ if note is not None:
                yield f"After the message of {step} {went_on(to, note)} at {at}."
            case _:
                return

    def _without_rule(self, step_id: str | None, outcome: object, gone_back: int) -> str:
        """What would have followed from an outcome had no rule been about it."""
        definition = self.story.definition
        step = definition.step(step_id) if definition else None
        if outcome == "temporary_failure":
            kept = step is not None and any(
                isinstance(rule, OnOutcome) and rule.outcome == outcome and rule.keep_retrying
                for rule in step.progress
            )
            first = " Without the rule the run would have waited for what becomes of the message."
            still = " The message is tried on all the same (keep_retrying), so both may arrive."
            return still + first if kept else " Without it the message would have been tried again first."
        if definition is None or step is None:
            return ""
        if (until := next((rule for rule in step.progress if isinstance(rule, WaitUntil)), None)) is not None:
            return f" Without it the run would have waited, and then gone on to {until.to_step}."
        bare = replace(step, progress=tuple(rule for rule in step.progress if not _is_about(rule, outcome)))
        without = replace(definition, steps=tuple(bare if one is step else one for one in definition.steps))
        return f" Without it {what_follows(definition, without.after(bare, gone_back))}."

    def _completed(self, row: TransitionView) -> str:
        at, outcome = moment(self.story, row.at), row.context.get("workflow_outcome")
        if row.status_reason == "implicit_completion":
            about = f"{outcome} (implicit_completion)" if outcome else "what became of it"
            return f"The run completed at {at}: no rule of {row.from_step} is about {about}."
        if isinstance(note := row.context.get("repeat"), Mapping) and note.get("used_up"):
            often = f"{times(note.get('times'))}, as often as it may"
            return f"The run completed at {at}: it had gone back from {row.from_step} {often}."
        return f"The run completed at {at}: nothing follows {row.from_step}."

    def _otherwise(self, row: TransitionView) -> str:
        """What would have come next: of the wait in which the run was, else of its step."""
        definition = self.story.definition
        if self.waiting is not None:
            context = self.waiting.context
            due = written_moment(self.story, context.get("due_at"))
            return f" Otherwise {what_follows(definition, context.get('to_step'))} at {due}."
        if row.from_step is None:
            return " Otherwise the run would have begun with its first step."
        step = definition.step(row.from_step) if definition else None
        if definition is None or step is None:
            return f" Otherwise the run would have gone on from {row.from_step}."
        if step.progress:
            return f" Otherwise the rules of {step.id} would have decided what follows its message."
        to = definition.after(step, self.repeats.get(step.id, 0))
        return f" Otherwise, after its message, {what_follows(definition, to)}."


def _held(
    rows: Sequence[TransitionView], since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield from when to when a run was held, of this time."""
    began: datetime | None = None
    for row in rows:
        if row.reason == "run_held":
            began = row.at
        elif row.reason == "run_resumed" and began is not None:
            span = max(began, since), min(row.at, until)
            began = None
            if span[0] < span[1]:
                yield span


def _one_before(onward: object, conditions: Sequence[Condition]) -> str:
    effects = {effect(onward, condition) for condition in conditions}
    return f"would have {_perfect(effects.pop())}" if len(effects) == 1 else "would have changed its way"


def _note(after: TransitionView | None) -> object:
    """Return what the transition that follows bears of a step that may lead back."""
    return None if after is None else after.context.get("repeat")


def _is_about(rule: Rule, outcome: object) -> bool:
    return not isinstance(rule, WaitUntil) and rule.outcome == outcome


def _afterwards(story: Story) -> Iterator[str]:
    """What was said and changed nothing, and which messages were never planned."""
    ended = story.run.ended_at
    if story.forgotten_at is not None:
        yield (
            f"This person was forgotten at {moment(story, story.forgotten_at)}: who it was, what was written "
            "and said, and where it was sent is erased; what happened, and when, is kept."
        )
    for mail in story.mail:
        if mail.consumed_by is None and (ended is not None or mail.number is not None):
            yield _unheard(story, mail)
    if ended is None or story.definition is None:
        return
    entered = {row.to_step for row in story.transitions if row.reason == "step_activated"}
    for step in story.definition.steps:
        if isinstance(step.action, NotifyAction) and step.id not in entered:
            yield (
                f'{step.id} was never entered, so its {step.action.channel} "{step.action.render_key}" '
                "was not sent."
            )


def _unheard(story: Story, mail: MailView) -> str:
    came, ended = moment(story, mail.created_at), story.run.ended_at
    if ended is not None and mail.created_at >= ended:
        return f"{mail.type} came at {came}, after the run had ended (arrived_after_end): it changed nothing."
    if ended is not None:
        return f"{mail.type} came at {came} and met no condition: it changed nothing."
    return f"{mail.type} came at {came} and has met no condition so far: it is kept for waits to come."


def _where(row: TransitionView) -> str:
    if row.from_step is None:
        return "before its first step"
    return f"while it waited at {row.from_step}" if row.from_state == "waiting" else f"at {row.from_step}"


def _while(row: TransitionView) -> str:
    if row.from_step is None:
        return "before the run had entered a step"
    verb = "waited" if row.from_state == "waiting" else "was"
    return f"while the run {verb} at {row.from_step}"


def _perfect(present: str) -> str:
    """Return "stopped the run" for "stops the run"."""
    for verb, past in (("stops", "stopped"), ("leads", "led"), ("ends", "ended")):
        if present.startswith(verb):
            return past + present.removeprefix(verb)
    raise AssertionError(present)

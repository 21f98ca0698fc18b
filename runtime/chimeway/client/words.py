"""The words of an explanation: moments in local time and UTC, messages, conditions. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chimeway.progression.instants import read
from chimeway.progression.signals import conditions_of
from chimeway.store.views import AttemptView, DeliveryView, Story
from chimeway.workflow.definition import (
    END,
    Condition,
    Definition,
    Goto,
    NotifyAction,
    Repeat,
    Step,
)

_CODES: Final = (
    "transient_failure",
    "unknown_outcome",
    "rate_limited",
    "permanent_failure",
    "bounced",
    "configuration_failure",
)
"""What an error of a channel's begins with as a text: each says what its error class says beside it."""


def said(note: str | None) -> str | None:
    """Return what a provider said of an attempt, without the code of our error, whose class is told apart."""
    code, _, rest = (note or "").partition(": ")
    return rest if rest and code in _CODES else note


def moment(story: Story, at: datetime) -> str:
    """Return an instant in the recipient's zone and in UTC, to the second."""
    return moment_in(story.zone, at)


def moment_in(zone: str, at: datetime) -> str:
    """Return an instant in a zone and in UTC; in UTC alone where the zone is unknown or says the same."""
    utc = at.astimezone(UTC)
    try:
        local = at.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local = utc
    if local.replace(tzinfo=None) == utc.replace(tzinfo=None):
        return f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    shown = "%H:%M:%S" if local.date() == utc.date() else "%Y-%m-%d %H:%M:%S"
    return f"{local:%Y-%m-%d %H:%M:%S} {zone} ({utc.strftime(shown)} UTC)"


def whom(story: Story) -> str:
    """Return who a run is for, by id; who is forgotten has none that would tell anybody anything."""
    return "this person" if story.forgotten_at is not None else story.run.recipient_id


def written_moment(story: Story, text: object) -> str:
    """Return an instant that a context bears; what cannot be read is told as it stands."""
    at = read(text)
    return moment(story, at) if at is not None else f"an unreadable moment ({text!r})"


def message(row: DeliveryView) -> str:
    """Return a delivery in words: channel, template, step."""
    return f'The {row.channel} "{row.render_key}" of {row.step_id}'


def what_follows(definition: Definition | None, to: object) -> str:
    """Return in words what a run would have done at a step: "step_email would have sent ..."."""
    if to == END:
        return "the run would have completed"
    step = definition.step(str(to)) if definition else None
    if step is not None and isinstance(step.action, NotifyAction):
        return f'{to} would have sent the {step.action.channel} "{step.action.render_key}"'
    return f"{to} would have begun"


def what_is_next(definition: Definition | None, to: object) -> str:
    """Return in words what a run will do at a step: "step_email sends ..."."""
    if to == END:
        return "the run completes"
    step = definition.step(str(to)) if definition else None
    if step is not None and isinstance(step.action, NotifyAction):
        return f'{to} sends the {step.action.channel} "{step.action.render_key}"'
    return f"{to} begins"


def heard_by(definition: Definition | None, step_id: str | None) -> tuple[Condition, ...]:
    """Return the conditions that hold while a run waits on a step, the workflow's after the step's."""
    if definition is None:
        return ()
    step = definition.step(step_id)
    own = () if step is None else tuple(condition for _, condition in conditions_of(step))
    return (*own, *definition.stop_conditions)


def effect(onward: object, condition: Condition) -> str:
    """Return what a signal that fits does ("stops the run"); `onward` is where the step's `next` leads."""
    match condition.then:
        case "stop":
            return "stops the run"
        case Goto(step_id=step_id):
            return f"leads to {step_id} at once"
        case "continue":
            return "ends the run" if onward == END else f"leads on to {onward or 'the next step'} at once"
        case _:
            assert_never(condition.then)


def went_on(to: object, note: object) -> str:
    """Return where a run went by `next`; `note` is what the audit says of how often it had led back."""
    if not isinstance(note, Mapping) or not isinstance(note.get("times"), int):
        return "the run completed" if to == END else f"the run went on to {to}"
    if note.get("used_up"):
        onward = "completed" if to == END else f"went on to {to}"
        return f"the run, having gone back {times(note['times'])}, as often as it may, {onward}"
    return f"the run went back to {to} ({note.get('number')} of at most {times(note['times'])})"


def times(number: object) -> str:
    """Return "1 time", "2 times"."""
    return f"{number} time{'' if number == 1 else 's'}"


def how_often(step: Step | None, repeats: Mapping[str, int]) -> str:
    """Return, of a step that may lead back, which time the next would be; nothing of another step."""
    if step is None or not isinstance(step.next, Repeat):
        return ""
    gone, most = repeats.get(step.id, 0), step.next.times
    if gone >= most:
        return f" (it has gone back {times(gone)}, as often as it may)"
    return f" ({gone + 1} of at most {times(most)})"


def gone_back(definition: Definition | None, here: str | None, repeats: Mapping[str, int]) -> Iterator[str]:
    """Yield how often each step but the one where the run stands has led back."""
    for step in definition.steps if definition else ():
        if step.id != here and step.id in repeats and isinstance(step.next, Repeat):
            yield f"{step.id} has led back {repeats[step.id]} of at most {times(step.next.times)}."


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Return "a", "a and b", "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def by(row: DeliveryView, attempt: AttemptView) -> str:
    """Return by which provider, where its channel has one that is called otherwise than itself."""
    return "" if attempt.provider in {None, row.channel} else f" by {attempt.provider}"

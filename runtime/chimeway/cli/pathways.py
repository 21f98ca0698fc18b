"""`chimeway workflow paths`: every way through a journey, and when each message is sent. No database."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from chimeway.cli.options import AsJson
from chimeway.cli.printing import print_json, print_line, print_sentence, shown
from chimeway.cli.reading_files import File, WhichKey, definition_in, instant, json_object
from chimeway.limits import MAX_VISITS
from chimeway.progression.script import START
from chimeway.workflow.calendar import DAYS, EVERY_DAY, MONDAY_TO_FRIDAY, WorkingCalendar
from chimeway.workflow.definition import Definition, NotifyAction
from chimeway.workflow.paths import Leg, Path, Span
from chimeway.workflow.paths import paths as find_paths
from chimeway.workflow.survey import Survey, may_arrive, survey
from chimeway.workflow.telling import by_signal, doing, rule_to_wait, signal_of, waited

_NAMED: Final = 12
"""How many path numbers a sentence names before it says how many more there are."""


def paths(
    file: File,
    *,
    start: Annotated[
        str | None, typer.Option(help=f"When it is triggered; without it {shown(START)}.", show_default=False)
    ] = None,
    zone: Annotated[
        str, typer.Option(help="Where the recipient lives; days and months depend on it.")
    ] = "UTC",
    data: Annotated[
        str | None,
        typer.Option(
            help="The trigger's, as a JSON object (@FILE, -): an `until` may need it.", show_default=False
        ),
    ] = None,
    working_days: Annotated[
        str | None,
        typer.Option(
            help="On which days the tenant works: mon,tue,wed. Monday to Friday if left out.",
            show_default=False,
        ),
    ] = None,
    holiday: Annotated[
        list[str] | None,
        typer.Option(
            help="A day on which it does not, such as 2026-12-25; may be given again.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many paths to write.")] = 50,
    key: WhichKey = None,
    as_json: AsJson = False,
) -> None:
    """List every path through a journey, with the earliest and the latest time of each send.

    Times count from the trigger, as if each message were delivered as soon as its hours allow.
    "+2:00:00" is two hours later, "+0:00:00 to +2:00:00" at some moment between.
    """
    definition = definition_in(file, key)
    begins = instant("--start", start) or START
    working = _calendar(working_days, holiday or [])
    found = find_paths(definition, start=begins, zone=zone, data=json_object("--data", data), working=working)
    try:
        seen = survey(found, limit=limit)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None
    if as_json:
        print_json(_as_json(definition, seen, begins, zone))
    else:
        _tell(definition, seen, begins, zone)


def _calendar(days: str | None, holidays: Sequence[str]) -> WorkingCalendar:
    named = MONDAY_TO_FRIDAY if days is None else frozenset(day.strip() for day in days.split(","))
    if not named <= EVERY_DAY:
        raise typer.BadParameter(f"--working-days is {days!r}; give some of {','.join(DAYS)}, between commas")
    try:
        return WorkingCalendar(named, frozenset(date.fromisoformat(day) for day in holidays))
    except ValueError:
        raise typer.BadParameter(
            f"--holiday is {', '.join(holidays)!r}; give dates like 2026-12-25"
        ) from None


def after(passed: timedelta) -> str:
    """Return how long after the start: "+0:00:02", "+1d 2:00:00"."""
    hours, rest = divmod(passed.seconds, 3_600)
    days = f"{passed.days}d " if passed.days else ""
    return f"+{days}{hours}:{rest // 60:02}:{rest % 60:02}"


def _tell(definition: Definition, seen: Survey, start: datetime, zone: str) -> None:
    print_sentence(f"{definition.key} version {definition.version}, triggered at {shown(start)}, zone {zone}")
    for number, path in enumerate(seen.listed, 1):
        print_line("")
        print_line(f"path {number}: {_ending(path)}", style="bold")
        spans = [_span(leg.at, start) for leg in path.legs]
        wide = max(len(span) for span in spans)
        for leg, span in zip(path.legs, spans, strict=True):
            told = f"{span:<{wide}}  {leg.step.id} {doing(leg.step)}{_left(leg)}"
            print_sentence(told, indent="  ")
    print_line("")
    for sentence in _summary(definition, seen):
        print_sentence(sentence)


def _summary(definition: Definition, seen: Survey) -> Iterator[str]:
    """Say what the paths have in common, and what they do not show."""
    plus = "" if seen.complete else "more than "
    looked_at = "" if seen.complete else " that was looked at"
    if len(seen.listed) < seen.counted or not seen.complete:
        unlisted = seen.counted - len(seen.listed)
        yield f"There are {plus}{seen.counted} paths; {unlisted} of these are not listed (--limit)."
        if not seen.complete:
            yield f"Only these {seen.counted} were looked at: others may bring more messages, or fewer."
    if seen.most:
        counted = Counter(step.id for step in seen.most)
        steps = ", ".join(
            f"{step.id} ({_channel(step.action)})" + (f" {counted[step.id]} times" * (counted[step.id] > 1))
            for step in {step.id: step for step in seen.most}.values()
        )
        most = f"{_many(len(seen.most), 'message')} at most, on path {seen.most_on}: {steps}"
        yield f"One person gets {most}." if seen.complete else f"On these, one person gets {most}."
    else:
        yield f"No path{looked_at} sends a message."
    if seen.repeats:
        yield (
            "Some path comes to a step again: a run that goes round sends these messages again each time, "
            "until it has entered 1,000 steps and is held."
        )
    if seen.silent and seen.most:
        yield f"Nothing arrives on {_numbers(seen.silent)}."
    elif seen.most:
        yield f"A message arrives on every path{looked_at}."
    for condition in definition.stop_conditions:
        yield (
            f"At any moment {signal_of(condition)} stops the run, on every path: what had not been sent by "
            "then is not sent."
        )
    if any(leg.entered.latest is None for path in seen.listed for leg in path.legs):
        yield 'Where it says "or later" an `until` depends on the trigger\'s data: give it by --data.'


def _ending(path: Path) -> str:
    last = path.legs[-1]
    match path.end:
        case "completed":
            return f"the run completes{_by(last)}"
        case "stopped":
            return f"the run stops{_by(last)}"
        case "repeats":
            return f"the run comes to {last.left_by.target} again{_by(last)}"
        case "held":
            return f"the run has entered {MAX_VISITS:,} steps and is held"


def _by(leg: Leg) -> str:
    if leg.left_by.by is None:
        return ""
    what = "at" if by_signal(leg.step, leg.left_by) else "of"
    return f", by {leg.left_by.by} {what} {leg.step.id}"


def _left(leg: Leg) -> str:
    edge = leg.left_by
    rule = rule_to_wait(leg.step)
    if rule is not None and (edge.kind == "wait_until" or by_signal(leg.step, edge)):
        until = "" if edge.by is None else f", until {edge.by} comes"
        return f" (the run then waits {waited(rule)}{until})"
    if edge.by is None:
        return ""
    return f" (until {edge.by} comes)" if by_signal(leg.step, edge) else f" ({edge.by})"


def _span(span: Span, start: datetime) -> str:
    earliest = after(span.earliest - start)
    if span.latest is None:
        return f"{earliest} or later"
    return earliest if span.latest == span.earliest else f"{earliest} to {after(span.latest - start)}"


def _channel(action: object) -> str:
    return action.channel if isinstance(action, NotifyAction) else ""


def _numbers(places: tuple[int, ...]) -> str:
    named = ", ".join(str(place) for place in places[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return f"path{'' if len(places) == 1 else 's'} {named}{more}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _as_json(definition: Definition, seen: Survey, start: datetime, zone: str) -> dict[str, Any]:
    return {
        "key": definition.key,
        "version": definition.version,
        "start": start,
        "zone": zone,
        "paths": [_path(path, start) for path in seen.listed],
        "counted": seen.counted,
        "complete": seen.complete,
        "most_messages": [step.id for step in seen.most],
        "most_on_path": seen.most_on if seen.most else None,
        "silent_paths": seen.silent,
        "repeats": seen.repeats,
        "stopped_at_any_moment_by": [one.signal_type for one in definition.stop_conditions],
    }


def _path(path: Path, start: datetime) -> dict[str, Any]:
    return {"end": path.end, "steps": [_leg(leg, start) for leg in path.legs]}


def _leg(leg: Leg, start: datetime) -> dict[str, Any]:
    action, span = leg.step.action, leg.at
    return {
        "step": leg.step.id,
        "does": doing(leg.step),
        "channel": _channel(action) or None,
        "may_arrive": may_arrive(leg),
        "earliest": span.earliest,
        "latest": span.latest,
        "earliest_after_s": (span.earliest - start).total_seconds(),
        "latest_after_s": None if span.latest is None else (span.latest - start).total_seconds(),
        "left_by": leg.left_by.kind,
        "by": leg.left_by.by,
        "to": leg.left_by.target,
    }

"""All ways through a journey, and that each is one which the decision core takes."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from chimeway.progression.rehearse import rehearse
from chimeway.workflow.definition import OUTCOMES, NotifyAction, Step, WaitUntil
from chimeway.workflow.parse import parse
from chimeway.workflow.paths import Leg, Path, paths
from pure.workflow_forms import MENTION, later, notify, on, signal, wait, workflow

START = datetime(2026, 3, 28, 20, tzinfo=UTC)
BRANCHING = parse(
    workflow(
        notify(
            "mail",
            on("bounced", "sms"),
            {"kind": "stop", "outcome": "suppressed"},
            later("gate", delay="P1D", cancel_signals=[signal(signal_type="seen")]),
        ),
        wait(
            "gate",
            signal(signal_type="read"),
            signal(signal_type="skip", then="continue"),
            signal(signal_type="jump", then={"goto": "push"}),
            action={"type": "wait", "duration": "PT26H"},
        ),
        notify("sms", on("bounced", "push"), next="day"),
        wait("day", action={"type": "wait", "until": "2026-03-30T00:00:00Z"}),
        notify("push"),
    )
)


def told(found: Iterable[Path]) -> list[str]:
    """Return each path as a line: the sends with their earliest and latest hour, and the end."""
    lines = []
    for path in found:
        sends = [
            f"{leg.step.id} {hour(leg.entered.earliest)}..{hour(leg.entered.latest)}"
            for leg in path.legs
            if leg.sends
        ]
        lines.append(f"{', '.join(sends)}: {path.end} by {path.legs[-1].left_by.kind}")
    return lines


def hour(at: datetime | None) -> str:
    """Return the hours since the start."""
    return "?" if at is None else f"{(at - START) / timedelta(hours=1):g}"


def test_the_guides_paths() -> None:
    """Read within two hours, or an e-mail at exactly two."""
    assert told(paths(parse(MENTION), start=START)) == [
        "step_in_app 0..0: stopped by stop",
        "step_in_app 0..0, step_email_escalation 2..2: completed by next",
    ]


def test_signals_widen_and_calendars_count() -> None:
    """A wait may be left at any moment by a signal; it counts from the mail; a day may have 23 hours."""
    assert told(paths(BRANCHING, start=START, zone="Europe/London")) == [
        "mail 0..0, sms 0..0, push 0..0: completed by next",
        "mail 0..0, sms 0..0, push 28..28: completed by next",
        "mail 0..0: stopped by stop",
        "mail 0..0: stopped by stop",
        "mail 0..0: stopped by stop",
        "mail 0..0, sms 23..26, push 23..26: completed by next",
        "mail 0..0, sms 23..26, push 28..28: completed by next",
        "mail 0..0, push 23..26: completed by next",
        "mail 0..0, sms 26..26, push 26..26: completed by next",
        "mail 0..0, sms 26..26, push 28..28: completed by next",
    ]


def test_what_nobody_can_say() -> None:
    """After an `until` from the data there is no latest moment; past ones go on at once."""
    open_end = workflow(wait("u", action={"type": "wait", "until": {"data": "at"}}), wait("w"), notify())
    assert told(paths(parse(open_end), start=START)) == ["a 2..?: completed by next"]
    past = workflow(wait("u", action={"type": "wait", "until": "2020-01-01T00:00:00Z"}), notify())
    assert told(paths(parse(past), start=START)) == ["a 0..0: completed by next"]


def test_a_cycle_is_followed_once() -> None:
    """A path that comes to a step again ends there, and says so."""
    definition = parse(workflow(notify("a"), wait("w", signal(), next="a")))
    assert told(paths(definition, start=START)) == ["a 0..0: stopped by stop", "a 0..0: repeats by next"]


def test_many_paths_come_one_by_one() -> None:
    """More ways than anybody could list are no reason to wait."""
    steps = [wait(f"w{i}", signal(then={"goto": f"w{i + 2}"})) for i in range(60)]
    definition = parse(workflow(*steps, wait("w60"), wait("w61"), notify()))
    assert len(list(islice(paths(definition, start=START), 100))) == 100
    with pytest.raises(ValueError, match="time zone"):
        next(paths(definition, start=START, zone="nowhere"))


def fate(step: Step, leg: Leg) -> str:
    """Return an outcome with which a message's step is left this way."""
    ruled = {rule.outcome for rule in step.progress if not isinstance(rule, WaitUntil)}
    by_rule = leg.left_by.kind in ("on_outcome", "stop") and leg.left_by.by in OUTCOMES
    return leg.left_by.by if by_rule else next(word for word in OUTCOMES if word not in ruled)


def script(path: Path, *, late: bool) -> dict[str, Any]:
    """Return what must happen for a run to take this path, as early or as late as can be."""
    fates, events = {}, []
    for leg, following in zip(path.legs, [*path.legs[1:], None], strict=True):
        if isinstance(leg.step.action, NotifyAction):
            fates[leg.step.id] = fate(leg.step, leg)
        if leg.left_by.timed and leg.left_by.by is not None:
            left = leg.entered if following is None else following.entered
            events.append({"at": left.latest if late else left.earliest, "signal": leg.left_by.by})
    return {"start": START, "zone": "Europe/London", "deliveries": fates, "events": events}


@pytest.mark.parametrize("late", [False, True], ids=["earliest", "latest"])
@pytest.mark.parametrize("place", range(10))
def test_each_path_is_one_that_the_core_takes(place: int, late: bool) -> None:
    """Rehearsed, a run sends what the path says, when it says, and ends as it says."""
    path = list(paths(BRANCHING, start=START, zone="Europe/London"))[place]
    played = rehearse(BRANCHING, script(path, late=late))
    sends = [leg for leg in path.legs if leg.sends]
    assert [row.step_id for row in played.deliveries] == [leg.step.id for leg in sends]
    moments = [leg.entered.latest if late else leg.entered.earliest for leg in sends]
    assert [row.terminal_at for row in played.deliveries] == moments
    assert played.run.state == path.end


@pytest.mark.parametrize("delay", [{"delay": "P1Y"}, {"delay_seconds": 40_000_000}])
def test_a_moment_beyond_the_calendar_is_refused(delay: dict[str, Any]) -> None:
    """However a delay is written, it ends with the calendar, and no crash."""
    definition = parse(workflow(notify("a", later("b", **delay)), notify("b")))
    with pytest.raises(ValueError, match="the instant lies beyond the year 9999"):
        list(paths(definition, start=datetime(9999, 6, 1, tzinfo=UTC)))

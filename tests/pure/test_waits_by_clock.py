"""Waits for a local time or for hours, and send windows: written, read, drawn, reckoned and replayed."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from chimeway.errors import InvalidInput
from chimeway.progression.decide import decide
from chimeway.progression.decision import Decision, Noop
from chimeway.progression.fold import Folded
from chimeway.progression.instants import written
from chimeway.progression.rehearse import rehearse
from chimeway.progression.replay import differences, replay
from chimeway.progression.snapshot import Snapshot
from chimeway.workflow.build import Notify, Wait, Workflow, signal_received
from chimeway.workflow.build_times import hours, local_time, within, working_days
from chimeway.workflow.calendar import LocalTime, WorkingCalendar
from chimeway.workflow.definition import AtLocalTime, Definition, Hours, Within
from chimeway.workflow.drawing import drawn
from chimeway.workflow.encode import digest, encode
from chimeway.workflow.parse import check, parse
from chimeway.workflow.paths import paths
from chimeway.workflow.text import loads
from pure.progression_rows import born, run
from pure.workflow_forms import NOTIFY, notify, wait, workflow

NIGHT = datetime(2026, 12, 23, 22, tzinfo=UTC)  # a Wednesday
MORNING = Workflow(
    key="morning",
    version=1,
    steps=[
        Wait("any", until=local_time("09:00")),
        Wait("some", until=local_time("09:00:30", on=["thu", "mon"])),
        Wait("work", until=local_time(time(9), on=working_days), stop_conditions=[signal_received("read")]),
        Wait("office", until=within("08:00", "24:00", on={"sun", "mon"})),
        Notify(
            "mail",
            channel="email",
            render_key="hello",
            send_window=hours("22:00", "07:00", on=working_days),
        ),
    ],
)
AS_YAML = """
key: morning
version: 1
steps:
  - {id: any, action: {type: wait, until: {at: 09:00, on: [mon, tue, wed, thu, fri, sat, sun]}}}
  - {id: some, action: {type: wait, until: {at: 09:00:30, on: [mon, thu]}}}
  - id: work
    action:
      type: wait
      until: {at: "09:00:00", on: working_days}
      stop_conditions: [{type: signal_received, signal_type: read}]
  - {id: office, action: {type: wait, until: {within: {from: 08:00, to: 24:00, on: [sun, mon]}}}}
  - id: mail
    action:
      type: notify
      channel: email
      render_key: hello
      send_window: {from: 22:00, to: 07:00, on: working_days}
"""


def until(value: Any) -> dict[str, Any]:
    return workflow(wait("w", action={"type": "wait", "until": value}), notify())


def test_the_forms_are_one_thing() -> None:
    """Python, YAML and JSON; days in any order, every day as none, seconds of zero as none."""
    read = loads(AS_YAML, format="yaml", source="x")[0]
    assert parse(read) == MORNING.definition
    assert parse(json.loads(json.dumps(encode(MORNING.definition)))) == MORNING.definition
    actions = [step.action for step in MORNING.definition.steps]
    assert [getattr(action, "until", None) for action in actions[:4]] == [
        AtLocalTime(LocalTime(9, 0)),
        AtLocalTime(LocalTime(9, 0, 30), frozenset({"mon", "thu"})),
        AtLocalTime(LocalTime(9, 0), "working_days"),
        Within(Hours(LocalTime(8, 0), LocalTime(24, 0), frozenset({"sun", "mon"}))),
    ]
    assert encode(MORNING.definition)["steps"][0]["action"] == {"type": "wait", "until": {"at": "09:00"}}
    assert encode(MORNING.definition)["steps"][3]["action"]["until"] == {
        "within": {"from": "08:00", "to": "24:00", "on": ["mon", "sun"]}
    }


def test_the_golden_digest() -> None:
    """It is as it was when it was released."""
    assert digest(MORNING.definition) == "f62418f8f4c1263502d4387380baa1da8b4a78014871f387ebc884899db62f96"


AT = "steps[0].action.until"
WINDOW = "steps[0].action.send_window"


@pytest.mark.parametrize(
    ("value", "code", "path", "told"),
    [
        ({"at": "9:00"}, "invalid_value", f"{AT}.at", "given '9:00'; wanted a local time of 24 hours"),
        ({"at": "24:00"}, "invalid_value", f"{AT}.at", "the start of a day is 00:00"),
        ({"at": 900}, "wrong_type", f"{AT}.at", "given 900; wanted a local time such as 09:00"),
        ({"at": "09:00", "on": "mon"}, "invalid_value", f"{AT}.on", "wanted a list of days such as [mon"),
        ({"at": "09:00", "on": "working_day"}, "invalid_value", f"{AT}.on", "did you mean 'working_days'?"),
        ({"at": "09:00", "on": ["monday"]}, "invalid_value", f"{AT}.on[0]", "did you mean 'mon'?"),
        ({"at": "09:00", "on": ["mon", "mon"]}, "invalid_value", f"{AT}.on[1]", "given 'mon' twice"),
        ({"at": "09:00", "on": []}, "invalid_value", f"{AT}.on", "given no day"),
        ({"at": "09:00", "on": 5}, "wrong_type", f"{AT}.on", "given 5; wanted a list of days"),
        ({"at": "09:00", "at_": 1}, "unknown_key", f"{AT}.at_", "did you mean 'at'?"),
        ({"at": "09:00", "data": "x"}, "conflicting_keys", AT, "given 'data' and 'at'; wanted one of"),
        ({"withn": {}}, "unknown_key", f"{AT}.withn", "did you mean 'within'?"),
        ({"at": 1020}, "wrong_type", f"{AT}.at", "in quotation marks (YAML 1.1 makes 1020 of 17:00)"),
        ({"at": 79_215}, "wrong_type", f"{AT}.at", "in quotation marks (YAML 1.1 makes 79215 of 22:00:15)"),
        ({"at": "09:00", True: ["mon"]}, "wrong_type", AT, "YAML 1.1 reads on and yes as true"),
        ({"on": ["mon"]}, "missing_key", AT, "given none of data, at, within; wanted one, beside `on`"),
        ({}, "missing_key", AT, "given none of data, at, within"),
        ("09:00", "invalid_value", AT, "a local time is written {at: ...}"),
        ({"within": "09:00"}, "wrong_type", f"{AT}.within", "wanted an object"),
        ({"within": {"from": "09:00"}}, "missing_key", f"{AT}.within.to", "the key 'to' is missing"),
        ({"within": {"from": "24:00", "to": "9"}}, "invalid_value", f"{AT}.within.from", "of a day is 00:00"),
        ({"within": {"from": "09:00", "to": "9"}}, "invalid_value", f"{AT}.within.to", "or 24:00"),
        ({"within": {"from": "1", "to": "2", "days": []}}, "unknown_key", f"{AT}.within.days", "known here"),
    ],
)
def test_faults_are_named(value: Any, code: str, path: str, told: str) -> None:
    """Each with its code, its place, what was given and what would be right."""
    found = [one for one in check(until(value)).errors if (one.code, one.path) == (code, path)]
    assert len(found) == 1, check(until(value)).errors
    assert told in found[0].message
    assert "did you mean 'on'" not in str(check(until(value)).errors)


def test_faults_of_send_windows() -> None:
    """Not on in_app, which disturbs nobody; only on steps that send; and hours that never end say nothing."""
    window = {"from": "09:00", "to": "17:00"}
    inbox = workflow({"id": "a", "action": {**NOTIFY, "channel": "in_app", "send_window": window}})
    assert [(one.path, "in_app" in one.message) for one in check(inbox).errors] == [(WINDOW, True)]
    assert [
        one.path for one in check(workflow({"id": "a", "action": {**NOTIFY, "send_window": 5}})).errors
    ] == [WINDOW]
    on_wait = wait("w", action={"type": "wait", "duration": "PT1H", "send_window": window})
    assert [one.code for one in check(workflow(on_wait, notify())).errors] == ["unknown_key"]
    always = workflow({"id": "a", "action": {**NOTIFY, "send_window": {"from": "09:00", "to": "09:00"}}})
    [remark] = check(always).problems
    assert (remark.severity, remark.code, remark.path) == ("warning", "never_used", WINDOW)


def test_which_waits_make_a_cycle_last() -> None:
    """The next 09:00 lies strictly ahead; hours may have begun."""
    lasting = workflow(notify("a"), wait("w", action={"type": "wait", "until": {"at": "09:00"}}, next="a"))
    assert check(lasting).errors == ()
    inside = {"type": "wait", "until": {"within": {"from": "09:00", "to": "17:00"}}}
    [fault] = check(workflow(notify("a"), wait("w", action=inside, next="a"))).errors
    assert fault.code == "endless_cycle"
    assert "`until: {at}`" in fault.message


def test_it_is_told_in_words() -> None:
    """What `workflow show` draws."""
    assert [line for line in drawn(MORNING.definition) if line] == [
        "morning version 1",
        "◷ any: waits until 09:00",
        "▼ at 09:00",
        "◷ some: waits until 09:00:30 on mon and thu",
        "▼ at 09:00:30 on mon and thu",
        "◷ work: waits until 09:00 on working days",
        "├─ read ──▶ ■ stopped",
        "▼ at 09:00 on working days",
        "◷ office: waits for the hours from 08:00 to 24:00 on mon and sun",
        "▼",
        '● mail: sends email "hello", only from 22:00 to 07:00 on working days',
        "▼",
        "■ completed",
    ]


def at_entry(definition: Definition, step: int, zone: str, working: WorkingCalendar) -> Snapshot:
    """The rows of a run that is about to enter the first step, of a definition that begins with this one."""
    only = replace(definition, steps=definition.steps[step:])
    first = replace(run("active", None, wake_at=NIGHT), mailbox_count=0)
    return Snapshot(first, only, {}, zone, working=working)


@pytest.mark.parametrize(
    ("step", "zone", "due"),
    [
        (0, "UTC", "2026-12-24T09:00:00.000000Z"),
        (0, "America/New_York", "2026-12-24T14:00:00.000000Z"),
        (0, "Pacific/Auckland", "2026-12-24T20:00:00.000000Z"),  # it is 11:00 of the 24th there
        (1, "UTC", "2026-12-24T09:00:30.000000Z"),
        (2, "UTC", "2026-12-29T09:00:00.000000Z"),  # holidays on the 24th, 25th and 28th
        (3, "UTC", "2026-12-27T08:00:00.000000Z"),
    ],
)
def test_a_wait_is_due_by_the_recipients_clock_and_replayed(step: int, zone: str, due: str) -> None:
    """Counted from entry; the inputs bear zone and calendar, of which only the days that were looked at."""
    off = frozenset(date(2026, 12, day) for day in (24, 25, 28)) | {date(2027, 12, 24)}
    snapshot = at_entry(MORNING.definition, step, zone, WorkingCalendar(holidays=off))
    decision = decide(snapshot, NIGHT, born)
    assert isinstance(decision, Decision)
    context = decision.after.status_context
    assert (context["due_at"], context["anchor"]) == (due, "step_entered_at")
    assert (context["anchor_delivery_id"], context["zone"]) == (None, zone)
    used = decision.inputs.get("working")
    assert used == (
        {"days": ["mon", "tue", "wed", "thu", "fri"], "holidays": ["2026-12-24", "2026-12-25", "2026-12-28"]}
        if step == 2
        else None
    )
    inputs = json.loads(json.dumps(decision.inputs))
    again = replay(snapshot.definition, Folded("active", None, 0, "before", {}), inputs)
    assert differences(decision, again) == ()


def test_hours_that_have_begun_are_over_at_once() -> None:
    """Entered, waited and left in one decision, which replays."""
    steps = (MORNING.definition.steps[3], MORNING.definition.steps[4])
    sunday = datetime(2026, 12, 27, 12, tzinfo=UTC)
    snapshot = replace(
        at_entry(MORNING.definition, 3, "UTC", WorkingCalendar()),
        run=run("active", None, wake_at=sunday, mailbox_count=0),
        definition=replace(MORNING.definition, steps=steps),
    )
    decision = decide(snapshot, sunday, born)
    assert isinstance(decision, Decision)
    assert [each.reason for each in decision.transitions] == [
        "step_activated",
        "waiting_for_step_progression",
        "reactivated_from_wait",
        "step_activated",
    ]
    assert decision.transitions[1].context["due_at"] == written(sunday)


def test_holidays_for_ten_years_leave_a_run_stuck_and_not_poisonous() -> None:
    """No moment can be named: `due_at` is null, the run is listed, signals still end the wait."""
    off = frozenset(date.fromordinal(date(2026, 1, 1).toordinal() + n) for n in range(4_500))
    snapshot = at_entry(MORNING.definition, 2, "UTC", WorkingCalendar(holidays=off))
    decision = decide(snapshot, NIGHT, born)
    assert isinstance(decision, Decision)
    assert decision.after.status_context["due_at"] is None
    waiting = replace(
        snapshot,
        run=replace(
            run("waiting", "work", status_context=decision.after.status_context), visit=1, mailbox_count=0
        ),
    )
    assert decide(waiting, NIGHT, born) == Noop("wait_missing_due_at")


def test_a_rehearsal_knows_zone_and_calendar() -> None:
    """As the script says them, in a year of leap and change."""
    script = {
        "start": "2026-03-27T20:00:00Z",
        "zone": "Europe/London",
        "working_days": ["sun", "tue"],
        "holidays": ["2026-03-29"],
    }
    found = rehearse(Workflow(key="k", version=1, steps=[MORNING.as_dict()["steps"][2]]).definition, script)
    assert found.timeline[2].detail == "until 2026-03-31T08:00:00.000000Z"


@pytest.mark.parametrize(
    ("script", "field"),
    [
        ({"working_days": []}, "working_days"),
        ({"working_days": ["monday"]}, "working_days"),
        ({"working_days": "mon"}, "working_days"),
        ({"holidays": "2026-12-25"}, "holidays"),
        ({"holidays": ["2026-12-25", "Christmas"]}, "holidays[1]"),
        ({"holidays": [5]}, "holidays[0]"),
    ],
)
def test_faults_of_a_scripts_calendar(script: Any, field: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidInput, match=r"wanted a") as caught:
        rehearse(MORNING.definition, script)
    assert caught.value.details["field"] == field


def test_paths_know_the_hours_of_a_message() -> None:
    """It goes out when they begin; what follows comes then, or at once where it is suppressed."""
    send = {"type": "notify", "channel": "email", "render_key": "r"}
    hourly = {**send, "send_window": {"from": "09:00", "to": "17:00"}}
    rules = [
        {"kind": "on_outcome", "outcome": "bounced", "to_step": "late"},
        {"kind": "on_outcome", "outcome": "suppressed", "to_step": "early"},
        {"kind": "wait_until", "delay": "PT1H", "to_step": "last"},
    ]
    journey = parse(
        workflow(
            {"id": "first", "action": hourly, "progress": rules},
            {"id": "late", "action": send, "next": "end"},
            {"id": "early", "action": send, "next": "end"},
            {"id": "last", "action": send},
        )
    )
    found = {path.legs[-1].step.id: path.legs for path in paths(journey, start=NIGHT, zone="UTC")}
    at = {
        step: (written(legs[-1].at.earliest)[:16], written(legs[-1].at.latest)[:16])
        for step, legs in found.items()
    }
    assert written(found["late"][0].at.earliest)[:16] == "2026-12-24T09:00"
    assert at == {
        "late": ("2026-12-24T09:00", "2026-12-24T09:00"),
        "early": ("2026-12-23T22:00", "2026-12-24T09:00"),
        "last": ("2026-12-23T23:00", "2026-12-24T10:00"),
    }


def test_paths_reckon_by_the_same_clock() -> None:
    """Each step's moments, in the zone and with the calendar that are given."""
    off = WorkingCalendar(holidays=frozenset({date(2026, 12, 28)}))
    *_, last = paths(MORNING.definition, start=NIGHT, zone="UTC", working=off)
    assert [written(leg.entered.earliest)[:16] for leg in last.legs] == [
        "2026-12-23T22:00",
        "2026-12-24T09:00",
        "2026-12-24T09:00",
        "2026-12-25T09:00",
        "2026-12-27T08:00",
    ]

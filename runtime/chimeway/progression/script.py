"""What a rehearsal is told: when it starts, for whom, and what happens. Read from plain data.

```yaml
start: 2026-03-02T09:00:00Z     # default: 2026-01-01T00:00:00Z
zone: Europe/London             # default: UTC
working_days: [mon, tue, wed]   # of the tenant; default: Monday to Friday
holidays: [2026-12-25]          # of the tenant, too
data: {document_id: doc_789}
preferences:                    # the recipient's, as `identify` takes them; default: none
  quiet_hours: {from: "22:00", to: "07:00"}
deliveries:                     # what becomes of a step's messages; default: delivered, at once
  step_email: bounced
  step_sms: {outcome: delivered, after: PT10S}
  step_push: pending            # nothing, but for what the events say
  step_call: {verdict: suppress, reason: cap}            # what policy says, instead of what it would say
  step_mail: {verdict: defer, reason: cap, until: PT8H}  # until so long after it was planned, or an instant
events:
  - {at: PT5M, signal: notification_read, payload: {document_id: doc_789}}
  - {at: 2026-03-02T11:30:00Z, outcome: bounced, step: step_email}
```

A bare list is read as `events`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeAlias, get_args

from chimeway.errors import InvalidInput
from chimeway.progression.policy import NONE, Preferences, Reason, parse_preferences
from chimeway.progression.policy.verdict import Kind
from chimeway.workflow.calendar import DAYS, MONDAY_TO_FRIDAY, USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import OUTCOMES, Definition, Json, NotifyAction, Outcome
from chimeway.workflow.durations import parse_duration, parse_instant

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When a rehearsal starts that does not say: one from which it is easy to reckon."""


@dataclass(frozen=True, slots=True)
class SignalEvent:
    """A signal reaches the run."""

    at: datetime
    signal_type: str
    payload: Json


@dataclass(frozen=True, slots=True)
class OutcomeEvent:
    """Something becomes of a step's delivery: of this visit, or where none is named, the latest."""

    at: datetime
    step_id: str
    outcome: Outcome
    visit: int | None = None


Event: TypeAlias = SignalEvent | OutcomeEvent


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of each delivery of a step, so long after it was planned, or let go; None: nothing.

    `verdict` stands in place of what policy would say: how it is born, and, deferred, until when (an instant,
    or so long after it was planned).
    """

    outcome: Outcome | None = "delivered"
    after: str | None = None
    verdict: Kind | None = None
    reason: Reason = "preference"
    until: datetime | str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A script that was read; `events` are in order of time, as written where times are equal."""

    start: datetime = START
    zone: str = "UTC"
    data: Mapping[str, Any] = field(default_factory=dict)
    fates: Mapping[str, Fate] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    working: WorkingCalendar = USUAL_DAYS
    preferences: Preferences = NONE


def parse_script(raw: Json, definition: Definition) -> Script:
    """Read a script for this definition.

    Args:
        raw: a mapping (or a list of events) as JSON or YAML gives it.
        definition: the journey it is for: its steps are the ones that may be named.

    Returns:
        the script.

    Raises:
        InvalidInput: naming the field, what was given and what would be right.
    """
    if raw is None:
        return Script()
    fields = _mapping("script", {"events": raw} if isinstance(raw, list) else raw)
    known = ("start", "zone", "working_days", "holidays", "data", "preferences", "deliveries", "events")
    _only_keys("script", fields, known)
    start = _instant("start", fields["start"]) if fields.get("start") is not None else START
    zone = _zone(fields.get("zone", "UTC"), start)
    reach = _Reach(definition, start, zone)
    data = _mapping("data", fields.get("data") or {})
    fates = _mapping("deliveries", fields.get("deliveries") or {})
    events = fields.get("events") or []
    if not isinstance(events, list):
        raise _fault("events", events, "a list")
    read = [reach.event(f"events[{i}]", event) for i, event in enumerate(events)]
    return Script(
        start=start,
        zone=zone,
        data=data,
        fates={step_id: reach.fate(step_id, fate) for step_id, fate in fates.items()},
        events=tuple(sorted(read, key=lambda event: event.at)),
        working=_working(fields.get("working_days"), fields.get("holidays")),
        preferences=parse_preferences(fields.get("preferences") or {}, "preferences"),
    )


@dataclass(frozen=True, slots=True)
class _Reach:
    """What names and times in a script are relative to."""

    definition: Definition
    start: datetime
    zone: str

    def event(self, name: str, raw: Json) -> Event:
        fields = _mapping(name, raw)
        if ("signal" in fields) == ("outcome" in fields):
            raise _fault(name, sorted(fields), "exactly one of `signal` and `outcome`")
        at = self.moment(f"{name}.at", fields.get("at"))
        if "signal" in fields:
            _only_keys(name, fields, ("at", "signal", "payload"))
            if not isinstance(fields["signal"], str) or not fields["signal"]:
                raise _fault(f"{name}.signal", fields["signal"], "a signal type")
            payload = _mapping(f"{name}.payload", fields.get("payload", {}))
            return SignalEvent(at, fields["signal"], payload)
        _only_keys(name, fields, ("at", "outcome", "step"))
        outcome = _outcome(f"{name}.outcome", fields["outcome"])
        return OutcomeEvent(at, self.notify_step(f"{name}.step", fields.get("step")), outcome)

    def fate(self, step_id: str, raw: Json) -> Fate:
        name = f"deliveries.{step_id}"
        self.notify_step(name, step_id)
        fields = _mapping(name, raw) if isinstance(raw, Mapping) else {"outcome": raw}
        _only_keys(name, fields, ("outcome", "after", "verdict", "reason", "until"))
        given = fields.get("outcome", "delivered")
        outcome = None if given == "pending" else _outcome(f"{name}.outcome", given)
        after = _span(f"{name}.after", fields.get("after"))
        verdict = fields.get("verdict")
        for other in ("reason", "until"):
            if verdict is None and other in fields:
                raise _fault(f"{name}.{other}", fields[other], "a verdict beside it")
        if verdict is None:
            return Fate(outcome, after)
        return Fate(outcome, after, *self._verdict(name, fields))

    def _verdict(self, name: str, fields: Mapping[str, Any]) -> tuple[Kind, Reason, datetime | str | None]:
        kind, until = fields["verdict"], fields.get("until")
        if kind not in get_args(Kind):
            raise _fault(f"{name}.verdict", kind, f"one of {', '.join(get_args(Kind))}")
        reasons = [word for word in get_args(Reason) if (word == "preference") <= (kind == "suppress")]
        reason = fields.get("reason", reasons[0])
        if reason not in reasons:
            raise _fault(f"{name}.reason", reason, f"one of {', '.join(reasons)}")
        if (kind == "defer") is (until is None):
            raise _fault(f"{name}.until", until, "an instant or a duration, with the verdict defer only")
        if isinstance(until, str) and until.startswith("P"):
            return kind, reason, _span(f"{name}.until", until)
        return kind, reason, None if until is None else _instant(f"{name}.until", until)

    def moment(self, name: str, raw: Json) -> datetime:
        """Return an instant, or the end of a duration that begins with the start (PT0S too)."""
        if raw == "PT0S":
            return self.start
        if isinstance(raw, str) and raw.startswith("P"):
            try:
                return parse_duration(raw).after(self.start, self.zone)
            except ValueError as fault:
                raise _fault(name, raw, f"a duration after the start: {fault}") from None
        return _instant(name, raw)

    def notify_step(self, name: str, step_id: Json) -> str:
        steps = [s.id for s in self.definition.steps if isinstance(s.action, NotifyAction)]
        if step_id not in steps:
            raise _fault(name, step_id, f"one of the notify steps {', '.join(steps)}")
        return str(step_id)


def _outcome(name: str, raw: Json) -> Outcome:
    found = next((outcome for outcome in OUTCOMES if outcome == raw), None)
    if found is None:
        raise _fault(name, raw, f"one of {', '.join(OUTCOMES)}")
    return found


def _span(name: str, raw: Json) -> str | None:
    """Return a duration as it is written; None for none, which is PT0S too."""
    if raw is None or raw == "PT0S":
        return None
    try:
        parse_duration(raw)
    except (ValueError, TypeError):
        raise _fault(name, raw, "a duration like PT10S") from None
    return str(raw)


def _instant(name: str, raw: Json) -> datetime:
    if isinstance(raw, datetime) and raw.tzinfo is not None:  # YAML reads instants by itself
        return raw.astimezone(UTC)
    try:
        return parse_instant(raw)
    except (ValueError, TypeError, AttributeError):
        raise _fault(name, raw, "an instant like 2026-03-02T09:00:00Z or PT5M") from None


def _zone(raw: Json, start: datetime) -> str:
    try:
        parse_duration("P1D").after(start, raw)
    except (ValueError, TypeError, KeyError):
        raise _fault("zone", raw, "an IANA zone like Europe/London") from None
    return str(raw)


def _working(days: Json, holidays: Json) -> WorkingCalendar:
    if days is not None and not (isinstance(days, list) and days and all(day in DAYS for day in days)):
        raise _fault("working_days", days, f"a list of some of {', '.join(DAYS)}")
    if not isinstance(holidays, list | None):
        raise _fault("holidays", holidays, "a list of dates like 2026-12-25")
    off = frozenset(_date(f"holidays[{n}]", day) for n, day in enumerate(holidays or ()))
    return WorkingCalendar(MONDAY_TO_FRIDAY if days is None else frozenset(days), off)


def _date(name: str, raw: Json) -> date:
    if isinstance(raw, date) and not isinstance(raw, datetime):  # YAML reads dates by itself
        return raw
    try:
        return date.fromisoformat(raw)
    except (ValueError, TypeError):
        raise _fault(name, raw, "a date like 2026-12-25") from None


def _mapping(name: str, raw: Json) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise _fault(name, raw, "a mapping with names as keys")
    return raw


def _only_keys(name: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in fields:
        if key not in known:
            raise _fault(f"{name}.{key}", key, f"one of the keys {', '.join(known)}")


def _fault(name: str, given: object, wanted: str) -> InvalidInput:
    return InvalidInput(f"{name}: given {given!r}, wanted {wanted}", field=name)

"""One script of all verbs with good and bad input, and what each client makes of it, made comparable."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel

from chimeway import ChimewayError, Notify, Recipient, Wait, Workflow, signal_received

Ask = Callable[..., Any]
"""A verb of a client, its result awaited where it must be: `ask("trigger", ...)`."""


class Mention(BaseModel):
    """The data of a mention."""

    document_id: str
    count: int = 1


class Author:
    """The seed's form."""

    def workflow(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the workflow as a dict."""
        return {
            "key": "seed",
            "version": 1,
            "steps": [{"id": "n", "action": {"type": "notify", "channel": "in_app", "render_key": "r"}}],
        }


MENTION = Workflow(
    key="mention",
    version=1,
    data=Mention,
    steps=[
        Notify("app", channel="in_app", render_key="m"),
        Wait(
            "wait",
            duration="PT2H",
            stop_conditions=[signal_received("read", match={"document_id": {"data": "document_id"}})],
        ),
        Notify("mail", channel="email", render_key="m"),
    ],
)
OTHER_CONTENT = Workflow(
    key="mention", version=1, steps=[Notify("app", channel="in_app", render_key="changed")]
)
DOC = {"document_id": "doc ü % $1", "none": None, "big": 2**53, "tiny": 1e-9}
LONG = "x" * 256
NUL = "a\0b"


def _deep(levels: int) -> Any:
    found: Any = {}
    for _ in range(levels):
        found = {"x": found}
    return found


class Transcript:
    """What each step of the script gave: a value, or an error with class, code, message and details."""

    def __init__(self, ask: Ask) -> None:
        """Begin, with a client's verbs."""
        self.ask = ask
        self.lines: list[tuple[str, Any]] = []

    def step(self, verb: str, **named: Any) -> Any:
        """Take one step; an error is an answer, too."""
        try:
            answer = self.ask(verb, **named)
        except ChimewayError as error:
            told: Any = (type(error), error.code, error.message, dict(error.details), str(error))
            self.lines.append((verb, told))
            return None
        except TypeError as error:
            self.lines.append((verb, (TypeError, str(error))))
            return None
        self.lines.append((verb, answer))
        return answer


def play(ask: Ask) -> list[tuple[str, Any]]:
    """Play the script and return what was answered, in order."""
    t = Transcript(ask)
    _good(t)
    _bad(t)
    return t.lines


def _good(t: Transcript) -> None:
    t.step("register", workflow=MENTION)
    t.step("register", workflow=MENTION)
    t.step("identify", recipient="ada", email="ada@example.org", timezone="Europe/London", locale="en-GB")
    t.step("identify", recipient="ada", email=None, addresses={"push": "tok"}, data={"team": "ü"})
    _good_profiles(t)
    first = t.step("trigger", workflow=MENTION, data=DOC, recipients=["ada", "bob"], idempotency_key="k")
    t.step("trigger", workflow=MENTION, data=DOC, recipients=["bob", "ada"], idempotency_key="k")
    t.step("trigger", workflow="mention", data=Mention(document_id="d"), recipients="eve", tenant="org")
    t.step("trigger", workflow=Author, data={"actor_id": "ada"}, cancellation_key="c")
    t.step("trigger", workflow=Author(), recipients=[Recipient("zoe", email="z@example.org", locale="de")])
    later = datetime.now(UTC) + timedelta(days=1)
    t.step("trigger", workflow="mention", data=DOC, recipients="ada", at=later, workflow_version=1)
    orders = [
        {"recipients": ["m1", "m2"], "data": DOC, "idempotency_key": "z"},
        {"recipients": ["m3"], "data": DOC, "idempotency_key": "a", "cancellation_key": "many"},
        {"recipients": ["m1"], "data": DOC, "at": later},
    ]
    t.step("trigger_many", workflow=MENTION, orders=orders)
    t.step("trigger_many", workflow="mention", orders=orders)
    t.step("trigger_many", workflow=MENTION, orders=[])
    t.step("signal", signal_type="read", actor="ada", payload={"document_id": "doc"}, dedupe_key="once")
    t.step("signal", signal_type="read", actor="ada", payload={"document_id": "doc"}, dedupe_key="once")
    signals = [
        {"type": "read", "actor": "zoe"},
        {"type": "seen", "actor": "ada", "payload": DOC, "dedupe_key": "x"},
        {"type": "seen", "actor": "ada", "payload": DOC, "dedupe_key": "x"},
    ]
    t.step("signal_many", signals=signals)
    t.step("signal_many", signals=[])
    t.step("get_run", run_id=first.run_ids[0])
    t.step("get_run", run_id=str(first.run_ids[0]))
    page = t.step("list_runs", limit=2)
    t.step("list_runs", limit=2, cursor=page.cursor)
    t.step("list_runs", state="active", workflow="mention", recipient="ada")
    t.step("explain", run_id=first.run_ids[0])
    t.step("waiting")
    t.step("overdue", max_lateness=timedelta(hours=1))
    t.step("stuck")
    t.step("inbox.list", recipient="ada")
    t.step("inbox.list", recipient="ada", unread=True, archived="with", workflow="mention", step="app")
    t.step("inbox.unseen_count", recipient="ada")
    t.step("inbox.unread_count", recipient="ada")
    t.step("inbox.counts", recipient="ada")
    for verb in ("seen", "interacted", "archived", "unseen", "unread", "unarchived"):
        t.step(f"inbox.mark_{verb}", recipient="ada", items=[uuid4()])
    for verb in ("seen", "read", "archived"):
        t.step(f"inbox.mark_all_{verb}", recipient="ada", render_key="m", before=later)
    t.step("inbox.mark_read", recipient="ada", items=[uuid4()])
    event = {"id": "1", "delivery_id": UUID(int=7), "type": "bounced", "at": later, "detail": "ü\0%"}
    t.step("record_feedback_many", source="s", events=[event, event | {"id": "2", "delivery_id": None,
           "provider_reference": ["r", "s"]}])  # fmt: skip
    t.step("record_feedback_many", source="s", events=[], tenant="org")
    t.step("record_feedback", delivery_id=str(UUID(int=7)), kind="delivered", source="s", event_id="1")
    for verb in ("unsubscribe", "unsubscribe", "resubscribe", "resubscribe"):
        t.step(verb, recipient="ada", workflow="mention", channel="email")
    t.step("cancel", run_id=first.run_ids[0], note="regretted ü")
    t.step("cancel", run_id=first.run_ids[0])
    t.step("cancel", cancellation_key="many")
    t.step("cancel", cancellation_key="nobody has it")
    t.step("explain", run_id=first.run_ids[0])
    _forgetting(t)


def _forgetting(t: Transcript) -> None:
    """Ada is exported, forgotten, and asked about again; her old key is used again, too."""
    t.step("export", recipient="ada")
    t.step("forget", recipient="ada")
    t.step("export", recipient="ada")
    t.step("forget", recipient="ada", tenant="org")
    t.step("trigger", workflow=MENTION, data=DOC, recipients=["ada", "bob"], idempotency_key="k")
    (gone,) = t.step("list_runs", state="stopped", limit=1)
    t.step("explain", run_id=gone.id)


def _bad_forgetting(t: Transcript) -> None:
    for verb in ("forget", "export"):
        t.step(verb, recipient="")
        t.step(verb, recipient=NUL)
        t.step(verb, recipient=7)
        t.step(verb, recipient="ada", tenant="")


def _good_profiles(t: Transcript) -> None:
    wishes = {"channels": {"sms": False}, "quiet_hours": {"from": "22:00", "to": "07:00", "days": ["mon"]}}
    t.step("identify", recipient="ada", preferences=wishes)
    t.step("identify_many", recipients=[Recipient("bob", phone="+44 20", locale="de"), Recipient("eve")])
    t.step("identify_many", recipients=[])
    t.step("get_recipient", recipient="ada")
    page = t.step("list_recipients", limit=1)
    t.step("list_recipients", limit=1, cursor=page.cursor)
    t.step("list_recipients", tenant="org")
    t.step("get_tenant", tenant="far")
    t.step("configure_tenant", tenant="far", timezone="Asia/Tokyo", locale="ja", working_days=["sun", "mon"])
    t.step("configure_tenant", tenant="far", holidays=[date(2026, 12, 25), "2026-01-01"], preferences=wishes)
    t.step("configure_tenant", tenant="org", locale=None, preferences={"channels": {"sms": None}})
    t.step("get_tenant", tenant="far")
    page = t.step("list_tenants", limit=1)
    t.step("list_tenants", cursor=page.cursor)


def _bad_profiles(t: Transcript) -> None:
    t.step("identify", recipient="a", email="Ada <ada@example.org>")
    t.step("identify", recipient="a", preferences={"x": 1, "channels": {"sms": 7}})
    t.step("identify", recipient="a", locale="de/DE")
    t.step("identify_many", recipients=["a"])
    t.step("identify_many", recipients=[Recipient("a"), Recipient("b", phone="b")])
    t.step("configure_tenant", timezone="Asia/tokyo")
    t.step("configure_tenant", working_days=["monday"])
    t.step("configure_tenant", holidays="2026-12-25")
    t.step("configure_tenant", preferences={"caps": [{}]}, tenant="")
    t.step("get_recipient", recipient="nobody")
    t.step("list_recipients", cursor="nonsense")
    t.step("list_tenants", limit=0)


def _bad_feedback(t: Transcript) -> None:
    event: dict[str, Any] = {"id": "1", "delivery_id": UUID(int=7), "type": "bounced"}
    bad: list[Any] = [
        7, "text", event, [7], [event | {"kind": "bounced"}], [event | {"type": "opened"}],
        [event | {"id": ""}], [event | {"id": NUL}], [event | {"delivery_id": "7"}],
        [event | {"delivery_id": None}], [event | {"provider_reference": [7]}],
        [event | {"at": datetime(2026, 1, 1)}], [event | {"detail": 7}], [event] * 1001,  # noqa: DTZ001
    ]  # fmt: skip
    for events in bad:
        t.step("record_feedback_many", source="s", events=events)
    t.step("record_feedback_many", source="", events=[event])
    t.step("record_feedback_many", source="s", events=[event], tenant="")
    t.step("record_feedback", delivery_id="7", kind="bounced", source="s", event_id="1")


def _bad(t: Transcript) -> None:
    nobody = UUID(int=7)
    trigger: list[dict[str, Any]] = [
        {"workflow": "nobody", "recipients": "a"},
        {"workflow": "mention", "recipients": "a", "workflow_version": 9},
        {"workflow": "mention", "recipients": "a", "workflow_version": True},
        {"workflow": "mention", "recipients": "a"},
        {"workflow": MENTION, "recipients": "a", "data": {"count": "many"}},
        {"workflow": MENTION, "recipients": "c", "data": DOC, "idempotency_key": "k"},
        {"workflow": OTHER_CONTENT, "recipients": "a", "data": DOC},
        {"workflow": {"key": "w", "version": 1, "steps": []}, "recipients": "a"},
        {"workflow": 7, "recipients": "a"},
        {"workflow": LONG, "recipients": "a"},
        {"workflow": "mention", "recipients": []},
        {"workflow": "mention", "recipients": [f"u{n}" for n in range(1001)]},
        {"workflow": "mention", "recipients": [NUL]},
        {"workflow": "mention", "recipients": ["\ud800"]},
        {"workflow": "mention", "recipients": [Recipient("a", "1@b"), Recipient("a", "2@b")]},
        {"workflow": "mention", "recipients": "a", "data": [1]},
        {"workflow": "mention", "recipients": "a", "data": {"x": float("nan")}},
        {"workflow": "mention", "recipients": "a", "data": {"x": float("inf")}},
        {"workflow": "mention", "recipients": "a", "data": {"x": NUL}},
        {"workflow": "mention", "recipients": "a", "data": {"x": "\ud800"}},
        {"workflow": "mention", "recipients": "a", "data": {"x": "x" * 70_000}},
        {"workflow": "mention", "recipients": "a", "data": _deep(1_000)},
        {"workflow": "mention", "recipients": "a", "at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"workflow": "mention", "recipients": "a", "tenant": ""},
    ]
    for named in trigger:
        t.step("trigger", **named)
    t.step("trigger_many", workflow="mention", orders=[{"recipients": ["a"], "date": {}}])
    t.step("trigger_many", workflow="mention", orders=[{"recipients": ["a"], "data": DOC}, {"data": 7}])
    t.step("trigger_many", workflow="nobody", orders=[{"recipients": ["a"]}])
    t.step("trigger_many", workflow="mention", orders=[{"recipients": [f"u{n}" for n in range(600)]}] * 2)
    t.step("register", workflow=OTHER_CONTENT)
    t.step("register", workflow={"key": "w", "version": 0, "steps": [{"id": "x"}]})
    t.step("signal", signal_type="", actor="a")
    t.step("signal", signal_type="t", actor=LONG)
    t.step("signal", signal_type="t", actor="a", payload="text")
    t.step("signal", signal_type="t", actor="a", payload={"x": _deep(70)})
    t.step("signal", signal_type="chimeway.notification.read", actor="a")
    t.step("signal_many", signals=[{"type": "t", "actor": "a"}, {"type": "t"}])
    t.step("signal_many", signals=[{"type": "t", "actor": "a"}] * 1001)
    t.step("identify", recipient="", email="x")
    t.step("identify", recipient="a", email=7)
    t.step("identify", recipient="a", timezone="Mars/Olympus")
    t.step("identify", recipient="a", data={"x": {1}})
    _bad_profiles(t)
    _bad_feedback(t)
    for named in (
        {"workflow": "nobody"},
        {"channel": ""},
        {"recipient": NUL},
        {"workflow": 7},
        {"channel": LONG},
    ):
        t.step("unsubscribe", **({"recipient": "a", "workflow": "mention", "channel": "email"} | named))
        t.step("resubscribe", **({"recipient": "a", "workflow": "mention", "channel": "email"} | named))
    _bad_forgetting(t)
    t.step("cancel")
    t.step("cancel", run_id=nobody, cancellation_key="k")
    t.step("cancel", run_id="not-a-uuid")
    t.step("cancel", run_id=nobody)
    t.step("cancel", run_id=nobody, note=NUL)
    t.step("get_run", run_id=7)
    t.step("get_run", run_id=nobody)
    t.step("explain", run_id=nobody, tenant="org")
    t.step("list_runs", limit=0)
    t.step("list_runs", limit=1001)
    t.step("list_runs", cursor="nonsense")
    t.step("list_runs", workflow=NUL)
    t.step("waiting", cursor="bm9uc2Vuc2U")
    t.step("overdue", max_lateness=5)
    t.step("inbox.list", recipient=LONG)
    t.step("inbox.list", recipient="ada", limit="many")
    t.step("inbox.list", recipient="ada", archived="maybe")
    t.step("inbox.list", recipient="ada", since=datetime(2026, 1, 1))  # noqa: DTZ001
    t.step("inbox.mark_all_read", recipient="ada", through="no uuid")
    t.step("inbox.mark_seen", recipient="ada", items=["no uuid"])
    t.step("inbox.mark_seen", recipient="ada", items=[uuid4() for _ in range(1001)])


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+\d\d(?::?\d\d)?| UTC)?|\b\d\d:\d\d:\d\d UTC"
)


class Normal:
    """Ids by the order in which they were first met, instants without their value."""

    def __init__(self) -> None:
        """Begin with nothing met."""
        self._met: dict[str, str] = {}

    def of(self, value: Any) -> Any:
        """Return the value as it can be compared with that of another database."""
        match value:
            case UUID():
                return self.of(str(value))
            case datetime():
                return "instant"
            case str() if len(value) < 5_000:
                text = _UUID.sub(lambda found: self._name(found[0]), value)
                return _INSTANT.sub("instant", text)
            case type() | None | bool() | int() | float() | str() | timedelta() | Enum() | Path():
                return value
            case Mapping():
                return {self.of(key): self.of(each) for key, each in value.items()}
            case _ if dataclasses.is_dataclass(value):
                fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
                if "cursor" in fields:
                    fields["cursor"] = fields["cursor"] is not None
                return type(value).__name__, self.of(fields)
            case Iterable():
                return type(value).__name__, [self.of(each) for each in value]
            case _:
                return type(value).__name__

    def _name(self, found: str) -> str:
        return self._met.setdefault(found.lower(), f"id {len(self._met)}")

"""What a program may hand to a client that is not right: one row a fault, for both clients."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel

from chimeway import Recipient, Workflow
from store.plain_sql import MENTION

RUN = UUID("018f3a2b-0000-7000-8000-000000000001")
"""The id of no run."""
KEY = "k" * 44
"""As long as one that signs inbox tokens."""


class Case(NamedTuple):
    """A name, a verb of the client (`inbox.list` is one of a's inbox) and its arguments."""

    name: str
    verb: str
    arguments: dict[str, Any]


def _deep(levels: int, leaf: Any = 1) -> Any:
    for _ in range(levels):
        leaf = {"x": leaf}
    return leaf


def _bomb() -> Any:
    bomb: Any = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    return bomb


def _circle() -> Any:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    return circle


class _Mention(BaseModel):
    document_id: str
    count: int = 1


class _Unwritable(BaseModel):
    body: bytes


MODELLED = Workflow(key="modelled", version=1, steps=MENTION["steps"], data=_Mention)


def _trigger(name: str, **arguments: Any) -> Case:
    given = {"workflow": "mention_escalation", "recipients": "a", **arguments}
    return Case(f"trigger: {name}", "trigger", {k: v for k, v in given.items() if v is not _OUT})


def _data(name: str, value: Any) -> Case:
    return _trigger(f"data, {name}", data={"x": value})


def _signal(name: str, **arguments: Any) -> Case:
    return Case(f"signal: {name}", "signal", {"signal_type": "read", "actor": "a", **arguments})


_PEOPLE: dict[str, dict[str, Any]] = {
    "recipient empty": {"recipient": ""},
    "recipient a number": {"recipient": 7},
    "recipient with NUL": {"recipient": "\0"},
    "recipient of 256 characters": {"recipient": "x" * 256},
    "tenant empty": {"tenant": ""},
}


def _identify(name: str, **arguments: Any) -> Case:
    return Case(f"identify: {name}", "identify", {"recipient": "a", **arguments})


def _identify_many(name: str, recipients: Any) -> Case:
    return Case(f"identify_many: {name}", "identify_many", {"recipients": recipients})


def _configure(name: str, **arguments: Any) -> Case:
    return Case(f"configure_tenant: {name}", "configure_tenant", arguments)


def _definition(name: str, change: Callable[[dict[str, Any]], object]) -> Case:
    steps = [dict(step) for step in MENTION["steps"]]
    definition = {**MENTION, "key": "another", "steps": steps}
    change(definition)
    return Case(f"register: {name}", "register", {"workflow": definition})


_OUT = object()
_NIGHT = {"from": "22:00", "to": "07:00"}
_ZONELESS = datetime(2026, 1, 1)  # noqa: DTZ001  (that is the fault)
_BEFORE_TIME = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))


def cases() -> list[Case]:
    """Return all of them, fresh: some hand over what can be iterated only once."""
    return [
        _trigger("no workflow", workflow=""),
        _trigger("workflow of another type", workflow=7),
        _trigger("unknown workflow", workflow="mention_escalatoin"),
        _trigger("workflow with a lone surrogate", workflow="w\ud800"),
        _trigger("version 0", workflow_version=0),
        _trigger("version -1", workflow_version=-1),
        _trigger("version true", workflow_version=True),
        _trigger("version as text", workflow_version="1"),
        _trigger("version 1.0", workflow_version=1.0),
        _trigger("version 2**31", workflow_version=2**31),
        _trigger("a version that is not registered", workflow_version=2),
        _trigger("another version beside a definition", workflow=dict(MENTION), workflow_version=2),
        _trigger("another definition of a registered version", workflow={**MENTION, "description": "new"}),
        _trigger("nobody", recipients=_OUT),
        _trigger("actor_id of another type", recipients=_OUT, data={"actor_id": 7}),
        _trigger("recipients empty", recipients=[]),
        _trigger("recipients a number", recipients=7),
        _trigger("recipients bytes", recipients=b"a"),
        _trigger("recipients an object", recipients={"a": 1}),
        _trigger("a recipient that is a number", recipients=["a", 7]),
        _trigger("a recipient of no characters", recipients=["a", ""]),
        _trigger("a recipient of 256 characters", recipients=["x" * 256]),
        _trigger("a recipient with NUL", recipients=["a\0b"]),
        _trigger("a recipient with a lone surrogate", recipients=["a\udfff"]),
        _trigger("1,001 recipients", recipients=[f"u{n}" for n in range(1001)]),
        _trigger("recipients without end", recipients=(f"u{n}" for n in count())),
        _trigger("a profile with a faulty e-mail", recipients=["b", Recipient("a", email=7)]),  # type: ignore[arg-type]
        _trigger("two profiles of one", recipients=[Recipient("a", "1@b"), Recipient("a", "2@b")]),
        _trigger("tenant empty", tenant=""),
        _trigger("tenant of 256 characters", tenant="t" * 256),
        _trigger("idempotency_key empty", idempotency_key=""),
        _trigger("idempotency_key a number", idempotency_key=7),
        _trigger("idempotency_key of 256 characters", idempotency_key="k" * 256),
        _trigger("idempotency_key with NUL", idempotency_key="k\0"),
        _trigger("idempotency_key used for another trigger", idempotency_key="taken", data={"other": 1}),
        _trigger("cancellation_key a list", cancellation_key=["k"]),
        _trigger("at a text", at="2026-01-01T00:00:00Z"),
        _trigger("at without a zone", at=_ZONELESS),
        _trigger("at before the year 1", at=_BEFORE_TIME),
        _trigger("at in eleven years", at=datetime(2199, 1, 1, tzinfo=UTC)),
        _trigger("data a list", data=[1]),
        _trigger("data a text", data="{}"),
        _trigger("data that a model does not fit", workflow=MODELLED, data={"count": "many"}),
        _trigger("data of a model that is no JSON", data=_Unwritable(body=b"\xff")),
        _data("a datetime", datetime(2026, 1, 1, tzinfo=UTC)),
        _data("a UUID", RUN),
        _data("bytes", b"x"),
        _data("a set", {1}),
        _data("NaN", float("nan")),
        _data("infinity in a list", [1, [float("-inf")]]),
        _data("an integer of 400 digits", 10**399),
        _data("an integer of 5,000 digits", 10**5000),
        _data("a float of 300 digits", 1e299),
        _data("a float of 300 decimals", -1e-300),
        _data("NUL", "a\0b"),
        _data("a lone surrogate", ["\ud800"]),
        _data("a key with NUL", {"a\0b": 1}),
        _data("a key with a lone surrogate", {"\ud800": 1}),
        _data("a key that is a number", {1: "one", "1": "two"}),
        _data("65,537 bytes", "x" * (65_537 - len('{"x": ""}'))),
        _data("65,537 bytes in UTF-8", "é" * 33_000),
        _data("a million characters", "x" * 1_000_000),
        _data("depth 65", _deep(64, {})),
        _data("depth 1,000", _deep(1_000)),
        _data("2**60 references to one list", _bomb()),
        _data("an object in itself", _circle()),
        _signal("type empty", signal_type=""),
        _signal("type a number", signal_type=7),
        _signal("actor missing", actor=None),
        _signal("actor with NUL", actor="\0"),
        _signal("payload a text", payload="text"),
        _signal("payload with NaN", payload=MappingProxyType({"x": float("nan")})),
        _signal("payload of depth 1,000", payload=_deep(1_000)),
        _signal("dedupe_key of 256 characters", dedupe_key="d" * 256),
        _identify("recipient empty", recipient=""),
        _identify("email a number", email=7),
        _identify("email empty", email=""),
        _identify("email of two lines", email="ada@example.org\r\nBcc: eve@example.org"),
        _identify("email of a name and an address", email="Ada <ada@example.org>"),
        _identify("email among addresses", addresses={"email": "ada"}),
        _identify("phone with NUL", phone="\0"),
        _identify("phone in words", phone="call me"),
        _identify("an address of 4,097 characters", addresses={"push": "t" * 4097}),
        _identify("an address with a lone surrogate", addresses={"push": "\ud800"}),
        _identify("locale of no tag", locale="de/DE"),
        _identify("locale of POSIX", locale="POSIX"),
        _identify("locale a number", locale=7),
        _identify("timezone unknown", timezone="Mars/Olympus"),
        _identify("timezone an abbreviation", timezone="PST"),
        _identify("timezone in capitals", timezone="EUROPE/LONDON"),
        _identify("timezone an offset", timezone="+01:00"),
        _identify("timezone a path", timezone="../../etc/passwd"),
        _identify("addresses a list", addresses=["a"]),
        _identify("an address that is a number", addresses={"push": 7}),
        _identify("an address that is an object", addresses={"push": {"token": "t"}}),
        _identify("an address for a channel of no name", addresses={"": "t"}),
        _identify("preferences a text", preferences="none"),
        _identify("preferences with a misspelt part", preferences={"chanels": {"email": False}}),
        _identify(
            "preferences with several faults",
            preferences={"channels": {"email": 1}, "quiet_hours": {"from": "22"}, "caps": [7]},
        ),
        _identify("data with a set", data={"x": {1}}),
        _identify("a profile of 70,000 bytes", data={"x": "x" * 70_000}),
        _identify_many("a text", "ada"),
        _identify_many("ids", ["ada"]),
        _identify_many("a faulty profile after a right one", [Recipient("a"), Recipient("b", email="b")]),
        _identify_many("one twice", [Recipient("a"), Recipient("a")]),
        _identify_many("1,001", [Recipient(f"u{n}") for n in range(1001)]),
        _identify_many("without end", (Recipient(f"u{n}") for n in count())),
        _configure("timezone unknown", timezone="Mars/Olympus"),
        _configure("locale a number", locale=7),
        _configure("no working day", working_days=[]),
        _configure("working days as a text", working_days="mon"),
        _configure("a working day in full", working_days=["mon", "tuesday"]),
        _configure("holidays as a text", holidays="2026-12-25"),
        _configure("a holiday that is none", holidays=["2026-02-29"]),
        _configure("a holiday with a time", holidays=[datetime(2026, 12, 25, tzinfo=UTC)]),
        _configure("holidays without end", holidays=(f"2026-01-{1 + n % 9:02}" for n in count())),
        _configure("preferences a list", preferences=[]),
        _configure(
            "preferences of an unknown day", preferences={"quiet_hours": {**_NIGHT, "days": ["monday"]}}
        ),
        Case("get_recipient: nobody", "get_recipient", {"recipient": "nobody"}),
        Case("get_recipient: empty", "get_recipient", {"recipient": ""}),
        Case("list_recipients: a cursor of none", "list_recipients", {"cursor": "bm9uc2Vuc2U"}),
        Case("list_recipients: limit 0", "list_recipients", {"limit": 0}),
        Case("list_tenants: a cursor of none", "list_tenants", {"cursor": "?"}),
        Case("get_tenant: empty", "get_tenant", {"tenant": ""}),
        Case("cancel: neither", "cancel", {}),
        Case("cancel: both", "cancel", {"run_id": RUN, "cancellation_key": "k"}),
        Case("cancel: no UUID", "cancel", {"run_id": "not-a-uuid"}),
        Case("cancel: an id that is a number", "cancel", {"run_id": 7}),
        Case("cancel: an unknown run", "cancel", {"run_id": RUN}),
        Case("cancel: cancellation_key empty", "cancel", {"cancellation_key": ""}),
        Case("cancel: a note of 1,001 characters", "cancel", {"run_id": RUN, "note": "n" * 1001}),
        Case("cancel: a note with NUL", "cancel", {"run_id": RUN, "note": "\0"}),
        Case("cancel: a note that is a number", "cancel", {"run_id": RUN, "note": 7}),
        Case("trigger_many: orders a text", "trigger_many", {"workflow": "w", "orders": "abc"}),
        Case("trigger_many: orders a number", "trigger_many", {"workflow": "w", "orders": 7}),
        Case("trigger_many: an order that is a text", "trigger_many", {"workflow": "w", "orders": ["a"]}),
        Case(
            "trigger_many: an unknown key",
            "trigger_many",
            {"workflow": "w", "orders": [{"recipients": "a"}, {"recipient": "a"}]},
        ),
        Case(
            "trigger_many: a faulty order after a right one",
            "trigger_many",
            {"workflow": "mention_escalation", "orders": [{"recipients": "a"}, {"recipients": "a", "at": 7}]},
        ),
        Case(
            "trigger_many: the database refuses the second",
            "trigger_many",
            {
                "workflow": "mention_escalation",
                "orders": [
                    {"recipients": "a"},
                    {"recipients": "a", "data": {"other": 1}, "idempotency_key": "taken"},
                ],
            },
        ),
        Case(
            "trigger_many: 1,001 recipients in all",
            "trigger_many",
            {"workflow": "w", "orders": ({"recipients": f"u{n}"} for n in count())},
        ),
        Case("signal_many: signals a mapping", "signal_many", {"signals": {"type": "t", "actor": "a"}}),
        Case(
            "signal_many: 1,001", "signal_many", {"signals": ({"type": "t", "actor": "a"} for _ in count())}
        ),
        Case(
            "signal_many: a faulty payload",
            "signal_many",
            {"signals": [{"type": "t", "actor": "a"}, {"type": "t", "actor": "a", "payload": {"x": "\0"}}]},
        ),
        Case("get_run: no UUID", "get_run", {"run_id": "7"}),
        Case("get_run: an unknown run", "get_run", {"run_id": RUN}),
        Case("explain: bytes", "explain", {"run_id": RUN.bytes}),
        Case("list_runs: a state that is none", "list_runs", {"state": "wating"}),
        Case("list_runs: a workflow that is a number", "list_runs", {"workflow": 7}),
        Case("list_runs: a recipient with NUL", "list_runs", {"recipient": "\0"}),
        Case("list_runs: limit 0", "list_runs", {"limit": 0}),
        Case("list_runs: limit 1,001", "list_runs", {"limit": 1001}),
        Case("list_runs: limit true", "list_runs", {"limit": True}),
        Case("list_runs: a cursor of nonsense", "list_runs", {"cursor": "nonsense"}),
        Case("waiting: a cursor that is a number", "waiting", {"cursor": 7}),
        Case("overdue: max_lateness a number", "overdue", {"max_lateness": 5}),
        Case("overdue: max_lateness negative", "overdue", {"max_lateness": timedelta(seconds=-1)}),
        Case("overdue: tenant empty", "overdue", {"tenant": ""}),
        Case("stuck: tenant a number", "stuck", {"tenant": 7}),
        Case("for_tenant: no tenant", "for_tenant", {"tenant": None}),
        Case("for_tenant: tenant empty", "for_tenant", {"tenant": ""}),
        Case("inbox: items a number", "inbox.mark_read", {"items": 7}),
        Case("inbox: an item that is no UUID", "inbox.mark_read", {"items": [RUN, "x"]}),
        Case("inbox: 1,001 items", "inbox.mark_seen", {"items": (RUN for _ in count())}),
        Case("inbox: a cursor of nonsense", "inbox.list", {"cursor": "\ud800"}),
        Case("inbox: unseen as text", "inbox.list", {"unseen": "no"}),
        Case("inbox: unread as a number", "inbox.list", {"unread": 0}),
        Case("inbox: uninteracted as text", "inbox.list", {"uninteracted": ""}),
        Case("inbox token: with_data as text", "inbox.token", {"keys": [KEY], "with_data": "no"}),
        Case("inbox token: no keys at all", "inbox.token", {"keys": None}),
        Case("inbox token: a key and no list", "inbox.token", {"keys": KEY}),
        Case("inbox token: a key of bytes", "inbox.token", {"keys": [KEY, KEY.encode()]}),
        Case("inbox token: no key", "inbox.token", {"keys": []}),
        Case("inbox token: a key that is guessed", "inbox.token", {"keys": ["hunter2"]}),
        Case("inbox token: seconds for a span", "inbox.token", {"keys": [KEY], "lasts": 300}),
        Case(
            "inbox token: a span before now", "inbox.token", {"keys": [KEY], "lasts": -timedelta(minutes=5)}
        ),
        Case("inbox token: a day", "inbox.token", {"keys": [KEY], "lasts": timedelta(days=1)}),
        *(
            Case(f"{verb}: {name}", verb, {"recipient": "a", **arguments})
            for verb in ("forget", "export")
            for name, arguments in _PEOPLE.items()
        ),
        _definition("no steps", lambda d: d.update(steps=[])),
        _definition("a key of bytes", lambda d: d.update(key=b"x")),
        _definition("unknown step", lambda d: d["steps"][0].update(next="step_emial")),
        _definition("depth 1,000", lambda d: d.update(steps=_deep(1_000))),
        _definition("2**60 references to one list", lambda d: d.update(steps=_bomb())),
        Case("register: no workflow at all", "register", {"workflow": 7}),
    ]

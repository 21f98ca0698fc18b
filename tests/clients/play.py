"""What each kind of lent connection must show: commit, rollback, savepoint, an error inside."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import psycopg
import pytest

from chimeway import (
    IdempotencyConflict,
    InvalidInput,
    Notify,
    Recipient,
    UnknownWorkflow,
    Workflow,
    WorkflowRunNotFound,
)
from clients.lenders import Lender
from store.plain_sql import TABLES

HELLO = Workflow(key="hello", version=1, steps=[Notify("greet", channel="in_app", render_key="hello")])
FAR_OFF = datetime(2199, 1, 1, tzinfo=UTC)
"""Further ahead than the database lets a run begin: only it knows what time it is."""
_SILENT = ("identify", "configure_tenant", "unsubscribe", "resubscribe")
"""Verbs that answer nothing."""
_ITEM = """
with d as (
    insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
                render_key, status, created_at, terminal_at)
    select chimeway.new_id(r.shard), r.shard, r.id, 1, 'greet', r.tenant_id, r.recipient_id, 'in_app',
           'hello', 'succeeded', chimeway.clock(), chimeway.clock()
      from chimeway.workflow_runs r where r.id = %s
    returning *
)
insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject, body,
            created_at)
select d.id, d.shard, d.tenant_id, d.recipient_id, d.run_id, d.render_key, 's', 'b', d.created_at from d
returning id
"""
_SENT = """
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
            render_key, status, attempt_count, created_at, terminal_at)
select chimeway.new_id(r.shard), r.shard, r.id, 2, 'mail', r.tenant_id, r.recipient_id, 'email',
       'hello', 'succeeded', 1, chimeway.clock(), chimeway.clock()
  from chimeway.workflow_runs r where r.id = %s
returning id
"""
_CONTENTS: Any = " union all ".join(
    f"select '{table}', coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from chimeway.{table} t"
    for table in TABLES
)
Verb = tuple[str, dict[str, Any]]


class _RegretError(Exception):
    """What makes a savepoint roll back."""


class Bystander:
    """Another connection, which sees what is committed."""

    def __init__(self, url: str) -> None:
        """Connect."""
        self.sql = psycopg.connect(url, autocommit=True)

    def __enter__(self) -> Self:
        """Watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """Go."""
        self.sql.close()

    def contents(self) -> dict[str, str]:
        """Return a fingerprint of each table."""
        return dict(self.sql.execute(_CONTENTS).fetchall())

    def value(self, sql: Any, *args: Any) -> Any:
        """Return the one value."""
        row = self.sql.execute(sql, args).fetchone()
        assert row is not None
        return row[0]

    def orders(self) -> int:
        """Count the rows of the caller's own table."""
        return int(self.value("select count(*) from orders"))


def prepared(lender: Lender, other: Bystander) -> dict[str, Verb]:
    """Write a run and its inbox item, and return each verb with arguments that do something."""
    other.sql.execute("create table if not exists orders (id int)")
    other.sql.execute("truncate orders")
    lender.ask("cancel", lent=False, cancellation_key="old")
    receipt = lender.ask("trigger", lent=False, workflow=HELLO, recipients="ada", cancellation_key="old")
    run: UUID = receipt.run_ids[0]
    item, sent = other.value(_ITEM, run), other.value(_SENT, run)
    lender.ask("unsubscribe", lent=False, recipient="ada", workflow="hello", channel="push")
    tricky = {"text": "100 % ü %s $1 'q' \\ \"", "n": 1e30, "deep": [{"a": None}]}
    people = [Recipient("zoe", email="z@example.org")]
    orders = [{"recipients": ["c"], "data": tricky}, {"recipients": ["d"]}]
    signals = [{"type": "read", "actor": "ada"}, {"type": "seen", "actor": "ada", "payload": tricky}]
    return {
        "trigger": ("trigger", {"workflow": HELLO, "data": tricky, "recipients": ["a", "b"]}),
        "trigger identified": ("trigger", {"workflow": "hello", "recipients": people}),
        "trigger_many": ("trigger_many", {"workflow": HELLO, "orders": orders}),
        "signal": ("signal", {"signal_type": "read", "actor": "ada", "payload": tricky}),
        "signal_many": ("signal_many", {"signals": signals}),
        "identify": ("identify", {"recipient": "ada", "email": "a@example.org", "data": tricky}),
        "unsubscribe": ("unsubscribe", {"recipient": "ü % 'q'", "workflow": "hello", "channel": "email"}),
        "unsubscribe known": ("unsubscribe", {"recipient": "ada", "workflow": "hello", "channel": "sms"}),
        "resubscribe": ("resubscribe", {"recipient": "ada", "workflow": "hello", "channel": "push"}),
        "identify_many": ("identify_many", {"recipients": [Recipient("bob", data=tricky), *people]}),
        "configure_tenant": ("configure_tenant", {"timezone": "Asia/Tokyo", "holidays": ["2026-12-25"]}),
        "mark_seen": ("inbox.mark_seen", {"recipient": "ada", "items": item}),
        "mark_read": ("inbox.mark_read", {"recipient": "ada", "items": [str(item)]}),
        "mark_unread": ("inbox.mark_unread", {"recipient": "ada", "items": item}),
        "mark_all_read": ("inbox.mark_all_read", {"recipient": "ada", "workflow": "hello"}),
        "mark_archived": ("inbox.mark_archived", {"recipient": "ada", "items": [item]}),
        "record_feedback": (
            "record_feedback",
            {"delivery_id": sent, "kind": "bounced", "source": "s", "event_id": "1", "detail": "100 % ü"},
        ),
        "record_feedback_many": (
            "record_feedback_many",
            {"source": "s", "events": [{"id": "2", "delivery_id": sent, "type": "complained"}]},
        ),
        "cancel": ("cancel", {"run_id": run, "note": "by hand"}),
        "cancel by key": ("cancel", {"cancellation_key": "old"}),
        "forget": ("forget", {"recipient": "ada"}),
    }


def rollback_takes_the_verbs_with_it(lender: Lender, other: Bystander) -> None:
    """After the caller's rollback nothing of any verb is left, nor of the caller's own work."""
    verbs = prepared(lender, other)
    before = other.contents()
    for name, (verb, named) in verbs.items():
        lender.begin()
        lender.sql("insert into orders values (1)")
        assert lender.ask(verb, **named) is not None or verb in _SILENT, name
        lender.rollback()
        assert other.contents() == before, name
    assert other.orders() == 0


def commit_keeps_them(lender: Lender, other: Bystander) -> None:
    """What a verb wrote is seen by others when, and only when, the caller has committed."""
    verbs = prepared(lender, other)
    del verbs["cancel by key"]  # the run has ended by then
    for number, (name, (verb, named)) in enumerate(verbs.items(), 1):
        before = other.contents()
        lender.begin()
        lender.sql("insert into orders values (1)")
        lender.ask(verb, **named)
        assert other.contents() == before, name
        lender.commit()
        assert other.contents() != before, name
        assert other.orders() == number, name


def savepoints_take_only_the_verbs(lender: Lender, other: Bystander) -> None:
    """After a rollback to a savepoint a verb is gone, and the caller's own work is committed."""
    verbs = prepared(lender, other)
    before = other.contents()
    lender.begin()
    lender.sql("insert into orders values (1)")
    for verb, named in verbs.values():
        with suppress(_RegretError), lender.savepoint():
            lender.ask(verb, **named)
            raise _RegretError
    lender.sql("insert into orders values (2)")
    lender.commit()
    assert other.contents() == before
    assert other.orders() == 2


def errors_inside_are_ours(lender: Lender, other: Bystander) -> None:
    """A refusal in a savepoint bears our code, message and hint; the caller goes on and commits the rest."""
    verbs = prepared(lender, other)
    nobody = UUID(int=7)
    refused: list[tuple[type[Exception], str, Verb]] = [
        (UnknownWorkflow, "is not registered", ("trigger", {"workflow": "nobody", "recipients": "a"})),
        (
            IdempotencyConflict,
            "idempotency",
            ("trigger", {"workflow": HELLO, "data": {"n": 2}, "recipients": "a", "idempotency_key": "k"}),
        ),
        (WorkflowRunNotFound, str(nobody), ("cancel", {"run_id": nobody})),
        (InvalidInput, "at is", ("trigger", {"workflow": HELLO, "recipients": "a", "at": FAR_OFF})),
    ]
    signals = other.value("select count(*) from chimeway.signals")
    lender.begin()
    lender.sql("insert into orders values (1)")
    lender.ask("trigger", workflow=HELLO, data={"n": 1}, recipients="a", idempotency_key="k")
    for kind, words, (verb, named) in refused:
        with pytest.raises(kind, match=words) as caught, lender.savepoint():
            lender.ask(verb, **named)
        assert caught.value.__cause__ is not None
        assert caught.value.details["hint"]  # type: ignore[attr-defined]  # each of them is a ChimewayError
    lender.ask(*verbs["signal"][:1], **verbs["signal"][1])
    lender.commit()
    assert other.orders() == 1
    assert other.value("select count(*) from chimeway.signals") == signals + 1


def an_error_without_a_savepoint_aborts(lender: Lender, other: Bystander) -> None:
    """Without a savepoint the transaction is aborted, as the database says, and nothing else ends it."""
    prepared(lender, other)
    before = other.contents()
    lender.begin()
    lender.sql("insert into orders values (1)")
    with pytest.raises(UnknownWorkflow):
        lender.ask("trigger", workflow="nobody", recipients="a")
    with pytest.raises(Exception, match=r"aborted|current transaction"):
        lender.sql("insert into orders values (2)")
    lender.rollback()
    assert other.contents() == before
    assert other.orders() == 0
    assert lender.ask("signal", lent=False, signal_type="read", actor="ada")


def readers_see_the_transaction(lender: Lender, other: Bystander) -> None:
    """On a lent connection the reading verbs see what is not committed yet; on their own they do not."""
    prepared(lender, other)
    lender.begin()
    receipt = lender.ask("trigger", workflow=HELLO, recipients="eve", tenant="org")
    run = receipt.run_ids[0]
    assert lender.ask("get_run", run_id=run, tenant="org").recipient_id == "eve"
    assert lender.ask("explain", run_id=run, tenant="org").why
    assert [each.id for each in lender.ask("list_runs", tenant="org")] == [run]
    for verb in ("waiting", "overdue", "stuck"):
        assert len(lender.ask(verb, tenant="org")) == 0
    assert lender.ask("inbox.unseen_count", recipient="ada") > 0
    assert len(lender.ask("inbox.list", recipient="ada")) > 0
    assert [each["part"] for each in lender.ask("export", recipient="eve", tenant="org")] == ["run"]
    assert lender.ask("export", lent=False, recipient="eve", tenant="org") == []
    with pytest.raises(WorkflowRunNotFound):
        lender.ask("get_run", lent=False, run_id=run, tenant="org")
    lender.rollback()


PLAYS = (
    rollback_takes_the_verbs_with_it,
    savepoints_take_only_the_verbs,
    errors_inside_are_ours,
    an_error_without_a_savepoint_aborts,
    readers_see_the_transaction,
    commit_keeps_them,
)
"""In this order one database serves them all."""

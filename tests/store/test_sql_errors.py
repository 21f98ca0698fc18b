"""Every refusal of every function: SQLSTATE, code, message and hint, whole, and nothing written."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chimeway.store.migrations import schema_sql
from store.plain_sql import contents, plain, register, trigger

GOLDEN = Path(__file__).with_name("sql_errors.golden.txt")
_ID = "00000000-0000-7000-8000-000000000000"
_NEEDY = {
    "key": "needy",
    "version": 1,
    "steps": [
        {"id": "wait", "action": {"type": "wait", "until": {"data": "when"}, "stop_conditions": [
            {"type": "signal_received", "signal_type": "read", "match": {"d": {"data": "document"}}}]}},
        {"id": "tell", "action": {"type": "notify", "channel": "log", "render_key": "k"}},
    ],
}  # fmt: skip


def _definition(steps: str, more: str = "") -> str:
    return (
        f"""select chimeway.register_workflow('{{"key": "k", "version": 1, "steps": {steps}{more}}}', 'd')"""
    )


def _step(inside: str) -> str:
    return _definition(f'[{{"id": "a", {inside}}}]')


def _trigger(rest: str) -> str:
    return f"select chimeway.trigger('mention_escalation', recipient_id => 'ada', {rest})"


def _feedback(inside: str) -> str:
    return f"select * from chimeway.record_feedback('postmark', '[{{{inside}}}]')"


CALLS = (
    # trigger, trigger_many
    "select chimeway.trigger(null, recipient_id => 'ada')",
    "select chimeway.trigger('', recipient_id => 'ada')",
    "select chimeway.trigger('nobody', recipient_id => 'ada')",
    _trigger("workflow_version => 9"),
    "select chimeway.trigger('mention_escalation')",
    "select chimeway.trigger('mention_escalation', recipient_id => repeat('x', 256))",
    _trigger("tenant_id => null"),
    _trigger("data => null"),
    _trigger("data => '[]'"),
    _trigger("data => jsonb_build_object('x', repeat('x', 65536))"),
    _trigger("""data => (repeat('{"x":', 65) || '1' || repeat('}', 65))::jsonb"""),
    _trigger("data => ('{\"x\": ' || repeat('7', 300) || '}')::jsonb"),
    _trigger("idempotency_key => ''"),
    _trigger("cancellation_key => repeat('x', 300)"),
    _trigger("at => 'infinity'"),
    _trigger("idempotency_key => 'used', data => '{\"other\": 1}'"),
    "select chimeway.trigger('mention_escalation', recipient_id => 'eve', idempotency_key => 'used')",
    """select chimeway.trigger('needy', recipient_id => 'ada', idempotency_key => 'used',
        data => '{"document": 1, "when": "2026-01-01T00:00:00Z"}')""",
    "select chimeway.trigger('needy', recipient_id => 'ada')",
    """select chimeway.trigger('needy', recipient_id => 'ada', data => '{"document": 1, "when": "soon"}')""",
    "select * from chimeway.trigger_many('mention_escalation', 't', '{}')",
    "select * from chimeway.trigger_many('mention_escalation', 't', null)",
    "select * from chimeway.trigger_many('mention_escalation', 't', array['a', null])",
    """select * from chimeway.trigger_many('mention_escalation', 't',
        (select array_agg(n::text) from generate_series(1, 1001) n))""",
    # signal
    "select chimeway.signal(null, actor_id => 'ada')",
    "select chimeway.signal('read')",
    "select chimeway.signal('read', '', 'ada')",
    "select chimeway.signal('read', actor_id => 'ada', payload => '1')",
    "select chimeway.signal('read', actor_id => 'ada', payload => null)",
    "select chimeway.signal('read', actor_id => 'ada', dedupe_key => '')",
    """select chimeway.signal('read', repeat(chr(66560), 255), repeat(chr(66561), 255), '{}',
        repeat(chr(66562), 255))""",
    # identify
    "select chimeway.identify()",
    "select chimeway.identify('', 'ada')",
    "select chimeway.identify('t', 'ada', '[]')",
    """select chimeway.identify('t', 'ada', '{"mail": "x"}')""",
    """select chimeway.identify('t', 'ada', '{"email": 1}')""",
    """select chimeway.identify('t', 'ada', '{"data": null}')""",
    """select chimeway.identify('t', 'ada', '{"addresses": []}')""",
    """select chimeway.identify('t', 'ada', '{"timezone": "Mars/Olympus"}')""",
    """select chimeway.identify('t', 'ada', '{"addresses": {"push": 7}}')""",
    """select chimeway.identify('t', 'ada', '{"email": "a@b\\nBcc: eve@example.org"}')""",
    """select chimeway.identify('t', 'ada', '{"locale": ""}')""",
    """select chimeway.identify('t', 'ada', '{"locale": 7}')""",
    """select chimeway.identify('t', 'ada', '{"email": "Ada <ada@example.org>"}')""",
    """select chimeway.identify('t', 'ada', '{"email": ""}')""",
    """select chimeway.identify('t', 'ada', '{"phone": "call me"}')""",
    """select chimeway.identify('t', 'ada', '{"addresses": {"email": "ada"}}')""",
    """select chimeway.identify('t', 'ada', '{"addresses": {"": "t"}}')""",
    """select chimeway.identify('t', 'ada',
        jsonb_build_object('addresses', jsonb_build_object('x', repeat('x', 4097))))""",
    """select chimeway.identify('t', 'ada', '{"preferences": {"channel": {"email": false}}}')""",
    """select chimeway.identify('t', 'ada', '{"preferences": {"caps": [{"channel": "sms", "limit": 0}]}}')""",
    """select chimeway.identify('large', 'ada',
        jsonb_build_object('data', jsonb_build_object('y', repeat('y', 60000))))""",
    # identify_many
    "select chimeway.identify_many('t', '[]')",
    "select chimeway.identify_many('t', null)",
    """select chimeway.identify_many('t', '{"": {}}')""",
    """select chimeway.identify_many('t', '{"ada": {}, "bob": {"email": "b"}}')""",
    """select chimeway.identify_many('t',
        (select jsonb_object_agg(n, '{}'::jsonb) from generate_series(1, 1001) n))""",
    # configure_tenant
    "select chimeway.configure_tenant('')",
    "select chimeway.configure_tenant('t', '[]')",
    """select chimeway.configure_tenant('t', '{"zone": "UTC"}')""",
    """select chimeway.configure_tenant('t', '{"timezone": 1}')""",
    """select chimeway.configure_tenant('t', '{"timezone": "Asia/tokyo"}')""",
    """select chimeway.configure_tenant('t', '{"locale": "de/DE"}')""",
    """select chimeway.configure_tenant('t', '{"working_days": []}')""",
    """select chimeway.configure_tenant('t', '{"working_days": "mon"}')""",
    """select chimeway.configure_tenant('t', '{"working_days": ["mon", "Tue"]}')""",
    """select chimeway.configure_tenant('t', '{"holidays": "2026-12-25"}')""",
    """select chimeway.configure_tenant('t', '{"holidays": ["2026-02-29"]}')""",
    """select chimeway.configure_tenant('t', '{"holidays": [7]}')""",
    """select chimeway.configure_tenant('t',
        jsonb_build_object('holidays', (select jsonb_agg(n) from generate_series(1, 1001) n)))""",
    """select chimeway.configure_tenant('t', '{"preferences": {"quiet_hours": {"from": "22:00"}}}')""",
    # cancel
    "select * from chimeway.cancel()",
    f"select * from chimeway.cancel('{_ID}', cancellation_key => 'k')",
    f"select * from chimeway.cancel('{_ID}')",
    f"select * from chimeway.cancel('{_ID}', null)",
    "select * from chimeway.cancel(cancellation_key => 'k', note => repeat('x', 1001))",
    # mark_inbox
    "select * from chimeway.mark_inbox('t', 'ada', '{}', 'liked')",
    "select * from chimeway.mark_inbox('t', 'ada', '{}', null)",
    "select * from chimeway.mark_inbox('t', null, '{}', 'read')",
    # mark_all_inbox, list_inbox, watch_inboxes
    "select * from chimeway.mark_all_inbox('t', 'ada', 'unread')",
    "select * from chimeway.mark_all_inbox('t', 'ada', null)",
    "select * from chimeway.mark_all_inbox('t', 'ada', 'read', p_limit => 0)",
    "select * from chimeway.list_inbox('t', 'ada', p_limit => 1002)",
    "select * from chimeway.list_inbox('t', '')",
    "select * from chimeway.list_inbox('t', 'ada', '[]')",
    """select * from chimeway.list_inbox('t', 'ada', '{"unseen": "yes"}')""",
    """select * from chimeway.list_inbox('t', 'ada', '{"workflow": ""}')""",
    """select * from chimeway.list_inbox('t', 'ada', '{"since": "yesterday"}')""",
    """select * from chimeway.list_inbox('t', 'ada', '{"archived": "maybe"}')""",
    """select * from chimeway.list_inbox('t', 'ada', '{"archived": null}')""",
    """select * from chimeway.list_inbox('t', 'ada', '{"liked": true}')""",
    f"select * from chimeway.watch_inboxes('{_ID}', '{{t}}', '{{}}')",
    "select * from chimeway.watch_inboxes(null, '{}', '{}')",
    f"select * from chimeway.watch_inboxes('{_ID}', '{{t}}', '{{null}}')",
    # register_workflow
    "select chimeway.register_workflow(null, 'd')",
    "select chimeway.register_workflow('[]', 'd')",
    "select chimeway.register_workflow('{}', 'd')",
    """select chimeway.register_workflow('{"key": 7}', 'd')""",
    """select chimeway.register_workflow('{"key": "k"}', 'd')""",
    """select chimeway.register_workflow('{"key": "k", "version": 1.5}', 'd')""",
    """select chimeway.register_workflow('{"key": "k", "version": 1}', 'd')""",
    _definition("[]"),
    """select chimeway.register_workflow(jsonb_build_object('key', 'k', 'version', 1,
        'steps', (select jsonb_agg(n) from generate_series(1, 101) n)), 'd')""",
    """select chimeway.register_workflow(jsonb_build_object('key', 'k', 'version', 1,
        'steps', repeat('x', 262144)), 'd')""",
    _definition("7", ', "description": ' + "1" * 300),
    _definition('["a"]'),
    _definition('[{"action": {"type": "wait"}}]'),
    _definition('[{"id": "end", "action": {"type": "wait"}}]'),
    _definition('[{"id": "a", "action": {"type": "wait"}}, {"id": "a", "action": {"type": "wait"}}]'),
    _definition('[{"id": "a"}]'),
    _step('"action": {"type": 7}'),
    _step('"action": {"type": "wait"}, "next": "b"'),
    _step('"action": {"type": "wait"}, "next": {"repeat": "b", "times": 2, "then": "end"}'),
    _step('"action": {"type": "wait"}, "next": {"repeat": "a", "times": 2, "then": "b"}'),
    _step('"action": {"type": "wait"}, "next": {"times": 2}'),
    _step('"action": {"type": "notify"}, "progress": {}'),
    _step('"action": {"type": "notify"}, "progress": [{}]'),
    _step('"action": {"type": "notify"}, "progress": [{"kind": "on_outcome", "to_step": "b"}]'),
    _step('"action": {"type": "wait", "stop_conditions": [{"type": "signal_received"}]}'),
    _step('"action": {"type": "wait", "stop_conditions": [{"signal_type": "x", "then": {"goto": "b"}}]}'),
    _step('"action": {"type": "wait", "stop_conditions": [{"signal_type": "x", "match": []}]}'),
    _step(
        '"action": {"type": "wait", "stop_conditions": [{"signal_type": "x", "match": {"f": {"data": 7}}}]}'
    ),
    _step('"action": {"type": "wait", "until": {"data": 7}}'),
    _definition('[{"id": "a", "action": {"type": "wait"}}]', ', "stop_conditions": [7]'),
    """select chimeway.register_workflow('{"key": "k", "version": 1,
        "steps": [{"id": "a", "action": {"type": "wait"}}]}', null)""",
    """select chimeway.register_workflow('{"key": "mention_escalation", "version": 1,
        "steps": [{"id": "a", "action": {"type": "wait"}}]}', 'another digest')""",
    # operators
    f"select chimeway.hold_run('{_ID}', 'why not')",
    f"select chimeway.hold_run('{_ID}', null)",
    f"select chimeway.resume_run('{_ID}', repeat('x', 1001))",
    "select chimeway.pause_workflow('nobody', true)",
    "select chimeway.pause_workflow('mention_escalation', null)",
    "select chimeway.pause_workflow(null, true)",
    f"select chimeway.cancel_runs(array['{_ID}']::uuid[], p_note => repeat('x', 1001))",
    f"select chimeway.retime_runs(array['{_ID}']::uuid[])",
    f"select chimeway.retime_runs(array['{_ID}']::uuid[], '2026-01-05T12:00Z', '1 h')",
    f"select chimeway.retime_runs(array['{_ID}']::uuid[], p_by => '11 years')",
    f"select chimeway.retime_runs(array['{_ID}']::uuid[], p_by => '1 h', p_note => repeat('x', 1001))",
    # retention
    "begin isolation level repeatable read; select chimeway.prune_bodies('90 days')",
    "select chimeway.prune_bodies(null)",
    "select chimeway.prune_signals('-1 day')",
    "select chimeway.prune_events('90 days', 0)",
    # feedback
    "select chimeway.unsubscribe('default', 'ada', 'mention_escalation', '*')",
    """select chimeway.unsubscribe('default', 'ada', 'mention_escalation', lpad(n::text, 255, 'c'))
        from generate_series(1, 250) n""",
    "select * from chimeway.forget_recipient()",
    "select * from chimeway.forget_recipient('default', '')",
    "select * from chimeway.forget_recipient('', 'ada')",
    "select * from chimeway.forget_recipient('default', repeat('x', 256))",
    "select * from chimeway.export_recipient()",
    "select * from chimeway.export_recipient('', 'ada')",
    "select * from chimeway.export_recipient('default', 'ada', 'runs')",
    "select * from chimeway.export_recipient('default', 'ada', 'run', at_most => 0)",
    "select * from chimeway.export_recipient('default', 'ada', 'run', 'x')",
    "select * from chimeway.export_recipient('default', 'ada', 'signal', '-1')",
    "select * from chimeway.export_recipient('default', 'ada', after => '7')",
    "select * from chimeway.record_feedback('', '[]')",
    "select * from chimeway.record_feedback('postmark', '[]', '')",
    "select * from chimeway.record_feedback('postmark', null)",
    "select * from chimeway.record_feedback('postmark', '{}')",
    """select * from chimeway.record_feedback('postmark',
        (select jsonb_agg(n) from generate_series(1, 1001) n))""",
    "select * from chimeway.record_feedback('postmark', '[7]')",
    _feedback('"id": "1", "event": "x"'),
    _feedback('"id": 1'),
    _feedback('"id": "1", "type": "opened"'),
    _feedback('"id": "1", "type": "bounced", "delivery_id": "7"'),
    _feedback('"id": "1", "type": "bounced"'),
    _feedback('"id": "1", "type": "bounced", "provider_reference": 7'),
    _feedback('"id": "1", "type": "bounced", "provider_reference": "r", "at": "soon"'),
    _feedback('"id": "1", "type": "bounced", "provider_reference": "r", "detail": {}'),
    # what is append-only
    "update chimeway.workflow_transitions set note = 'x'",
    "delete from chimeway.workflow_transitions",
    "truncate chimeway.workflow_transitions",
    "begin isolation level serializable; select chimeway.forget_recipient('default', 'ada')",
    # the ledger
    """begin isolation level serializable;
       select chimeway.begin_attempts(null, null, null, null, null, null, null, null, null, null)""",
    f"select chimeway.begin_attempts('{_ID}', 7, null, null, null, null, null, null, null, null)",
    # logins that act for some tenants alone
    """do $$ begin insert into chimeway.producers (role_name, tenant_ids)
       values (session_user, '{org_a,org_c}'); perform chimeway.signal('read', 'org_b', 'ada'); end $$""",
    """do $$ begin insert into chimeway.producers (role_name, tenant_ids)
       values (session_user, '{}'); perform chimeway.trigger('mention_escalation', 'org_b', 'ada'); end $$""",
    # after a restore
    "select * from chimeway.begin_restore('infinity')",
    f"""do $$ begin insert into chimeway.nodes (id, name, version, seen_at)
       values ('{_ID}', 'n', '1', '2026-01-02T00:00:00Z'); set local timezone = 'UTC';
       perform * from chimeway.begin_restore('2026-01-01T00:00:00Z'); end $$""",
)  # fmt: skip


_LARGE = """select chimeway.identify('large', 'ada',
    jsonb_build_object('data', jsonb_build_object('x', repeat('x', 60000))))"""
PLACE = r"perform chimeway\.refuse\('(\w+)', '(CW\d{3})',\s*(?:format\()?('(?:[^']|'')*'|fault)"
"""Where schema.sql refuses: code, SQLSTATE, and what is said."""


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection on a database with two workflows, a run, a used key and a large profile."""
    async with plain(database_url) as connection:
        await register(connection)
        await register(connection, _NEEDY)
        await trigger(connection, "ada", idempotency_key="used")
        await connection.execute(_LARGE)
        yield connection


async def _told(connection: "asyncpg.Connection[Any]", call: str) -> str:
    """Run what must be refused; return what was said, whole."""
    try:
        await connection.execute(call)
    except asyncpg.PostgresError as error:
        said = f"{error.sqlstate} {error.message}\n      hint: {error.hint}"
    else:
        said = "NOT REFUSED"
    if call.startswith("begin"):
        await connection.execute("rollback")
    short = re.sub(r"1{50,}", "1...", re.sub(r"\s+", " ", call))
    return f"{short}\n      {said}\n"


async def test_every_refusal_is_whole_and_writes_nothing(sql: "asyncpg.Connection[Any]") -> None:
    """SQLSTATE, message and hint are those of the golden file (after a change: read it, then keep it)."""
    before = await contents(sql)
    told = [await _told(sql, call) for call in CALLS]
    assert await contents(sql) == before
    text = "\n".join(told)
    fresh = GOLDEN.with_suffix(".new")
    if not GOLDEN.exists() or GOLDEN.read_text("utf-8") != text:
        fresh.write_text(text, "utf-8")
    assert GOLDEN.read_text("utf-8") == text, f"compare {fresh}"
    fresh.unlink(missing_ok=True)


def test_no_meaning_hangs_on_a_callers_setting() -> None:
    """No backslash stands in the schema: standard_conforming_strings would change what it means."""
    assert chr(92) not in schema_sql()


def test_no_refusal_is_left_out() -> None:
    """Each place in schema.sql that refuses is met by one of the golden texts, and each has a hint."""
    golden = GOLDEN.read_text("utf-8")
    assert "hint: None" not in golden
    assert "NOT REFUSED" not in golden
    places = re.findall(
        r"perform chimeway\.refuse\('(\w+)', '(CW\d{3})',\s*(?:format\()?('(?:[^']|'')*'|fault)", schema_sql()
    )
    assert len(places) > 30
    for code, state, template in places:
        if template == "fault":
            continue
        words = re.escape(template.strip("'").replace("''", "'")).replace("%s", ".*")
        assert re.search(f"{state} {code}: {words}", golden), template

"""What becomes of each column when somebody is forgotten: none that could be about a person is left out.

Who adds a column says here what it can hold, and sees to it in `chimeway.forget_recipient` and in the table
of docs/design.md ("Forgetting").
"""

from collections import defaultdict

from store.plain_sql import plain

GONE = {
    "recipients": "tenant_id recipient_id addresses timezone locale preferences data unsubscribed",
    "send_budgets": "tenant_id recipient_id channel sent_at",
    "inbox_items": "tenant_id recipient_id render_key subject body told",
}
"""Rows that are deleted, with what they hold."""
EMPTIED = {
    "events": "idempotency_key recipient_ids data data_digest",
    "workflow_runs": "recipient_id cancellation_key",
    "workflow_transitions": "note",
    "deliveries": "recipient_id address message note waiting_for_node",
    "delivery_attempt_results": "note provider_reference",
    "delivery_feedback": "event_id detail",
    "delivery_verdicts": "inputs",
    "signals": "actor_id payload dedupe_key",
    "request_answers": "fingerprint answer about",
    "operator_actions": "note",
}
"""Columns that are emptied, or bear another name afterwards. (Signals that no mailbox names are deleted.)"""
STAYS = {
    "events": "tenant_id workflow_key traceparent",
    "workflow_runs": "tenant_id workflow_key state step status_reason status_context pending_signals "
    "armed_step held_reason waiting_for_node",
    "workflow_transitions": "reason from_state to_state from_step to_step status_reason context signal_type "
    "inputs",
    "deliveries": "step_id tenant_id channel render_key status suppression_reason last_outcome "
    "last_error_class deferred_reason",
    "delivery_attempts": "provider",
    "delivery_attempt_results": "outcome error_class",
    "delivery_feedback": "source kind",
    "delivery_verdicts": "stage verdict reason",
    "signals": "tenant_id type",
    "request_answers": "tenant_id key_digest",
    "operator_actions": "who action tenant_id workflow_key",
}
"""Columns of his rows that hold ids, words of closed lists and of definitions, and instants (semantics 8)."""
NOBODYS = {
    "console_sessions": "digest",
    "operator_plans": "action tenant_id chosen retimed outcome",
    "api_tokens": "name secret_digest tenant_id scopes made_by revoked_by last_used_on",
    "inbox_watched": "digest",
    "restores": "began_by",
    "restored_deliveries": "decision decided_by",
    "producers": "role_name tenant_ids changed_by",
    "nodes": "name version channels",
    "pruning": "part",
    "schema_version": "program",
    "tenants": "tenant_id timezone locale working_days holidays preferences",
    "workflow_definitions": "key digest definition signal_types required_data match_fields data_schema",
}
"""Tables in which nobody has rows. (`inbox_watched` goes by itself.)"""
TYPES = ("text", "jsonb", "json", "bytea", "ARRAY", "date", "character varying", "xml", "inet")
"""What a column must be of to hold more than ids, numbers and instants of the machinery."""
OF_IDS = {"run_ids", "revisions"}


async def test_each_column_has_a_fate(database_url: str) -> None:
    """The schema and this list agree, column by column."""
    async with plain(database_url) as connection:
        rows = await connection.fetch(
            """select c.table_name::text as of, c.column_name::text as name from information_schema.columns c
                where c.table_schema = 'chimeway' and c.data_type = any($1) order by 1, 2""",
            list(TYPES),
        )
    there: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["name"] not in OF_IDS:
            there[row["of"]].add(row["name"])
    told: dict[str, set[str]] = defaultdict(set)
    for fates in (GONE, EMPTIED, STAYS, NOBODYS):
        for table, columns in fates.items():
            assert not told[table] & set(columns.split()), table
            told[table] |= set(columns.split())
    assert there == told

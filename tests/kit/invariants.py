"""What must hold of the rows after any fault: `verify`, and beside it SQL of the tests' own."""

from datetime import timedelta

from chimeway.store.pool import open_database
from chimeway.store.verify import verify
from kit.rows import Rows
from kit.smtp import Sink

AT_LEISURE = timedelta(minutes=1)
"""How late a run may be where a slow machine plays it, or the test itself, by hand."""

_NONE_OF: dict[str, str] = {
    "transitions are numbered without gaps": """
        select run_id from chimeway.workflow_transitions group by run_id
        having min(seq) <> 1 or max(seq) <> count(*)""",
    "the last transition is the run's row": """
        select r.id from chimeway.workflow_runs r
          join lateral (select * from chimeway.workflow_transitions t
                         where t.run_id = r.id order by seq desc limit 1) t on true
         where (r.state, r.visit, r.status_reason, r.transition_count)
               is distinct from (t.to_state, t.visit, t.status_reason, t.seq)
            or r.step is distinct from t.to_step or r.status_context is distinct from t.context""",
    "each visit of a notify step has one delivery, and no other visit has": """
        select t.run_id from chimeway.workflow_transitions t
          join chimeway.workflow_runs r on r.id = t.run_id
          join chimeway.workflow_definitions w on (w.key, w.version) = (r.workflow_key, r.workflow_version)
          cross join lateral jsonb_array_elements(w.definition -> 'steps') s
          left join chimeway.deliveries d on d.run_id = t.run_id and d.visit = t.visit
         where t.reason = 'step_activated' and s ->> 'id' = t.to_step
           and (s #>> '{action,type}' = 'notify') <> (d.id is not null)""",
    "an attempt has a result, and the delivery counts it": """
        select d.id from chimeway.deliveries d
          left join chimeway.delivery_attempts a on a.delivery_id = d.id
          left join chimeway.delivery_attempt_results x
            on x.delivery_id = d.id and x.attempt_no = a.attempt_no
         where d.terminal_at is not null
         group by d.id, d.attempt_count
        having d.attempt_count <> count(a.attempt_no) or d.attempt_count <> count(x.attempt_no)""",
    "only what is under way lacks an end": """
        select d.id from chimeway.deliveries d join chimeway.workflow_runs r on r.id = d.run_id
         where r.ended_at is not null and d.terminal_at is null and d.status <> 'dispatched'""",
    "no wait elapsed whose stop its guard could see": """
        select t.run_id from chimeway.workflow_transitions t
          join chimeway.run_mailbox b on b.run_id = t.run_id
          join chimeway.signals s on s.id = b.signal_id
         where t.reason = 'reactivated_from_wait' and s.type = 'notification_read'
           and pg_visible_in_snapshot(s.xid, t.snapshot)""",
    "no first attempt after a stop that it could see": """
        select a.run_id from chimeway.delivery_attempts a
          join chimeway.run_mailbox b on b.run_id = a.run_id
          join chimeway.signals s on s.id = b.signal_id
         where a.attempt_no = 1 and s.type = 'notification_read'
           and pg_visible_in_snapshot(s.xid, a.snapshot)""",
}


async def assert_invariants(url: str, rows: Rows) -> None:
    """Assert all of them, and those of `chimeway verify`."""
    for rule, sql in _NONE_OF.items():
        broken = await rows.all(sql)
        assert not broken, f"not so: {rule}: {len(broken)} of them, such as {broken[0]}"
    async with open_database(url) as database:
        assert await verify(database, max_lateness=AT_LEISURE) == []


async def assert_mails_fit(rows: Rows, sink: Sink) -> None:
    """Assert that what the provider took is what the rows say was sent: not less, not more."""
    sent = await rows.all(
        "select id::text from chimeway.deliveries where channel = 'email' and status = 'succeeded'"
    )
    assert sink.deliveries() >= {row["id"] for row in sent}, "a row says sent, and nothing arrived"
    begun = await rows.all("""
        select d.id::text, d.attempt_count from chimeway.deliveries d where d.attempt_count > 0""")
    attempts = {row["id"]: row["attempt_count"] for row in begun}
    for delivery in sink.deliveries():
        arrived = sum(mail.delivery_id == delivery for mail in sink.mails)
        assert arrived <= attempts.get(delivery, 0), f"{delivery} arrived {arrived} times"

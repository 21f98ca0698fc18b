"""The producers' verbs as SQL with its arguments: pure text, shared by every kind of client.

Arguments are text and are cast in SQL (lists and objects are JSON), so that a caller's own codecs never
matter. Places are `$1`, `$2`, ...; a client whose driver writes them otherwise rewrites them.
Values are taken as they are: who calls has checked them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.store.call import Statement, json_text, statement

_TRIGGER: Final = """
select t.recipient_id, t.run_id, t.known
  from chimeway.trigger_many($1::text, $2::text, array(select jsonb_array_elements_text($3::text::jsonb)),
                             $4::text::jsonb, $5::text, $6::text::int, $7::text, $8::text::timestamptz) t
"""

# Profiles are written with a new trigger only: a late retry must not bring an old profile back.
_TRIGGER_AND_IDENTIFY: Final = """
with t as materialized (
    select t.recipient_id, t.run_id, t.known, t.n
      from chimeway.trigger_many($1::text, $2::text, array(select jsonb_array_elements_text($3::text::jsonb)),
                                 $4::text::jsonb, $5::text, $6::text::int, $7::text, $8::text::timestamptz)
           with ordinality t(recipient_id, run_id, known, n)
), i as materialized (
    select count(chimeway.identify($2::text, p.key, p.value)::text) as written
      from (select p.key, p.value from t join jsonb_each($9::text::jsonb) p on p.key = t.recipient_id
             where not t.known order by p.key) p
)
select t.recipient_id, t.run_id, t.known from t cross join i order by t.n
"""

_TRIGGER_EACH: Final = """
select o.place, t.recipient_id, t.run_id, t.known
  from (select (e.value ->> 'place')::int as place, e.value as item
          from jsonb_array_elements($3::text::jsonb) e) o
 cross join lateral chimeway.trigger_many($1::text, $2::text,
        array(select jsonb_array_elements_text(o.item -> 'recipients')), o.item -> 'data',
        o.item ->> 'idempotency_key', $4::text::int, o.item ->> 'cancellation_key',
        (o.item ->> 'at')::timestamptz) t
"""

_KEY: Final = "($1::text,"
"""How the call of `trigger_many` begins: with the workflow's key."""

_SIGNAL: Final = """
select chimeway.signal($1::text, $2::text, $3::text, $4::text::jsonb, $5::text) as id
"""

_SIGNAL_EACH: Final = """
select (s.value ->> 'place')::int as place,
       chimeway.signal(s.value ->> 'type', $1::text, s.value ->> 'actor', s.value -> 'payload',
                       s.value ->> 'dedupe_key') as id
  from jsonb_array_elements($2::text::jsonb) s
"""

_IDENTIFY: Final = """
select chimeway.identify($1::text, $2::text, $3::text::jsonb)::text
"""

_UNSUBSCRIBE: Final = """
select chimeway.unsubscribe($1::text, $2::text, $3::text, $4::text, $5::text::uuid) as known
"""

_RESUBSCRIBE: Final = """
select chimeway.resubscribe($1::text, $2::text, $3::text, $4::text, $5::text::uuid) as known
"""

_IDENTIFY_MANY: Final = """
select chimeway.identify_many($1::text, $2::text::jsonb) as written
"""

_CONFIGURE_TENANT: Final = """
select chimeway.configure_tenant($1::text, $2::text::jsonb)::text
"""

_CANCEL: Final = """
select c.stopped_run_id, c.outcome, c.state, c.step, c.cancelled, c.on_their_way
  from chimeway.cancel($1::text::uuid, $2::text, $3::text, $4::text) c
"""

_REGISTER: Final = """
select chimeway.register_workflow($1::text::jsonb, $2::text) as registered
"""

_REGISTER_WITH_SCHEMA: Final = """
select chimeway.register_workflow_and_schema($1::text::jsonb, $2::text, $3::text::jsonb) as registered
"""

_RECORD_FEEDBACK: Final = """
select f.place, f.event_id, f.delivery_id, f.answer
  from chimeway.record_feedback($1::text, $2::text::jsonb, $3::text, $4::text::boolean) f
"""


@dataclass(frozen=True, slots=True)
class Order:
    """One trigger, checked: who, what about, and under which keys."""

    recipients: tuple[str, ...]
    data: Mapping[str, Any]
    idempotency_key: str | None = None
    cancellation_key: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One signal, checked."""

    type: str
    actor: str
    payload: Mapping[str, Any]
    dedupe_key: str | None = None


def trigger(
    workflow: str,
    version: int | None,
    tenant: str,
    order: Order,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Statement:
    """Return the trigger of one event; `profiles` are written by the same statement."""
    args = (
        workflow, tenant, order.recipients, json_text(order.data), order.idempotency_key,
        version, order.cancellation_key, order.at,
    )  # fmt: skip
    if not profiles:
        return statement(_TRIGGER, *args)
    return statement(_TRIGGER_AND_IDENTIFY, *args, json_text(profiles))


def trigger_each(workflow: str, version: int | None, tenant: str, orders: Sequence[Order]) -> Statement:
    """Return the trigger of many events; rows bear the place of their order.

    They are written in the order of their keys, so that two callers never wait for each other.
    """
    items = [
        {
            "place": place,
            "recipients": order.recipients,
            "data": order.data,
            "idempotency_key": order.idempotency_key,
            "cancellation_key": order.cancellation_key,
            "at": None if order.at is None else order.at.isoformat(),
        }
        for place, order in enumerate(orders)
    ]
    items.sort(key=lambda item: str(item["idempotency_key"] or ""))
    return statement(_TRIGGER_EACH, workflow, tenant, json_text(items), version)


def traced(asked: Statement, traceparent: str | None) -> Statement:
    """Return a trigger that also says whose trace it belongs to, until the end of its transaction.

    The function's argument says it: arguments are known before it is called.
    """
    if traceparent is None:
        return asked
    said = f"set_config('chimeway.traceparent', ${len(asked.args) + 1}::text, true)"
    sql = asked.sql.replace(_KEY, f"(case when {said} is not null then $1::text end,", 1)
    assert sql != asked.sql, "a trigger names its workflow first"
    return Statement(sql, (*asked.args, traceparent))


def signal(tenant: str, fact: Fact) -> Statement:
    """Return the record of one signal."""
    payload = json_text(fact.payload)
    return statement(_SIGNAL, fact.type, tenant, fact.actor, payload, fact.dedupe_key)


def signal_each(tenant: str, facts: Sequence[Fact]) -> Statement:
    """Return the record of many signals, in the order of their keys; rows bear their place."""
    items = [
        {
            "place": place,
            "type": fact.type,
            "actor": fact.actor,
            "payload": fact.payload,
            "dedupe_key": fact.dedupe_key,
        }
        for place, fact in enumerate(facts)
    ]
    items.sort(key=lambda item: (str(item["actor"]), str(item["dedupe_key"] or "")))
    return statement(_SIGNAL_EACH, tenant, json_text(items))


def identify(tenant: str, recipient: str, profile: Mapping[str, Any]) -> Statement:
    """Return the writing of a profile."""
    return statement(_IDENTIFY, tenant, recipient, json_text(profile))


def unsubscribe(
    tenant: str, recipient: str, workflow: str, channel: str, delivery_id: UUID | None
) -> Statement:
    """Return the writing of a preference: no more of this; a link's with the delivery that bore it."""
    return statement(_UNSUBSCRIBE, tenant, recipient, workflow, channel, delivery_id)


def resubscribe(
    tenant: str, recipient: str, workflow: str, channel: str, delivery_id: UUID | None
) -> Statement:
    """Return the taking back of what `unsubscribe` wrote."""
    return statement(_RESUBSCRIBE, tenant, recipient, workflow, channel, delivery_id)


def identify_many(tenant: str, profiles: Mapping[str, Mapping[str, Any]]) -> Statement:
    """Return the writing of many profiles, by recipient."""
    return statement(_IDENTIFY_MANY, tenant, json_text(profiles))


def configure_tenant(tenant: str, settings: Mapping[str, Any]) -> Statement:
    """Return the writing of what holds for a tenant."""
    return statement(_CONFIGURE_TENANT, tenant, json_text(settings))


def cancel(tenant: str, *, run_id: UUID | None, cancellation_key: str | None, note: str | None) -> Statement:
    """Return the cancelling of a run, or of all that bear a key."""
    return statement(_CANCEL, run_id, tenant, note, cancellation_key)


def register(
    definition: Mapping[str, Any], digest: str, data_schema: Mapping[str, Any] | None = None
) -> Statement:
    """Return the registration of a definition in its canonical form, and of its data's JSON Schema."""
    if data_schema is None:
        return statement(_REGISTER, json_text(definition), digest)
    return statement(_REGISTER_WITH_SCHEMA, json_text(definition), digest, json_text(data_schema))


def record_feedback(
    source: str, events: Sequence[Mapping[str, Any]], tenant: str | None, *, patient: bool
) -> Statement:
    """Return the record of what a provider told; rows bear the place of their event."""
    return statement(_RECORD_FEEDBACK, source, json_text(events), tenant, patient)

"""Each outcome of a delivery drives a rule: a real daemon, by SMTP to a server that fails as it is told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimeway.store.pool import open_database
from chimeway.store.verify import verify
from chimeway.testing.faults import FaultKind
from chimeway.testing.faulty_smtp import FaultySmtp
from kit.daemon import running_daemon
from kit.home import TEMPLATES, home, in_app, workflow
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

FAULTS: tuple[FaultKind, ...] = ("error_500", "permanent", "bounce", "close_before_reply")
PEOPLE = ("ok", *FAULTS)
"""Each person's mail meets the fault of that name; `nobody` has no address."""


def on_outcome(outcome: str, **more: Any) -> dict[str, Any]:
    """Return the rule that goes on to the in-app message."""
    return {"kind": "on_outcome", "outcome": outcome, "to_step": "then", **more}


def stop(outcome: str) -> dict[str, Any]:
    """Return the rule that stops."""
    return {"kind": "stop", "outcome": outcome}


@dataclass(frozen=True, slots=True)
class Case:
    """Whose mail fails on which channel, the rule, and how run and mail end."""

    who: str
    rule: Mapping[str, Any]
    state: str
    ends: tuple[str, str | None]
    channel: str = "email"
    outcome: str | None = field(default=None)
    """As the transition tells it; None: as the rule's."""


CASES: dict[str, Case] = {
    "delivered_on": Case("ok", on_outcome("delivered"), "completed", ("succeeded", None)),
    "delivered_stop": Case("ok", stop("delivered"), "stopped", ("succeeded", None)),
    "suppressed_on": Case("nobody", on_outcome("suppressed"), "completed", ("suppressed", "no_address")),
    "suppressed_stop": Case("nobody", stop("suppressed"), "stopped", ("suppressed", "no_address")),
    "temporary_on": Case(
        "error_500", on_outcome("temporary_failure"), "completed", ("cancelled", "superseded")
    ),
    "temporary_kept": Case(
        "error_500", on_outcome("temporary_failure", keep_retrying=True), "completed", ("failed", None)
    ),
    "temporary_stop": Case("error_500", stop("temporary_failure"), "stopped", ("cancelled", "run_stopped")),
    "unknown_on": Case(
        "close_before_reply", on_outcome("temporary_failure"), "completed", ("cancelled", "superseded")
    ),
    "exhausted_on": Case(
        "error_500", on_outcome("retries_exhausted"), "completed", ("cancelled", "retries_exhausted"), "once"
    ),
    "exhausted_stop": Case(
        "error_500", stop("retries_exhausted"), "stopped", ("cancelled", "retries_exhausted"), "once"
    ),
    "permanent_on": Case(
        "permanent", on_outcome("permanent_failure"), "completed", ("cancelled", "permanent_failure")
    ),
    "permanent_stop": Case(
        "permanent", stop("permanent_failure"), "stopped", ("cancelled", "permanent_failure")
    ),
    "bounced_on": Case("bounce", on_outcome("bounced"), "completed", ("cancelled", "bounced")),
    "bounced_stop": Case("bounce", stop("bounced"), "stopped", ("cancelled", "bounced")),
    "exhausted_at_once": Case(
        "error_500", on_outcome("temporary_failure"), "completed", ("cancelled", "retries_exhausted"), "once",
        outcome="retries_exhausted",
    ),
}  # fmt: skip
"""`exhausted_at_once`: what is terminal when it is looked at has only its terminal outcome."""
FAILED = "select status = 'failed' from chimeway.deliveries where run_id::text = $1 and visit = 1"
FORGOTTEN = [on_outcome("bounced"), on_outcome("retries_exhausted"), stop("permanent_failure")]
FORGET = """
with d as (update chimeway.deliveries
              set status = 'cancelled', suppression_reason = 'recipient_forgotten',
                  terminal_at = clock_timestamp(), next_attempt_at = null, revision = revision + 1
            where status = 'failed' and run_id::text = $1 returning run_id)
update chimeway.workflow_runs set wake_at = clock_timestamp() where id in (select run_id from d)
returning id"""


def _journey(key: str, channel: str, *rules: Mapping[str, Any]) -> dict[str, Any]:
    action = {"type": "notify", "channel": channel, "render_key": "mention_email"}
    return workflow({"id": "first", "action": action, "progress": list(rules)}, in_app("then"), key=key)


async def _begin(rows: Rows) -> dict[str, str]:
    for who in PEOPLE:
        profile = {"email": f"{who}@example.org", "addresses": {"once": f"{who}@example.org"}}
        await rows.value("select chimeway.identify('default', $1, $2::jsonb)", who, profile)
    sql = "select chimeway.trigger($1, recipient_id => $2)"
    return {key: str(await rows.value(sql, key, case.who)) for key, case in CASES.items()}


async def _went_right(rows: Rows, run_id: str, key: str) -> None:
    case = CASES[key]
    if case.ends[0] == "failed":
        await wait_for(lambda: rows.value(FAILED, run_id), "its mail is tried on")
    first, *then = await rows.deliveries(run_id)
    assert (first["status"], first["suppression_reason"]) == case.ends, key
    run, outcome = await rows.run(run_id), case.outcome or case.rule["outcome"]
    led = run["state"] == "completed" and case.outcome is None
    assert [one["step_id"] for one in then] == (["then"] if led else []), key
    told = [t for t in await rows.transitions(run_id) if t["context"].get("workflow_outcome")]
    assert told[0]["context"]["workflow_outcome"] == outcome, key
    evidence = told[0]["context"]["evidence"]
    assert evidence.get("error_class") == first["last_error_class"], key


async def _an_end_without_outcome_matches_no_rule(rows: Rows) -> None:
    """One that is cancelled for a reason of another kind leads to the end of its step, by no rule."""
    run_id = str(await rows.value("select chimeway.trigger('forgotten', recipient_id => 'error_500')"))
    await wait_for(lambda: rows.value(FORGET, run_id), "it has failed, and is forgotten")
    await rows.until(run_id, "completed")
    assert [one["step_id"] for one in await rows.deliveries(run_id)] == ["first"]
    assert (await rows.transitions(run_id))[-1]["context"].get("workflow_outcome") is None


async def test_each_outcome_drives_its_rules(database_url: str, tmp_path: Path) -> None:
    """As on_outcome and as stop; a failure that is not the last counts as such, and only until the last."""
    templates = TEMPLATES | {"mention_email.once.j2": TEMPLATES["mention_email.email.j2"]}
    journeys = [_journey(key, case.channel, case.rule) for key, case in CASES.items()]
    made = home(tmp_path, *journeys, _journey("forgotten", "email", *FORGOTTEN), templates=templates)
    async with FaultySmtp() as server, rows_of(database_url) as rows:
        for kind in FAULTS:
            server.fail_if(lambda mail, kind=kind: mail.recipients == (f"{kind}@example.org",), kind)  # type: ignore[misc]
        smtp = [{"kind": "smtp", "url": server.url}]
        channels = {
            "email": {"breaker_failures": 0, "providers": smtp},
            "once": {"breaker_failures": 0, "max_attempts": 1, "providers": smtp},
        }
        await rows.put_retries_off()
        async with running_daemon(database_url, made, CHANNELS=json.dumps(channels)) as daemon:
            runs = await _begin(rows)
            for key, run_id in runs.items():
                await rows.until(run_id, CASES[key].state)
                await _went_right(rows, run_id, key)
            await _an_end_without_outcome_matches_no_rule(rows)
            assert await daemon.stopped() == 0
        async with open_database(database_url) as database:
            assert await verify(database) == []

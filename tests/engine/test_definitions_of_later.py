"""A definition of a later program, which this one cannot read: its runs wait for a node that can."""

import json

from kit.home import workflow
from kit.machine import Provider, running_machine
from kit.waiting import wait_for

PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
LATER = workflow({"id": "dusk", "action": {"type": "wait", "until": {"sunset": "civil"}}}, PUSH)
NOW = {**LATER, "steps": [{"id": "dusk", "action": {"type": "wait", "duration": "PT0.01S"}}, PUSH]}
REGISTER = "select chimeway.register_workflow($1::text::jsonb, 'digest')"
REWRITE = "update chimeway.workflow_definitions set definition = $1::text::jsonb returning key"
START = "select chimeway.trigger('mention_escalation', recipient_id => $1, data => '{\"document\": 7}')"


async def test_its_runs_wait_for_a_node_that_reads_it(database_url: str) -> None:
    """They are listed as waiting and harm nobody; a node that reads the definition takes them up unasked."""
    push = Provider()
    async with running_machine(database_url, push, definitions=()) as on:
        await on.rows.value(REGISTER, json.dumps(LATER))
        run_id = await on.rows.value(START, "ada")

        async def listed() -> bool:
            return bool((await on.rows.run(run_id))["waiting_for_node"] == "definition_format")

        await wait_for(listed, "the run waits for a node")
        other = workflow(PUSH) | {"key": "other"}
        await on.rows.value(REGISTER, json.dumps(other))
        beside = await on.rows.value(START.replace("mention_escalation", "other"), "bob")
        await on.rows.until(beside, "completed")
        assert (await on.rows.run(run_id))["state"] == "active"
    async with running_machine(database_url, push, definitions=()) as on:
        row = await on.rows.run(run_id)
        assert (row["waiting_for_node"], row["held_reason"]) == ("definition_format", None)
        await on.rows.value(REWRITE + " -- as the later program reads it", json.dumps(NOW))
    async with running_machine(database_url, push, definitions=()) as on:
        await on.rows.until(run_id, "completed")
    assert [message.recipient_id for message in push.messages] == ["bob", "ada"]

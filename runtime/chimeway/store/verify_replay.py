"""I10: every decision, made again by the core from what it wrote down, comes out the same."""

from collections.abc import Sequence
from uuid import UUID

from chimeway.store.pool import Connection
from chimeway.store.replaying import Definitions, replayed
from chimeway.store.verify_findings import Findings


async def check_decisions(
    connection: Connection, ids: Sequence[UUID], definitions: Definitions, findings: Findings
) -> None:
    """Replay every decision of a page of runs, and find those that come out differently.

    Args:
        connection: in a transaction.
        ids: of the runs.
        definitions: theirs; a decision without is passed over.
        findings: where breaches go.
    """
    async for each in replayed(connection, ids, definitions):
        if each.verdict == "different":
            findings.add("decisions", each.run_id, f"decision {each.decision_id}: {each.fault}")

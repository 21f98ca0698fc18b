"""What `chimeway replay` asks: the decisions of one run, or of all runs, made again.

All runs are walked as `verify` walks them: page by page in the order of their ids, one page in one snapshot,
nothing written and no more than one decision held. The id of a page's last run is a place to go on from.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from chimeway.store import callers, reads
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Database
from chimeway.store.replaying import Replayed, Verdict, replayed
from chimeway.store.verify import PAGE, definitions_of, snapshot
from chimeway.store.verify_walks import Scope, run_pages
from chimeway.store.views import RunView
from chimeway.store.words import in_our_words


@dataclass(slots=True)
class Replay:
    """How far a replay of many runs has come: runs, their decisions by verdict, and the last run."""

    runs: int = 0
    decisions: Counter[Verdict] = field(default_factory=Counter)
    place: UUID | None = None


async def replay_run(database: Database, run_id: UUID, tenant: str) -> tuple[RunView, list[Replayed]]:
    """Return a run, and all its decisions made again, in order.

    Raises:
        WorkflowRunNotFound: this tenant has no such run.
        DatabaseUnavailable: it cannot be reached.
    """
    run = await callers.run(database, reads.get_run(tenant, run_id))
    with in_our_words():
        definition = await Catalogue(database).get(run.workflow_key, run.workflow_version)
        definitions = {(run.workflow_key, run.workflow_version): definition}
        async with snapshot(database) as connection:
            return run, [each async for each in replayed(connection, [run.id], definitions)]


async def replay_all(
    database: Database,
    scope: Scope,
    found: Callable[[Replayed], None],
    progress: Callable[[Replay], None],
    *,
    come: Replay | None = None,
    page: int = PAGE,
) -> Replay:
    """Make the decisions of many runs again.

    Args:
        database: where; nothing is written there.
        scope: of which runs.
        found: told of each decision that comes out differently.
        progress: told, after each page, how far it has come.
        come: where an earlier replay had come to, behind whose place this one goes on; it is counted up.
        page: runs read at once, in one snapshot.

    Returns:
        how far it has come: how many runs and decisions there were.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    come = come or Replay()
    catalogue = Catalogue(database)
    with in_our_words():
        async for runs in run_pages(database, scope, page, come.place or UUID(int=0)):
            definitions = await definitions_of(catalogue, runs)
            async with snapshot(database) as connection:
                async for each in replayed(connection, [run["id"] for run in runs], definitions):
                    come.decisions[each.verdict] += 1
                    if each.verdict == "different":
                        found(each)
            come.runs += len(runs)
            come.place = runs[-1]["id"]
            progress(come)
    return come

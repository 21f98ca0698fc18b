"""`chimeway nodes`: who works here, since when, and with how much of all work."""

import sys

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, examples
from chimeway.cli.printing import print_json, print_sentence
from chimeway.cli.tables import print_table
from chimeway.client.chimeway import Chimeway
from chimeway.store import whereabouts
from chimeway.store.whereabouts import ListedNode

app = typer.Typer(rich_markup_mode=None)
_COLUMNS = ("NODE", "STATE", "SHARDS", "SUSPECT", "LEASE", "STARTED", "SEEN", "VERSION")


@app.command(epilog=examples("chimeway nodes", "chimeway nodes --json || page-somebody"))
def nodes(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List nodes and their shards; exit 1 if some are nobody's."""

    async def ask(client: Chimeway) -> tuple[list[ListedNode], str]:
        return await whereabouts.listed_nodes(client.database), await whereabouts.ownerless(client.database)

    found, ownerless = session.run(database_url, ask)
    if as_json:
        print_json({"nodes": found, "ownerless_shards": ownerless or None})
    else:
        print_table(_COLUMNS, (_row(node) for node in found), nothing="no node is on the list")
        if ownerless:
            print_sentence(
                f"No node that lives has shards {ownerless}: others take them within seconds; if there are "
                "none, start one (chimeway serve)."
            )
    sys.exit(1 if ownerless else 0)


def _row(node: ListedNode) -> tuple[object, ...]:
    return (
        node.name, node.state, node.shards, node.suspect, node.lease_since, node.started_at, node.seen_at,
        node.version,
    )  # fmt: skip

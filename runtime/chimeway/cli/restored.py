"""`chimeway deliveries restored|release|drop`: what is held after a restore, and what becomes of it."""

import sys
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from uuid import UUID

import typer

from chimeway.cli import logged_in, session
from chimeway.cli.confirming import confirm
from chimeway.cli.options import AsJson, DatabaseUrl, EveryTenant, Limit, Yes, examples
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.cli.tables import print_table
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.finding import many
from chimeway.store import restoring
from chimeway.store.acting import Operator
from chimeway.store.restoring import Decided, Restored, Which

app = typer.Typer(rich_markup_mode=None)
_REFUSED: Final = 3
Workflow = Annotated[str | None, typer.Option(help="Only those of this workflow.", show_default=False)]
Channel = Annotated[str | None, typer.Option(help="Only those on this channel.", show_default=False)]
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[DELIVERY_ID]...", help="Which, as `deliveries restored` says.", show_default=False
    ),
]
Every = Annotated[bool, typer.Option("--all", help="All that are held (of --tenant, --workflow, --channel).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --all: count them, and do nothing.")]
_DONE: Final[Mapping[Literal["release", "drop"], Decided]] = {"release": "released", "drop": "dropped"}
_WHY: Final = {
    "ended": "it has come to its end otherwise",
    "decided": "that was decided before",
    "gone": "no message of this id was ever held",
}


@app.command(epilog=examples("chimeway deliveries restored", "chimeway deliveries restored --json"))
def restored(
    workflow: Workflow = None,
    channel: Channel = None,
    tenant: EveryTenant = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List messages that are held after a restore: each may have been sent after the backup was taken."""

    async def ask(client: Chimeway) -> list[Restored]:
        return await restoring.held(client.database, Which(tenant, workflow, channel), limit)

    found = session.run(database_url, ask)
    if as_json:
        print_json({"items": found})
        return
    print_table(
        ("DELIVERY", "TENANT", "RECIPIENT", "WORKFLOW", "STEP", "CHANNEL", "PLANNED", "ATTEMPTS"),
        (
            (row.delivery_id, row.tenant_id, row.recipient_id, row.workflow, row.step, row.channel,
             row.planned_at, row.attempt_count)
            for row in found
        ),
        nothing="no message is held after a restore",
    )  # fmt: skip


@app.command(
    epilog=examples(
        "chimeway deliveries release 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21",
        "chimeway deliveries release --all --workflow invoice",
    )
)
def release(
    delivery_ids: Ids = None,
    *,
    every: Every = False,
    workflow: Workflow = None,
    channel: Channel = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    tenant: EveryTenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Send messages that are held after a restore: they had not been sent, or may be sent again.

    What their journeys send later is held no more. --all of them are counted first, and asked about.
    """
    which = Which(tenant, workflow, channel) if every else None
    _decide("release", delivery_ids, which, database_url, dry=dry_run, yes=yes, as_json=as_json)


@app.command(
    epilog=examples(
        "chimeway deliveries drop 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21",
        "chimeway deliveries drop --all --channel sms",
    )
)
def drop(
    delivery_ids: Ids = None,
    *,
    every: Every = False,
    workflow: Workflow = None,
    channel: Channel = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    tenant: EveryTenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give up messages that are held after a restore: they had been sent. Their journeys go on.

    What these plan next is held as well, for it may have been sent, too. --all of them are counted first,
    and asked about.
    """
    which = Which(tenant, workflow, channel) if every else None
    _decide("drop", delivery_ids, which, database_url, dry=dry_run, yes=yes, as_json=as_json)


def _decide(
    verb: Literal["release", "drop"], texts: list[str] | None, which: Which | None, database_url: str | None,
    *, dry: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    if (which is None) == (not texts):
        raise typer.BadParameter("give the ids of deliveries, or --all")
    if dry and which is None:
        raise typer.BadParameter("--dry-run counts what --all would decide about: give both")
    who = logged_in.operator(None)
    ids = [checks.uuid("delivery_id", text) for text in dict.fromkeys(texts or ())]

    async def ask(client: Chimeway) -> list[tuple[UUID, Decided]] | int:
        if which is None:
            return await restoring.decide(client.database, who, ids, release=verb == "release")
        counted = [page async for page in restoring.pages(client.database, which)]
        found = sum(map(len, counted))
        if dry or not found:
            return found
        if not yes:
            confirm(f"{many(found, 'message')}, held after a restore. {verb.capitalize()} them?")
        return await _decided(client, who, counted, release=verb == "release")

    done = session.run(database_url, ask)
    if isinstance(done, int):
        _tell_counted(done, verb, as_json=as_json)
    else:
        _tell(done, verb, by_id=which is None, as_json=as_json)


async def _decided(
    client: Chimeway, who: Operator, counted: list[list[UUID]], *, release: bool
) -> list[tuple[UUID, Decided]]:
    """Decide about just what was counted, a page in a transaction."""
    done: list[tuple[UUID, Decided]] = []
    found = sum(map(len, counted))
    with progress("deciding") as tell:
        for page in counted:
            done += await restoring.decide(client.database, who, page, release=release)
            tell(f"{len(done)} of {found}")
    return done


def _tell_counted(found: int, verb: Literal["release", "drop"], *, as_json: bool) -> None:
    if as_json:
        print_json({_DONE[verb]: 0, "chosen": found, "refused": []})
    else:
        print_line(f"{many(found, 'message')}; nothing was done.")


def _tell(
    done: list[tuple[UUID, Decided]], verb: Literal["release", "drop"], *, by_id: bool, as_json: bool
) -> None:
    wanted = _DONE[verb]
    others = {each: answer for each, answer in done if answer != wanted} if by_id else {}
    counts = Counter(answer for _, answer in done)
    if as_json:
        told = [{"delivery_id": each, "answer": answer} for each, answer in others.items()]
        print_json({wanted: counts[wanted], "chosen": len(done), "refused": told})
    else:
        print_line(f"{counts[wanted]} {wanted}")
        for each, answer in others.items():
            print(f"{each} is not {wanted}: {_WHY.get(answer, answer)}", file=sys.stderr)
    sys.exit(_REFUSED if others else 0)

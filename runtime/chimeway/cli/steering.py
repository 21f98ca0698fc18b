"""`chimeway cancel`, `hold`, `resume`: what an operator does to runs."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import typer

from chimeway.cli import finding, logged_in, session
from chimeway.cli.options import AsJson, DatabaseUrl, Note, RunId, Tenant, examples
from chimeway.cli.printing import print_json, print_line, progress, shown
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.results import Cancellation
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.errors import ChimewayError
from chimeway.store import acting
from chimeway.store.acting import Operator, RunNotHeld, RunNotHoldable
from chimeway.store.pool import Connection
from chimeway.store.views import RunView

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=examples(
        "chimeway cancel 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21 --note 'document deleted'",
        "chimeway cancel --cancellation-key doc_789 --tenant org_456",
    )
)
def cancel(
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", help="Which run; or:", show_default=False)
    ] = None,
    cancellation_key: Annotated[str | None, typer.Option(help="All live runs that bear this key.")] = None,
    note: Note = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Stop a run, or all that bear a cancellation key.

    Says exactly what was stopped, what was on its way already, and what had ended before.
    """
    if (run_id is None) == (cancellation_key is None):
        raise typer.BadParameter("give one of RUN_ID and --cancellation-key")

    async def ask(client: Chimeway) -> Cancellation:
        async def act(connection: Connection) -> Cancellation:
            done = await client.cancel(
                run_id, tenant=tenant, cancellation_key=cancellation_key, note=note, connection=connection
            )
            who = logged_in.operator(tenant or DEFAULT_TENANT)
            await acting.note_cancelled(connection, who, [run.run_id for run in done.stopped], note)
            return done

        with progress("cancelling"):
            async with finding.in_its_tenant(client, run_id):
                return await session.alone(client, act)

    done = session.run(database_url, ask)
    if as_json:
        print_json(done)
        return
    for run in done.stopped:
        print_line(f"{run.run_id} stopped at {shown(run.step)}")
        print_line(f"  cancelled: {shown(run.cancelled)}; on their way: {shown(run.on_their_way)}")
    for ended in done.already_ended:
        print_line(f"{ended.run_id} had ended before: {ended.state} at {shown(ended.step)}")
    if not done.stopped and not done.already_ended:
        print_line("no run bears this key")


@app.command(epilog=examples("chimeway hold 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21 --note 'legal looks at it'"))
def hold(
    run_id: RunId,
    note: Note = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Hold a run: nothing is decided or sent until it is resumed."""

    def refused(run: RunView) -> ChimewayError:
        state = f"held already ({run.held_reason})" if run.held_reason else run.state
        return RunNotHoldable(f"run {run.id} is {state}", hint=RunNotHoldable.__doc__)

    _tell(_steered(database_url, run_id, tenant, note, acting.hold, refused), "held", as_json)


@app.command(epilog=examples("chimeway resume 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21"))
def resume(
    run_id: RunId,
    note: Note = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let a held run go on."""

    def refused(run: RunView) -> ChimewayError:
        return RunNotHeld(f"run {run.id} is {run.state} and not held", hint=RunNotHeld.__doc__)

    _tell(_steered(database_url, run_id, tenant, note, acting.resume, refused), "goes on", as_json)


def _steered(
    database_url: str | None,
    run_id: str,
    tenant: str | None,
    note: str | None,
    act: Callable[[Connection, Operator, UUID, str | None], Awaitable[None]],
    refused: Callable[[RunView], ChimewayError],
) -> RunView:
    """Find a run, do something to it, and return it as it is then; raise `refused` where that did nothing."""
    why = checks.note(note)

    async def ask(client: Chimeway) -> RunView:
        async with finding.in_its_tenant(client, run_id):
            run = await client.get_run(run_id, tenant=tenant)
        who = logged_in.operator(run.tenant_id)
        try:
            await session.alone(client, lambda lent: act(lent, who, run.id, why))
        except (RunNotHoldable, RunNotHeld):
            raise refused(run) from None
        return await client.get_run(run_id, tenant=tenant)

    return session.run(database_url, ask)


def _tell(run: RunView, what: str, as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        print_line(f"{run.id} {what}: {run.state} at {shown(run.step)}")

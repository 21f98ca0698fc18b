"""`chimeway deliveries`: messages that failed, or were put off, and wait until they are sent."""

import shlex
import sys
from functools import partial
from typing import Annotated, Final, assert_never
from uuid import UUID

import typer

from chimeway.cli import logged_in, restored, session
from chimeway.cli.options import AsJson, DatabaseUrl, EveryTenant, Limit, Note, Tenant, examples
from chimeway.cli.printing import print_json, print_line, print_sentence, progress, shown
from chimeway.cli.tables import print_table
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.client.why_restored import HELD
from chimeway.store import acting, callers, console_sights, retrying
from chimeway.store.console_sights import Failure
from chimeway.store.retrying import Failed, Retry

app = typer.Typer(
    name="deliveries",
    help="List messages that failed, wait or are held; send them or not.",
    rich_markup_mode=None,
)
app.add_typer(restored.app)
_REFUSED: Final = 3
DeliveryIds = Annotated[
    list[str],
    typer.Argument(metavar="DELIVERY_ID", help="Which, as `deliveries list` says.", show_default=False),
]


@app.command(
    "list",
    epilog=examples("chimeway deliveries list --channel email", "chimeway deliveries list --given-up --json"),
)
def list_failed(
    channel: Annotated[str | None, typer.Option(help="Only those on this channel.")] = None,
    tenant: EveryTenant = None,
    given_up: Annotated[
        bool, typer.Option("--given-up", help="Those that failed for good, the newest first, and why.")
    ] = False,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List messages that failed and will be tried again, or that policy has put off, the next first.

    Of those that failed for good (--given-up) the newest twenty thousand messages are looked through.
    """
    if given_up:
        _list_given_up(tenant, channel, limit, database_url, as_json)
        return

    async def ask(client: Chimeway) -> list[Failed]:
        return await retrying.list_failed(client.database, tenant, channel, limit)

    found = session.run(database_url, ask)
    if as_json:
        print_json({"items": found})
        return
    print_table(
        ("DELIVERY", "TENANT", "RECIPIENT", "STEP", "CHANNEL", "PROVIDER", "ATTEMPTS", "ERROR", "NEXT",
         "KEPT BY"),
        (
            (row.delivery_id, row.tenant_id, row.recipient_id, row.step, row.channel, row.provider,
             row.attempt_count, row.error_class, row.next_attempt_at,
             row.held_reason or row.waiting_for_node or row.deferred_reason)
            for row in found
        ),
        nothing="no message waits for another attempt",
    )  # fmt: skip


def _list_given_up(
    tenant: str | None, channel: str | None, limit: int, database_url: str | None, as_json: bool
) -> None:
    async def ask(client: Chimeway) -> tuple[Failure, ...]:
        return await callers.run(client.database, console_sights.given_up(tenant, channel, limit))

    found = session.run(database_url, ask)
    if as_json:
        print_json({"items": found})
        return
    print_table(
        ("DELIVERY", "TENANT", "RECIPIENT", "STEP", "CHANNEL", "ATTEMPTS", "REASON", "ENDED", "NOTE"),
        (
            (row.delivery_id, row.tenant_id, row.recipient_id, row.step_id, row.channel, row.attempt_count,
             row.reason, row.terminal_at, row.note)
            for row in found
        ),
        nothing="none of the newest messages failed for good",
    )  # fmt: skip


@app.command(
    epilog=examples("chimeway deliveries retry 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21 --tenant org_456")
)
def retry(
    delivery_ids: DeliveryIds,
    note: Note = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Try failed messages again now, and not when their backoff is over.

    What cannot be tried again is refused with its reason, and the exit code is then 3; the others are
    tried nevertheless. The attempts made so far still count.
    """
    of, why = tenant or DEFAULT_TENANT, checks.note(note)
    who = logged_in.operator(of)
    ids = [checks.uuid("delivery_id", text) for text in dict.fromkeys(delivery_ids)]

    async def ask(client: Chimeway) -> list[tuple[UUID, Retry | None]]:
        done = list[tuple[UUID, Retry | None]]()
        with progress("asking") as tell:
            for delivery in ids:
                act = partial(acting.try_again, who=who, delivery_id=delivery, why=why)
                done.append((delivery, await session.alone(client, act)))
                tell(f"{len(done)} of {len(ids)}")
        return done

    done = session.run(database_url, ask)
    refused = {delivery: _refusal(found, of) for delivery, found in done if not (found and found.retried)}
    retried = [delivery for delivery, _ in done if delivery not in refused]
    if as_json:
        told = [{"delivery_id": each, "message": why} for each, why in refused.items()]
        print_json({"retried": retried, "refused": told})
    else:
        for delivery in retried:
            print_line(f"{delivery} is tried again now")
        for delivery, why in refused.items():
            print_sentence(f"{delivery} is not tried again: {why}")
    sys.exit(_REFUSED if refused else 0)


def _refusal(found: Retry | None, tenant: str) -> str:
    """Say why a delivery is not tried again now, and what to do instead."""
    if found is None:
        return f'there is no such delivery in tenant "{tenant}"; look at the id and at --tenant'
    match found.status:
        case "succeeded":
            return f"it was sent at {shown(found.terminal_at)}.{_anew(found, tenant)}"
        case "suppressed" | "cancelled":
            ending = f"{found.status} ({found.suppression_reason}) at {shown(found.terminal_at)}"
            return f"it ended as {ending}, and what has ended stays so.{_anew(found, tenant)}"
        case "dispatched" if found.stop_requested:
            number = found.attempt_count
            last = f"its run was stopped while attempt {number} was on its way: it is the last."
            return f"{last}{_anew(found, tenant)}"
        case "dispatched":
            return f"attempt {found.attempt_count} is on its way; if it fails, the next follows by itself."
        case "pending":
            return "its first attempt has not been made; it is due, and needs a node: chimeway serve."
        case "deferred" | "digested":
            return f"it is {found.status} on purpose until {shown(found.next_attempt_at)}."
        case "failed" if found.held_reason is not None:
            return f"its run is held ({found.held_reason}); first: chimeway resume {found.run_id}"
        case "failed" if found.waiting_for_node == HELD:
            return "it is held after a restore; first: chimeway deliveries release, or drop"
        case "failed":
            return f"it waits for a node that has what it needs ({found.waiting_for_node}); start one."
        case _:
            assert_never(found.status)


def _anew(found: Retry, tenant: str) -> str:
    whose = "" if tenant == DEFAULT_TENANT else f" --tenant {shlex.quote(tenant)}"
    whom = f"{shlex.quote(found.workflow_key)} --recipient {shlex.quote(found.recipient_id)}"
    return f" To send it once more, start a new run: chimeway trigger {whom}{whose}"

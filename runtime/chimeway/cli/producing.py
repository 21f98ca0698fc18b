"""`chimeway trigger`, `signal`, `identify`: what producers do, by hand."""

from types import EllipsisType
from typing import Annotated
from uuid import UUID

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, Tenant, examples
from chimeway.cli.printing import print_json, print_line
from chimeway.cli.reading_files import instant, json_object
from chimeway.client.chimeway import Chimeway
from chimeway.client.results import Receipt

app = typer.Typer(rich_markup_mode=None)
_JSON = "A JSON object; @FILE reads it from a file, - from stdin."


@app.command(
    epilog=examples(
        "chimeway trigger mention_escalation --recipient user_123 --tenant org_456",
        'chimeway trigger mention_escalation --recipient user_123 --data \'{"document_id": "doc_789"}\'',
        "chimeway trigger mention_escalation --data @mention.json --idempotency-key mention-789-123",
    )
)
def trigger(
    workflow: Annotated[str, typer.Argument(help="The workflow's key.", show_default=False)],
    *,
    recipient: Annotated[list[str] | None, typer.Option(help="For whom; may be repeated.")] = None,
    data: Annotated[str | None, typer.Option(help=_JSON, show_default=False)] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same again starts nothing.")] = None,
    cancellation_key: Annotated[str | None, typer.Option(help="By which `cancel` finds the runs.")] = None,
    version: Annotated[int | None, typer.Option(help="Without it the current one.")] = None,
    at: Annotated[
        str | None, typer.Option(help="The earliest first step, like 2026-03-02T09:00:00Z.")
    ] = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Start one run of a workflow for each recipient.

    Without --recipient, actor_id in the data names the one.
    """
    found, earliest = json_object("--data", data), instant("--at", at)

    async def ask(client: Chimeway) -> Receipt:
        return await client.trigger(
            workflow,
            found,
            recipients=recipient or None,
            tenant=tenant,
            idempotency_key=idempotency_key,
            workflow_version=version,
            cancellation_key=cancellation_key,
            at=earliest,
        )

    receipt = session.run(database_url, ask)
    if as_json:
        print_json(receipt)
        return
    for person, run_id in receipt.runs.items():
        print_line(f"{run_id} {person}{' (known already)' if receipt.duplicate else ''}")


@app.command(
    epilog=examples(
        "chimeway signal notification_read --actor user_123 --tenant org_456",
        'chimeway signal notification_read --actor user_123 --payload \'{"document_id": "doc_789"}\'',
    )
)
def signal(
    signal_type: Annotated[str, typer.Argument(metavar="TYPE", help="What happened.", show_default=False)],
    actor: Annotated[str, typer.Option(help="Who did it; runs of this recipient hear it.")],
    payload: Annotated[str | None, typer.Option(help=_JSON, show_default=False)] = None,
    dedupe_key: Annotated[str | None, typer.Option(help="The same again records nothing.")] = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Record that something happened."""
    found = json_object("--payload", payload)

    async def ask(client: Chimeway) -> UUID:
        return await client.signal(
            signal_type, actor=actor, tenant=tenant, payload=found, dedupe_key=dedupe_key
        )

    signal_id = session.run(database_url, ask)
    if as_json:
        print_json({"signal_id": signal_id})
    else:
        print_line(str(signal_id))


@app.command(
    epilog=examples(
        "chimeway identify user_123 --email ada@example.org --timezone Europe/London",
        "chimeway identify user_123 --address push=device-token-1",
        'chimeway identify user_123 --email ""',
    )
)
def identify(
    recipient: Annotated[str, typer.Argument(help="Whose profile.", show_default=False)],
    *,
    email: Annotated[str | None, typer.Option(help="Empty removes it, here and below.")] = None,
    phone: Annotated[str | None, typer.Option(help="For phone and sms.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Like Europe/London.")] = None,
    locale: Annotated[str | None, typer.Option(help="Like de-DE.")] = None,
    address: Annotated[list[str] | None, typer.Option(help="CHANNEL=ADDRESS; may be repeated.")] = None,
    preferences: Annotated[str | None, typer.Option(help=_JSON, show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help=_JSON, show_default=False)] = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write a recipient's profile. What is left out stays as it is."""
    addresses = dict(_address(one) for one in address or [])
    found, preferred = json_object("--data", data), json_object("--preferences", preferences)

    async def ask(client: Chimeway) -> None:
        await client.identify(
            recipient,
            tenant=tenant,
            email=given(email),
            phone=given(phone),
            timezone=given(timezone),
            locale=given(locale),
            addresses=addresses or None,
            preferences=preferred or None,
            data=found or None,
        )

    session.run(database_url, ask)
    if as_json:
        print_json({"recipient": recipient})
    else:
        print_line(f"{recipient}: written")


def given(text: str | None) -> str | EllipsisType | None:
    """Left out: stays as it is; empty: removed."""
    return ... if text is None else text or None


def _address(text: str) -> tuple[str, str | None]:
    channel, sign, address = text.partition("=")
    if not channel or not sign:
        raise typer.BadParameter(f"--address {text!r} has no channel; give CHANNEL=ADDRESS")
    return channel, address or None

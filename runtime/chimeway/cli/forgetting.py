"""`chimeway recipients forget` and `export`: what a person may ask for."""

import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, Tenant
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.cli.streams import json_text
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.errors import ChimewayError
from chimeway.store.forgetting import Document, Forgotten
from chimeway.workflow.telling import visible

RecipientId = Annotated[str, typer.Argument(metavar="RECIPIENT", help="Who.", show_default=False)]


class NotConfirmed(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """What cannot be undone was asked about, and the answer was not yes."""

    code = "not_confirmed"


class FileNotWritable(ChimewayError):  # noqa: N818
    """The file that an answer was to go to cannot be written."""

    code = "file_not_writable"


def forget(
    recipient: RecipientId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Forget a person: cancel their live runs, and erase all that is theirs; the audit stays.

    It cannot be undone. Whoever uses the id afterwards begins with somebody new.
    """
    of = tenant or DEFAULT_TENANT
    if not yes:
        _confirmed(f'Forget "{visible(recipient)}" of tenant "{visible(of)}"? It cannot be undone')

    async def ask(client: Chimeway) -> Forgotten:
        with progress("forgetting"):
            return await client.forget(recipient, tenant=tenant)

    done = session.run(database_url, ask)
    if as_json:
        print_json(done)
        return
    if not done.known:
        print_line(f'nobody is known as "{recipient}" in tenant "{of}": there was nothing to forget')
        return
    print_line(
        f"forgotten: {done.rows_erased} rows erased, {done.runs_cancelled} runs cancelled, "
        f"{done.deliveries_cancelled} messages called back"
    )
    if done.on_their_way:
        print_line(f"on their way, and may arrive: {done.on_their_way}")


def export(
    recipient: RecipientId,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; without it, standard output.")
    ] = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write everything that is held about a person, as JSON: a document a line.

    Each line has a `part`: one `recipient`, then a `run` for each, then each `signal`. Nobody of that id: no
    line.
    """

    async def ask(client: Chimeway) -> int:
        documents = client.export(recipient, tenant=tenant)
        if output is None:
            return await _write(documents, sys.stdout)
        try:
            with output.open("w", encoding="utf-8") as file, progress("exporting") as tell:
                lines = await _write(documents, file)
                tell(f"{lines} documents")
                return lines
        except OSError as error:
            raise FileNotWritable(f"{output} cannot be written: {error.strerror}") from error

    lines = session.run(database_url, ask)
    if output is not None:
        print_line(f"{output}: {lines} documents")
    if not lines:
        print(f'nobody is known as "{recipient}" in tenant "{tenant or DEFAULT_TENANT}"', file=sys.stderr)


def _confirmed(question: str) -> None:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)  # nobody's Enter has ended the line
    if answer.strip().lower() not in {"y", "yes"}:
        raise NotConfirmed("it was not confirmed: nothing was forgotten", hint="answer y, or give --yes")


async def _write(documents: AsyncGenerator[Document, None], stream: TextIO) -> int:
    lines = 0
    async for document in documents:
        print(json_text(document, stream), file=stream)
        lines += 1
    return lines

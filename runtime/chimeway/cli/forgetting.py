"""`chimeway recipients forget` and `export`: what a person may ask for."""

import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copymode
from typing import Annotated, TextIO

import typer

from chimeway.cli import session
from chimeway.cli.confirming import confirm
from chimeway.cli.options import AsJson, DatabaseUrl, Tenant, Yes
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.cli.streams import json_text
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.errors import ChimewayError
from chimeway.store.forgetting import Document, Forgotten
from chimeway.workflow.telling import visible

RecipientId = Annotated[str, typer.Argument(metavar="RECIPIENT", help="Who.", show_default=False)]


class FileNotWritable(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """The file that an answer was to go to cannot be written."""

    code = "file_not_writable"


def forget(
    recipient: RecipientId,
    yes: Yes = False,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Forget a person: cancel their live runs, and erase all that is theirs; the audit stays.

    It cannot be undone. Whoever uses the id afterwards begins with somebody new.
    """
    of = tenant or DEFAULT_TENANT
    if not yes:
        confirm(f'Forget "{visible(recipient)}" of tenant "{visible(of)}"? It cannot be undone', "forgotten")

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
        Path | None, typer.Option(metavar="FILE", help="Where to; without it, or with -, standard output.")
    ] = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write everything that is held about a person, as JSON: a document a line.

    Each line has a `part`: one `recipient`, then a `run` for each, then each `signal`. Nobody of that id: no
    line. A file is there when all of it is: what is broken off leaves the one before as it was.
    """
    to_file = None if output == Path("-") else output

    async def ask(client: Chimeway) -> int:
        documents = client.export(recipient, tenant=tenant)
        if to_file is None:
            return await _write(documents, sys.stdout)
        try:
            with _whole(to_file) as file, progress("exporting") as tell:
                lines = await _write(documents, file)
                tell(f"{lines} documents")
                return lines
        except OSError as error:
            raise FileNotWritable(f"{to_file} cannot be written: {error.strerror}") from error

    lines = session.run(database_url, ask)
    if to_file is not None:
        print_line(f"{to_file}: {lines} documents")
    if not lines:
        told = f'nobody is known as "{recipient}" in tenant "{tenant or DEFAULT_TENANT}"'
        print(visible(told), file=sys.stderr)


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """Open a file that takes the place of the one before when it is written to its end, and not before.

    What is there and is no file (a pipe, a terminal) has no end to wait for.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    whole = path.resolve()
    part = whole.with_name(f"{whole.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            yield stream
        if whole.exists():
            copymode(whole, part)
        part.replace(whole)
    finally:
        part.unlink(missing_ok=True)


async def _write(documents: AsyncGenerator[Document, None], stream: TextIO) -> int:
    lines = 0
    async for document in documents:
        print(json_text(document, stream), file=stream)
        lines += 1
    return lines

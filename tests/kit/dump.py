"""A database as `pg_dump` writes it, and whether a value stands in it in any writing."""

import asyncio
import base64
import json
import quopri
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from chimeway.store.embedded import find_binaries


async def dumped(url: str) -> str:
    """Return all data of a database, by a real pg_dump that is as new as the server."""
    said = "there is no pg_dump"
    for binary in _binaries():
        child = await asyncio.create_subprocess_exec(
            str(binary), "--data-only", url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await child.communicate()
        if child.returncode == 0:
            return out.decode()
        said = err.decode()  # an older one refuses a newer server
    pytest.fail(said)


def _binaries() -> Iterator[Path]:
    for folder in find_binaries():
        if (folder / "pg_dump").exists():
            yield folder / "pg_dump"
    if found := shutil.which("pg_dump"):
        yield Path(found)


def writings(value: str) -> set[str]:
    """Return a value in the ways in which it might be written down, lower-cased.

    As it is; percent-encoded, by each rule; as JSON escapes; in quoted-printable; as a bytea;
    in base64, wherever in a longer text it begins.
    """
    raw = value.encode()
    ways = {
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        quopri.encodestring(raw).decode(),
        raw.hex(),
        value.encode("unicode_escape").decode(),
    }
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).decode()
        ways.add(coded[4 if before else 0 : -4])  # the ends hang on what stands beside it
    return {way.lower() for way in ways}


def found_in(dump: str, values: dict[str, str]) -> dict[str, set[str]]:
    """Return which of these values stand in a dump, by name, each with how it is written there."""
    text = dump.lower()
    found = {name: {way for way in writings(value) if way in text} for name, value in values.items()}
    return {name: ways for name, ways in found.items() if ways}

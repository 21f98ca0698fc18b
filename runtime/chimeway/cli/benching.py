"""`chimeway bench`: how many journeys this machine and this PostgreSQL carry.

What measures is the project's own bench, `tests/bench`: the wheel carries a part of it as `chimeway.bench`,
and a checkout has it where it lies. (docs/design.md says why.)
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

import typer

from chimeway.cli.options import AsJson, DatabaseUrl, examples
from chimeway.cli.printing import print_json, print_line, print_sentence, progress
from chimeway.settings import Settings
from chimeway.store.meant import database_meant
from chimeway.store.words import in_our_words

app = typer.Typer(rich_markup_mode=None)
_FAILED: Final = 1
_INTERRUPTED: Final = 130
_PACKAGE: Final = "chimeway.bench"


@app.command(
    epilog=examples(
        "chimeway bench",
        "chimeway bench --database-url postgresql://bench@db.example.org/postgres --rounds 7",
        "chimeway bench --journeys 50000 --json",
    )
)
def bench(
    *,
    journeys: Annotated[int, typer.Option(min=500, max=1_000_000, help="Journeys of a round.")] = 5_000,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="Of each kind, in turns; from 7 on the intervals are good.")
    ] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.2, max=600, help="For how long single commits are counted, each time.")
    ] = 4.0,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Measure how many journeys this machine carries.

    A daemon is started, and plays journeys in databases that are made on the server for it, and dropped
    afterwards; the database that was named is only connected to. The role must be allowed to make databases.
    The server's settings are shown, since the figures depend on them. Whatever else works there slows down
    what is measured, and is slowed down by it.
    """
    settings = Settings(database_url=database_url)
    capacity = _suite("capacity")
    try:
        with progress("measuring") as tell:
            say: Callable[[str], None] = tell if as_json else _tell
            plan = capacity.capacity(journeys, seconds, rounds)
            result = asyncio.run(_played(settings, plan, say))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; what it made is dropped", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except (ChildProcessError, RuntimeError) as fault:  # the daemon ended, or `verify` found something
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(_FAILED)
    if as_json:
        print_json(capacity.as_json(result))
        return
    print()
    for line in _suite("frame.tables").told(result):
        print_line(line)
    print()
    for sentence in capacity.sentences(result):
        print_sentence(sentence)


async def _played(settings: Settings, plan: Any, say: Callable[[str], None]) -> Any:
    """Play the bench on a server of the settings; SIGTERM ends it as SIGINT does, with all dropped."""
    frame, pairs = _suite("frame"), _suite("frame.pairs")
    frame.cancelled_by_sigterm()
    with in_our_words():
        async with database_meant(settings) as url:
            return await pairs.play(replace(plan, stage=frame.named_server(url)), frame.Asked(), say)


def _tell(text: str) -> None:
    print_line(text)
    sys.stdout.flush()


def _suite(name: str) -> ModuleType:
    """Return a module of the bench: of the wheel, else of the checkout that this package lies in."""
    try:
        return import_module(f"{_PACKAGE}.{name}")
    except ModuleNotFoundError as fault:
        if fault.name != _PACKAGE:
            raise
    folder = Path(__file__).parents[3] / "tests" / "bench"
    found = spec_from_file_location(
        _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert found is not None, "it is a file of Python"
    assert found.loader is not None, "likewise"
    sys.modules[_PACKAGE] = package = module_from_spec(found)
    found.loader.exec_module(package)
    return import_module(f"{_PACKAGE}.{name}")

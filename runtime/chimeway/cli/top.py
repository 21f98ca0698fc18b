"""`chimeway top`: what is done, what is late, who works and what waits, as it changes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Final, TypeAlias

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, examples
from chimeway.cli.printing import on_terminal, print_json, print_line
from chimeway.cli.top_view import as_json, lines
from chimeway.client.chimeway import Chimeway
from chimeway.errors import DatabaseUnavailable
from chimeway.store.glimpses import Glimpse, glimpse
from chimeway.store.pool import Database
from chimeway.store.words import for_people

app = typer.Typer(rich_markup_mode=None)
Look: TypeAlias = tuple[Glimpse, Glimpse]
_WINDOW_S: Final = 15.0
"""Rates are of so long: the server's own counters are some seconds late, each by itself."""


@app.command(epilog=examples("chimeway top", "chimeway top --once", "watch -n 10 chimeway top --once"))
def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Write it once, after one interval, and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 2.0,
    times: Annotated[int, typer.Option(min=0, help="Look so many times, then end; 0: until Ctrl-C.")] = 0,
    database_url: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Show what is done, late and waiting, as it changes.

    Until Ctrl-C: rates, the oldest of what is late, nodes, and channels with messages that wait.
    Eighty columns do. While the database is away it says so, and looks again. Without a terminal, and with
    --once or --json, it is written once.
    """
    live = on_terminal() and not once and not json

    async def look(client: Chimeway) -> None:
        looks = _looks(client.database, interval, times if live else 1)
        if live:
            await _show(looks)
            return
        async for found in looks:
            if isinstance(found, DatabaseUnavailable):
                raise found
            first, last = found
            if json:
                print_json(as_json(first, last))
            else:
                for line in lines(first, last):
                    print_line(line.text, style=line.style)

    session.run(database_url, look)


async def _show(looks: AsyncIterator[Look | DatabaseUnavailable]) -> None:
    with Live(Text("looking ..."), screen=True, auto_refresh=False, console=Console(highlight=False)) as live:
        async for found in looks:
            if isinstance(found, DatabaseUnavailable):
                told = Text(f"{found.message}\nIt is looked for again; Ctrl-C ends.", "red")
                live.update(told, refresh=True)
                continue
            shown = [Text(line.text, line.style, no_wrap=True, overflow="ellipsis") for line in lines(*found)]
            live.update(Group(*shown), refresh=True)


async def _looks(
    database: Database, interval: float, times: int
) -> AsyncGenerator[Look | DatabaseUnavailable, None]:
    """Yield the oldest glimpse of the window with each new one, or why there is none; `times` 0: for ever."""
    kept = deque([await glimpse(database)])
    looked = 0
    while not times or looked < times:
        await asyncio.sleep(interval)
        looked += 1
        try:
            with for_people():
                last = await glimpse(database)
        except DatabaseUnavailable as lost:
            kept.clear()  # a server that comes back counts anew
            yield lost
            continue
        kept.append(last)
        if len(kept) == 1:
            continue
        yield kept[0], last
        while last.taken_at - kept[0].taken_at > _WINDOW_S:
            kept.popleft()

"""The documents' endpoint of server-sent events, under a real server: state, change, a browser that goes."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from kit.pages import blocks
from kit.waiting import DEADLINE_S, wait_for
from store.inboxes import Place, place_on

PAGE = Path(__file__).parents[2] / "docs" / "inbox.md"


def _application(folder: Path) -> Any:
    """Return the application that the page shows."""
    (block,) = [block for block in blocks(PAGE) if block.file == "live.py"]
    path = folder / "live.py"
    path.write_text(block.text, "utf-8")
    found = importlib.util.spec_from_file_location("live_of_the_page", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.web


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[int]:
    """Serve it on a free port."""
    config = uvicorn.Config(
        _application(folder), port=0, log_config=None, timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await wait_for(lambda: server.started or task.done(), "the server serves")
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def _event(reader: asyncio.StreamReader) -> str:
    """Return the data of the next event."""
    async with asyncio.timeout(DEADLINE_S):
        while not (line := await reader.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
    return line.decode().removeprefix("data: ").strip()


async def _watchers(place: Place) -> int:
    found: int = await place.sql.fetchval("select count(*) from chimeway.inbox_watchers")
    return found


async def test_a_browser_looks_on_and_goes(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told what is and what changes; when its socket is gone, nobody watches any more."""
    monkeypatch.setenv("CHIMEWAY_DATABASE_URL", database_url)
    async with place_on(database_url) as place, _serving(tmp_path) as port:
        item = await place.put()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        headers = f"Host: localhost\r\nLast-Event-ID: {item}\r\n"
        writer.write(f"GET /users/ada/inbox/live HTTP/1.1\r\n{headers}\r\n".encode())
        assert await _event(reader) == '{"unseen": 1, "unread": 1, "news": false}'
        await wait_for(lambda: _watchers(place), "somebody watches")
        await place.inbox.mark_read(item)
        assert await _event(reader) == '{"unseen": 0, "unread": 0, "news": false}'
        writer.transport.abort()

        async def nobody() -> bool:
            return await _watchers(place) == 0

        await wait_for(nobody, "nobody watches")

"""`chimeway inbox --follow`: a line at once and after every change, until interrupted."""

import asyncio
import json
import os
import signal
import sys

from chimeway.cli.streams import READER_GONE
from kit.waiting import DEADLINE_S
from store.inboxes import place_on


async def test_an_inbox_is_followed_until_interrupted(database_url: str) -> None:
    """Each line is whole JSON with --json, written at once; Ctrl-C ends it as it ends any command."""
    async with place_on(database_url) as place:
        item = await place.put()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chimeway", "inbox", "ada", "--follow", "--json",
            env={**os.environ, "CHIMEWAY_DATABASE_URL": database_url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            first = json.loads(await process.stdout.readline())
            assert (first["unseen"], first["newest"]) == (1, str(item))
            await place.inbox.mark_seen(item)
            while json.loads(await process.stdout.readline())["unseen"]:
                pass
            process.send_signal(signal.SIGINT)
            await process.communicate()
        assert process.returncode == 130


async def test_who_reads_no_more_ends_it_without_a_word(database_url: str) -> None:
    """`chimeway inbox ada --follow | head -1`: the pipe is broken, not the database."""
    async with place_on(database_url) as place:
        item = await place.put()
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chimeway", "inbox", "ada", "--follow",
            env={**os.environ, "CHIMEWAY_DATABASE_URL": database_url},
            stdout=writing, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(writing)
        async with asyncio.timeout(DEADLINE_S):
            assert await asyncio.to_thread(os.read, reading, 1_000)
            os.close(reading)
            await place.inbox.mark_seen(item)
            assert await process.communicate() == (None, b"")
        assert process.returncode == READER_GONE

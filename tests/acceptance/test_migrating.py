"""The page on migrating, played: what the old job had still to do is done, and once."""

from pathlib import Path

import asyncpg
import pytest

from kit.daemon import running_daemon
from kit.home import Home
from kit.pages import blocks
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


@pytest.mark.big
async def test_what_the_page_takes_over_is_played(database_url: str, tmp_path: Path) -> None:
    """Two are overdue and told at once, also where the page is followed twice; who has read is not told."""
    made = Home(tmp_path, tmp_path / "workflows", tmp_path / "templates")
    for block in blocks(PAGE):
        if block.file is not None:
            (tmp_path / block.file).parent.mkdir(exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
    texts = [block.text for block in blocks(PAGE) if block.language == "sql"]
    async with (
        smtp_sink() as sink,
        running_daemon(database_url, made, SMTP_URL=sink.url) as daemon,
        rows_of(database_url) as rows,
    ):
        connection = await asyncpg.connect(database_url)
        for text in (*texts, texts[2], texts[3]):
            await connection.execute(text)
        await connection.close()
        await wait_for(lambda: len(sink.mails) == 2, "both that are overdue")
        states = "select recipient_id, state from chimeway.workflow_runs order by recipient_id"
        wanted = [("ada", "waiting"), ("bob", "stopped"), ("old_1", "waiting"), ("old_2", "completed")]

        async def so() -> bool:
            return [tuple(row) for row in await rows.all(states)][:4] == wanted

        await wait_for(so, "each is where he was")
        assert {mail.to for mail in sink.mails} == {"old_2@example.org", "old_3@example.org"}
        assert await daemon.stopped() == 0

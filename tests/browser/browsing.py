"""A real Chromium that looks at the operators' pages, and complains of whatever it complains of itself."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, ConsoleMessage, Page, Response, async_playwright

from chimeway.clock import SystemClock
from chimeway.store import tokens
from chimeway.store.pool import Database
from kit.door import console_door

CHROMIUM: Final = Path("/usr/bin/chromium")
FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SERIOUS: Final = {"serious", "critical"}
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium")


class StandingClock(SystemClock):
    """The clock of a database that tests move, as it stood when it was asked."""

    def __init__(self, at: datetime) -> None:
        """Take its time."""
        super().__init__()
        self._at = at

    def now(self) -> datetime:
        """Return it."""
        return self._at


@dataclass
class Tab:
    """A page of the browser, and what went wrong on it."""

    page: Page
    root: str
    troubles: list[str] = field(default_factory=list)

    async def open(self, path: str) -> Response:
        """Go somewhere."""
        answer = await self.page.goto(self.root + path, wait_until="load")
        assert answer is not None
        assert answer.status == 200, (path, answer.status)
        return answer

    async def sign_in(self, secret: str) -> None:
        """Give a token, as people do."""
        await self.open("/sign-in")
        await self.page.fill("#token", secret)
        await self.page.press("#token", "Enter")
        await self.page.wait_for_url(self.root + "/")

    async def text(self, selector: str = "main") -> str:
        """Return what stands there, as it is seen."""
        return " ".join((await self.page.inner_text(selector)).split())

    async def rows(self, selector: str = "main .list .row") -> list[str]:
        """Return the rows of a list, as they are seen."""
        return [" ".join(text.split()) for text in await self.page.locator(selector).all_inner_texts()]

    async def faults(self) -> list[str]:
        """Return what axe finds that keeps people out, in light and in dark."""
        found: list[str] = []
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            await self.page.evaluate(AXE_SCRIPT)
            result: Any = await self.page.evaluate("axe.run({resultTypes: ['violations']})")
            found += [
                f"{scheme} {self.page.url}: {one['id']}: {one['nodes'][0]['html'][:160]} "
                f"{one['nodes'][0].get('failureSummary', '')[:300]}"
                for one in result["violations"]
                if one["impact"] in SERIOUS
            ]
        await self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        return found

    async def picture(self, name: str, folder: Path) -> int:
        """Take a picture of the whole page; return by how many pixels it is wider than the window."""
        folder = Path(os.environ.get("CHIMEWAY_SCREENSHOTS", folder))
        folder.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=folder / f"{name}.png", full_page=True)
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, window = await self.page.evaluate(sizes)
        return int(wide - window)


@asynccontextmanager
async def browsing(
    database: Database, *, size: dict[str, int] = WIDE, script: bool = True
) -> AsyncIterator[Tab]:
    """Serve the pages of a database, and open a browser at them; nothing may have gone wrong in the end."""
    async with database.acquire() as connection:
        stands = await connection.fetchval("select to_regclass('chimeway.test_clock') is not null")
        now = await connection.fetchval("select chimeway.clock()")
    clock = StandingClock(now) if stands else None
    async with console_door(database, clock) as http, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            tab = await _tab(browser, str(http.base_url).rstrip("/"), size, script=script)
            yield tab
            assert tab.troubles == []
        finally:
            await browser.close()


async def _tab(browser: Browser, root: str, size: dict[str, int], *, script: bool) -> Tab:
    context = await browser.new_context(
        viewport=size,  # type: ignore[arg-type]
        locale="en-GB",
        java_script_enabled=script,
    )
    page = await context.new_page()
    tab = Tab(page, root)

    def told(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            tab.troubles.append(f"{page.url}: {message.text}")

    page.on("console", told)
    page.on("pageerror", lambda error: tab.troubles.append(f"{page.url}: {error}"))
    return tab


async def token(database: Database, *scopes: str, tenant: str | None = None) -> str:
    """Make a token, and return its secret."""
    return (await tokens.make(database, "night shift", tenant, scopes, None))[1]

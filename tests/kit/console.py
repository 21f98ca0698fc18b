"""Somebody at the operators' pages, by real HTTP: what stands on a page, and how its forms are sent."""

from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from typing import Final

import httpx2

from chimeway.store import tokens
from store.door import Door

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page may load and who may frame it."""


class Page(HTMLParser):
    """What stands on a page: its text, its links, its forms with what they hold."""

    def __init__(self, answer: httpx2.Response) -> None:
        """Read it."""
        super().__init__()
        self.links: list[str] = []
        self.forms: dict[str, dict[str, str]] = {}
        self.inline: list[str] = []
        self._action = self._text = ""
        self.feed(answer.text)
        self.text = " ".join(self._text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        found = {name: value or "" for name, value in attrs}
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        if tag == "a":
            self.links.append(found["href"])
        if tag == "form":
            self._action = found["action"]
            self.forms.setdefault(self._action, {})
        if tag == "input" and found.get("type") == "hidden":
            self.forms[self._action][found["name"]] = found["value"]

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self._text += data


@dataclass
class Site:
    """The pages, and a world of two tenants."""

    world: Door
    http: httpx2.AsyncClient
    secrets: dict[str, str] = field(default_factory=dict)

    async def token(
        self, *scopes: str, tenant: str | None = "default", lasts: timedelta | None = None
    ) -> str:
        """Make a token."""
        token, secret = await tokens.make(self.world.database, f"night {scopes[-1]}", tenant, scopes, lasts)
        self.secrets[secret] = str(token.id)
        return secret

    async def sign_in(self, secret: str, **more: str) -> httpx2.Response:
        """Give a token."""
        return await self.post("/sign-in", {"token": secret, **more})

    async def post(self, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        """Send a form as a browser does."""
        origin = str(self.http.base_url).rstrip("/")
        return await self.http.post(path, data=form, headers={"Origin": origin, **headers})

    async def send(self, path: str, to: str, /, **form: str) -> httpx2.Response:
        """Open a page, and send one of its forms."""
        page = Page(await self.http.get(path))
        return await self.post(to, {**page.forms[to], **form})

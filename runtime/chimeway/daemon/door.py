"""The node's HTTP, if somebody speaks to it: nodes to whom nobody speaks open no port.

Those who speak are providers (feedback), who follows a link to unsubscribe, and, where an address is set
for it, who asks how the node is (`/healthz`, `/readyz`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from chimeway.clock import Clock
from chimeway.delivery.unsubscribing import Unsubscribing
from chimeway.extras import imported
from chimeway.log import Events
from chimeway.render.templates import Templates
from chimeway.setting_tables import Setting
from chimeway.settings import Settings
from chimeway.store.pool import Database, open_database
from chimeway.web.limits import HTTP_CONNECTIONS
from chimeway.web.sources import Source, read_sources
from chimeway.web.state import Asked

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from chimeway.web.auth import Tokens
    from chimeway.web.problems import Lost
    from chimeway.web.server import HttpServer

_log = Events()


def heard(settings: Settings) -> Mapping[str, Source]:
    """Read who may tell what became of deliveries.

    Raises:
        InvalidSettings: a fault, with its path.
    """
    return read_sources(*settings.table("feedback"))


def described(settings: Settings) -> Iterator[Setting]:
    """Go through what the table of feedback sets, secrets masked."""
    for source in heard(settings).values():
        yield from source.describe()


def unsubscribing(settings: Settings) -> Unsubscribing:
    """Return where recipients unsubscribe."""
    return Unsubscribing(settings.unsubscribe_url, settings.public_url, settings.signing_keys())


def doubts(settings: Settings) -> Iterator[str]:
    """Yield what is doubtful in how unsubscribing and inboxes are set up; nothing of it is refused."""
    if settings.inbox_origins is not None and settings.inbox_keys is None:
        yield "CHIMEWAY_INBOX_ORIGINS without CHIMEWAY_INBOX_KEYS: no browser has a token to ask with"
    if settings.inbox_keys is not None and settings.http_address() is None:
        yield "CHIMEWAY_HTTP_BIND is empty: this node answers no front end"
    if settings.unsubscribe_keys is None:
        if settings.public_url is not None:
            yield "CHIMEWAY_PUBLIC_URL without CHIMEWAY_UNSUBSCRIBE_KEYS: no link to unsubscribe by is made"
        return
    if settings.public_url is None:
        yield "CHIMEWAY_UNSUBSCRIBE_KEYS without CHIMEWAY_PUBLIC_URL: old links are answered, none is made"
    elif not settings.public_url.lower().startswith("https:"):
        yield "CHIMEWAY_PUBLIC_URL is not https: no mailbox unsubscribes with one click"
    if settings.http_address() is None:
        yield "CHIMEWAY_HTTP_BIND is empty: this node answers no link to unsubscribe by"


@asynccontextmanager
async def http_server(  # noqa: PLR0913  (each is a wire of its own)
    settings: Settings,
    database: Database,
    clock: Clock,
    templates: Templates,
    asked: Asked,
    metrics: "Callable[[], Sequence[BaseRoute]]" = tuple,
    *,
    stands: "Callable[[], str | None]" = lambda: None,
    refused: Counter[int] | None = None,
) -> "AsyncIterator[HttpServer | None]":
    """Open the node's server, its port bound, or None where nobody is to be heard.

    `asked` says how it is, `metrics` answers whoever measures it, `stands` names what of it gets nowhere,
    and `refused` counts the answers that refuse.

    Raises:
        InvalidSettings: a source has a fault, or the port is not free.
        MissingExtra: the packages of `web` are not installed.
    """
    sources, keys = heard(settings), settings.signing_keys()
    address = settings.http_address()
    if address is None and sources:
        _warn("feedback is set up, and CHIMEWAY_HTTP_BIND is empty: nobody is heard")
    asked_for = keys or settings.inbox_keys or settings.metrics_token or settings.http_is_asked_for()
    if address is None or not (sources or asked_for):
        yield None
        return
    with imported("web"):
        from chimeway.web.api.application import Api  # noqa: PLC0415  (few nodes need it)
        from chimeway.web.auth import Tokens  # noqa: PLC0415
        from chimeway.web.feedback import FeedbackDoor  # noqa: PLC0415
        from chimeway.web.rates import Rates  # noqa: PLC0415
        from chimeway.web.ready import ReadyDoor  # noqa: PLC0415
        from chimeway.web.server import HttpServer, Site, application, bound  # noqa: PLC0415
        from chimeway.web.unsubscribe_page import Pages  # noqa: PLC0415
        from chimeway.web.unsubscribing import UnsubscribeDoor  # noqa: PLC0415

        pages = Pages(templates)
        for fault in pages.faults() if keys else ():
            _warn(f"our own page stands in for it: {fault}")
        below = unquote(urlsplit(settings.public_url or "").path)
    async with _own_connections(settings, database) as own:
        tokens = Tokens(own, clock)
        rates = Rates(settings.http_rate, settings.http_burst)
        api = Api(
            own,
            clock,
            tokens,
            settings.inbox_token_keys(),
            settings.allowed_origins(),
            rates,
            settings.max_lateness,
        )
        console, lost = _console(settings, own, tokens, clock, api.streams.ending)
        site = Site(
            stands=stands,
            ready=ReadyDoor(asked).routes(),
            metrics=metrics(),
            feedback=FeedbackDoor(database, clock, sources).routes() if sources else (),
            unsubscribing=UnsubscribeDoor(database, keys, pages).routes(below) if keys else (),
            api=api.routes(),
            console=console,
            lost=lost,
        )
        yield HttpServer(application(site), bound(*address), api.streams.end, refused)


def _own_connections(settings: Settings, database: Database) -> AbstractAsyncContextManager[Database]:
    """Open connections for those who ask by HTTP: however many they are, the node's stay its own."""
    direct = settings.direct_database_url
    return open_database(
        database.url,
        name=f"chimeway {settings.node_name} http"[:60],
        size=HTTP_CONNECTIONS,
        direct_url=None if direct is None else direct.get_secret_value(),
    )


def _console(
    settings: Settings, database: Database, tokens: "Tokens", clock: Clock, ending: asyncio.Event
) -> "tuple[Sequence[BaseRoute], Lost]":
    from chimeway.web.console import site  # noqa: PLC0415
    from chimeway.web.console.desk import Kept  # noqa: PLC0415

    kept = Kept(settings.retention_completed, settings.idempotency_retention)
    pages = site.routes(database, tokens, clock, settings.max_lateness, settings.public_url, ending, kept)
    return pages, site.lost


def _warn(text: str) -> None:
    _log.warning("settings.warning", text=text)

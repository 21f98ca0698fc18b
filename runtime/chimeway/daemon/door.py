"""The node's HTTP, if somebody speaks to it: nodes to whom nobody speaks open no port.

Those who speak are providers (feedback), who follows a link to unsubscribe, and, where an address is set
for it, who asks how the node is (`/healthz`, `/readyz`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from chimeway.clock import Clock
from chimeway.delivery.unsubscribing import Unsubscribing
from chimeway.extras import imported
from chimeway.log import Events
from chimeway.render.templates import Templates
from chimeway.setting_tables import Setting
from chimeway.settings import Settings
from chimeway.store.pool import Database
from chimeway.web.sources import Source, read_sources
from chimeway.web.state import Asked

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from chimeway.web.server import HttpServer

_log = Events()
_UNSUBSCRIBING_NEEDS: Final = 4
_CONSOLE_NEEDS: Final = 6


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


def unsubscribing(settings: Settings, schema_version: int) -> Unsubscribing:
    """Return where recipients unsubscribe.

    Without the schema for it there are no signed links: nobody could answer them.
    """
    keys = settings.signing_keys() if schema_version >= _UNSUBSCRIBING_NEEDS else ()
    return Unsubscribing(settings.unsubscribe_url, settings.public_url, keys)


def doubts(settings: Settings) -> Iterator[str]:
    """Yield what is doubtful in how unsubscribing is set up; nothing of it is refused."""
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


def http_server(
    settings: Settings,
    database: Database,
    clock: Clock,
    schema_version: int,
    templates: Templates,
    asked: Asked,
    metrics: "Callable[[], Sequence[BaseRoute]]" = tuple,
) -> "HttpServer | None":
    """Return the node's server, its port bound, or None where nobody is to be heard.

    `asked` says how it is, `metrics` answers whoever measures it.

    Raises:
        InvalidSettings: a source has a fault, or the port is not free.
        MissingExtra: the packages of `web` are not installed.
    """
    sources, keys = heard(settings), settings.signing_keys()
    address = settings.http_address()
    if not sources and not keys and not settings.http_is_asked_for():
        return None
    if address is None:
        if sources:
            _warn("feedback is set up, and CHIMEWAY_HTTP_BIND is empty: nobody is heard")
        return None
    if keys and schema_version < _UNSUBSCRIBING_NEEDS:
        _warn("links to unsubscribe by need a newer schema: chimeway db migrate, then restart this node")
    with imported("web"):
        from chimeway.web.feedback import FeedbackDoor  # noqa: PLC0415  (few nodes need it)
        from chimeway.web.ready import ReadyDoor  # noqa: PLC0415
        from chimeway.web.server import HttpServer, Site, application, bound  # noqa: PLC0415
        from chimeway.web.unsubscribe_page import Pages  # noqa: PLC0415
        from chimeway.web.unsubscribing import UnsubscribeDoor  # noqa: PLC0415

        pages = Pages(templates)
        for fault in pages.faults() if keys else ():
            _warn(f"our own page stands in for it: {fault}")
        below = unquote(urlsplit(settings.public_url or "").path)
        site = Site(
            ready=ReadyDoor(asked).routes(),
            metrics=metrics(),
            feedback=FeedbackDoor(database, clock, sources).routes() if sources else (),
            unsubscribing=UnsubscribeDoor(database, keys, pages).routes(below) if keys else (),
            console=_console(settings, database, clock) if schema_version >= _CONSOLE_NEEDS else (),
        )
        return HttpServer(application(site), bound(*address))


def _console(settings: Settings, database: Database, clock: Clock) -> "Sequence[BaseRoute]":
    from chimeway.web.auth import Tokens  # noqa: PLC0415
    from chimeway.web.console import site  # noqa: PLC0415

    tokens = Tokens(database, clock)
    return site.routes(database, tokens, clock, settings.max_lateness, settings.public_url)


def _warn(text: str) -> None:
    _log.warning("settings.warning", text=text)

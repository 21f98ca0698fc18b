"""The node's HTTP, if somebody may tell it something: nodes to whom nobody speaks open no port."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from chimeway.clock import Clock
from chimeway.extras import imported
from chimeway.log import Events
from chimeway.setting_tables import Setting
from chimeway.settings import Settings
from chimeway.store.pool import Database
from chimeway.web.sources import Source, read_sources

if TYPE_CHECKING:
    from chimeway.web.server import HttpServer

_log = Events()
_NEEDS_SCHEMA = 3


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


def http_server(
    settings: Settings, database: Database, clock: Clock, schema_version: int
) -> "HttpServer | None":
    """Return the node's server, its port bound, or None where nobody is to be heard.

    Raises:
        InvalidSettings: a source has a fault, or the port is not free.
        MissingExtra: the packages of `web` are not installed.
    """
    sources = heard(settings)
    address = settings.http_address()
    if not sources:
        return None
    if address is None:
        _log.warning(
            "settings.warning", text="feedback is set up, and CHIMEWAY_HTTP_BIND is empty: nobody is heard"
        )
        return None
    if schema_version < _NEEDS_SCHEMA:
        _log.warning(
            "settings.warning", text="feedback is put off until the schema is brought up: chimeway db migrate"
        )
    with imported("web"):
        from chimeway.web.feedback import FeedbackDoor  # noqa: PLC0415  (few nodes need it)
        from chimeway.web.server import HttpServer, application, bound  # noqa: PLC0415

        return HttpServer(application(FeedbackDoor(database, clock, sources)), bound(*address))

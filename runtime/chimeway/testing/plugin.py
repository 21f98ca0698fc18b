"""The pytest plugin: a database a test, and harnesses, for whichever way of running coroutines.

Loaded by its entry point in every project that has chimeway installed, so it imports nothing at its
start, and does nothing before a fixture is used. No fixture here is a coroutine: they work alike under
pytest-asyncio (auto and strict), anyio's plugin and plain functions. A harness is entered in the test
itself, `async with`: a task group across a fixture's `yield` would hide what fails in it.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from chimeway.testing.harness import Harness
    from chimeway.testing.sharing import Desk
    from chimeway.testing.synchronous import SyncJourney

_DESK: pytest.StashKey[Desk] = pytest.StashKey()
_open: list[pytest.Config] = []
"""The runs of this process that have not ended; one may run others."""


@pytest.fixture(scope="session")
def chimeway_server() -> str:
    """The URL of the PostgreSQL for tests: CHIMEWAY_TEST_DATABASE_URL, else a temporary one."""
    from chimeway.testing.server import server_url

    return server_url()


@pytest.fixture
def chimeway_database() -> Iterator[str]:
    """The URL of a database of this test alone, with our schema and the real clock."""
    with _lent(test_clock=False) as url:
        yield url


@pytest.fixture
def chimeway_clock_database() -> Iterator[str]:
    """The same, with a clock that stands in chimeway.test_clock."""
    with _lent(test_clock=True) as url:
        yield url


@pytest.fixture(scope="session")
def chimeway_options() -> dict[str, Any]:
    """What all harnesses of the fixtures are given; override it, such as {"templates": "templates"}."""
    return {}


@pytest.fixture
def chimeway_harness(chimeway_options: dict[str, Any]) -> Callable[..., Harness]:
    """Return what makes a `Harness`, which the test enters itself."""
    from chimeway.testing import Harness

    def make(*workflows: Any, **options: Any) -> Harness:
        return Harness(*workflows, **{**chimeway_options, **options})

    return make


@pytest.fixture
def chimeway_sync_harness(chimeway_options: dict[str, Any]) -> Iterator[Callable[..., SyncJourney]]:
    """Return what makes open journeys without an event loop; each is closed after the test."""
    from chimeway.testing import SyncHarness

    with ExitStack() as stack:

        def make(*workflows: Any, **options: Any) -> SyncJourney:
            return stack.enter_context(SyncHarness(*workflows, **{**chimeway_options, **options}))

        yield make


def _lent(*, test_clock: bool) -> AbstractContextManager[str]:
    from chimeway.testing.databases import lent

    return lent(test_clock=test_clock)


def pytest_configure(config: pytest.Config) -> None:
    """In a worker of pytest-xdist, learn where the server is asked for."""
    _open.append(config)
    place = getattr(config, "workerinput", {}).get("chimeway_desk")
    if place is not None:
        from chimeway.testing.server import ask_elsewhere
        from chimeway.testing.sharing import Place, ask

        ask_elsewhere(lambda: ask(Place(*place)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controller of pytest-xdist, tell a worker where the server is asked for."""
    from chimeway.testing.sharing import Desk

    stash = node.config.stash
    if _DESK not in stash:
        stash[_DESK] = Desk()
    node.workerinput["chimeway_desk"] = tuple(stash[_DESK].place)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of databases and server, if any were used."""
    desk = config.stash.get(_DESK, None)
    if desk is not None:
        desk.close()
    if config in _open:
        _open.remove(config)
    if _open:
        return  # a run within a run (pytester): what is used belongs to the outer one
    if (used := sys.modules.get("chimeway.testing.databases")) is not None:
        used.close_databases()
    if (used := sys.modules.get("chimeway.testing.server")) is not None:
        used.stop_server()

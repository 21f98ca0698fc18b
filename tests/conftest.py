"""A real PostgreSQL for the tests: one server a run, a database a test, cloned from a template.

They come from our own pytest plugin (chimeway.testing): one server for all workers of xdist, started by
the first test that needs one. CHIMEWAY_TEST_DATABASE_URL names another server, CHIMEWAY_POSTGRES_BIN
other binaries.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from chimeway.store.pool import Database, open_database
from chimeway.testing.databases import lent
from kit.late import late

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # how fast it is is no property of ours


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--ci-skips FILE`: a skip whose test is not named in FILE fails the run. `--late SEED`: kit/late.py."""
    parser.addoption("--ci-skips", default=None)
    parser.addoption("--late", default=None, metavar="SEED")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skips, for `--ci-skips`."""
    if report.skipped:
        _skipped.append(report.nodeid)


_skipped: list[str] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail on a skip that is not allowed."""
    allowed_file = session.config.getoption("--ci-skips")
    if allowed_file is None or hasattr(session.config, "workerinput"):
        return
    allowed = set(Path(allowed_file).read_text().split())
    wrong = [name for name in _skipped if name not in allowed]
    if wrong:
        print("\nskipped, and not in", allowed_file, *wrong, sep="\n  ")
        session.exitstatus = 1


@pytest.fixture(autouse=True)
def _structlog_restored() -> Iterator[None]:
    """Leave structlog as a host that never set it up: `capture_logs` calls `configure`, and leaves it called.

    Whoever looks for our lines in `logging` would find none in the same process afterwards (log.Events).
    """
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _late_statements(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--late`, let the program's statements come late."""
    seed = request.config.getoption("--late")
    with late(f"{seed} {request.node.nodeid}") if seed else nullcontext():
        yield


@pytest.fixture(scope="session")
def server_url(chimeway_server: str) -> str:
    """The URL of the server's own database."""
    return chimeway_server


@pytest.fixture
def database_url() -> Iterator[str]:
    """A database of this test alone, on the real clock."""
    with lent(test_clock=False) as url:
        yield url


@pytest.fixture
def clock_database_url() -> Iterator[str]:
    """A database of this test alone, whose clock stands in chimeway.test_clock."""
    with lent(test_clock=True) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open pool on this test's database."""
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
async def clock_database(clock_database_url: str) -> AsyncIterator[Database]:
    """An open pool on this test's database with the movable clock."""
    async with open_database(clock_database_url) as opened:
        yield opened

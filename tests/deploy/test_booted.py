"""The units under a real systemd: started when the lease is there, ended in order, restarted by the watchdog.

`deploy/install` is run as an operator runs it, on a machine of its own (kit/booted.py); Chimeway comes from a
wheel, PostgreSQL knows the node by its user's name, and secrets come as credentials.
"""

import asyncio
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.booted import BINARIES, Machine, booted, refusal
from kit.home import TEMPLATES, email, in_app, wait, workflow
from kit.invariants import assert_invariants
from kit.receiver import receiving
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

pytestmark = [pytest.mark.big, pytest.mark.timeout(240)]
PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
PROGRAM = "/opt/chimeway/bin/chimeway"
DATABASE = "postgresql:///chimeway?host=/var/run/postgresql"
UNIT = "/usr/local/lib/systemd/system/chimeway.service"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOLD = workflow(in_app(), key="told")
MAILED = workflow(in_app(), wait(duration="PT0.5S"), email(), key="mailed")
HOOKED = workflow(
    {"id": "a", "action": {"type": "notify", "channel": "webhook", "render_key": "told"}}, key="hooked"
)
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger($1, recipient_id => id)
  from (select $2 || '_' || n as id from generate_series(1, $3::int) n) u"""

MADE_UP = """
[Service]
Type=exec
DynamicUser=yes
StateDirectory=chimeway
Environment=CHIMEWAY_LOG_FORMAT=json CHIMEWAY_DATA_DIR=%S/chimeway
ExecStart=/opt/chimeway/bin/chimeway serve
KillMode=mixed"""
UNANSWERED = """
select a.delivery_id from chimeway.delivery_attempts a
  left join chimeway.delivery_attempt_results x using (delivery_id, attempt_no, shard)
 where x.outcome is null"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine for all tests here."""
    if (missing := refusal()) is not None:
        pytest.skip(missing)
    with booted(tmp_path_factory.mktemp("booted")) as found:
        yield found


@pytest.fixture
def installed(machine: Machine) -> Iterator[Machine]:
    """What an operator has after the installation: units, a database, workflows; nothing is started."""
    said = machine.says("/opt/deploy/install")
    assert "next       systemctl enable --now chimeway" in said
    setting(machine, "EMAIL_FROM", "no-reply@example.org")
    setting(machine, "HTTP_BIND", "")
    for definition in (TOLD, MAILED, HOOKED):
        machine.write(f"/etc/chimeway/workflows/{definition['key']}.yaml", yaml.safe_dump(definition))
    for name, text in {**TEMPLATES, "told.webhook.j2": "{% block body %}hello{% endblock %}"}.items():
        machine.write(f"/etc/chimeway/templates/{name}", text)
    yield machine
    said = machine.says("/opt/deploy/install", "--uninstall", "--purge")
    machine.says("sh", "-c", "rm -rf /etc/systemd/system/chimeway*; systemctl daemon-reload")
    machine.tries("systemctl", "start", "postgresql")
    asked(machine, "drop database if exists chimeway with (force)", "drop role if exists chimeway")


def asked(machine: Machine, *sql: str) -> None:
    """Ask the server as its superuser."""
    words = [word for one in sql for word in ("-c", one)]
    machine.says(f"{BINARIES}/psql", "-h", "/run/postgresql", "-q", *words, "postgres", as_="postgres")


def with_database(machine: Machine) -> None:
    """Make the database, and name it in a credential."""
    asked(machine, "create role chimeway login", "create database chimeway owner chimeway")
    machine.says(PROGRAM, "db", "init", "--database-url", DATABASE, as_="chimeway")
    credential(machine, "database_url", DATABASE)


def setting(machine: Machine, name: str, value: str) -> None:
    """Add one to what `deploy/install` has put there."""
    with (machine.inside / "etc/chimeway/environment").open("a") as file:
        file.write(f"CHIMEWAY_{name}={value}\n")


def credential(machine: Machine, name: str, text: str) -> None:
    """Write a secret as an operator does: for root alone."""
    machine.write(f"/etc/chimeway/credentials/{name}", text + "\n", 0o600)


def drop_in(machine: Machine, unit: str, *lines: str) -> None:
    """What `systemctl edit` writes."""
    machine.write(f"/etc/systemd/system/{unit}.d/test.conf", "\n".join(("[Service]", *lines, "")))
    machine.says("systemctl", "daemon-reload")


def shown(machine: Machine, name: str, unit: str = "chimeway") -> str:
    """Return what systemd says of a unit."""
    return machine.says("systemctl", "show", "--value", "-p", name, unit)


def journal(machine: Machine, unit: str = "chimeway") -> list[dict[str, Any]]:
    """Return the lines of a node's log, read out of the journal."""
    which = f"_SYSTEMD_INVOCATION_ID={unit}" if len(unit) == 32 else f"--unit={unit}"
    lines = machine.says("journalctl", which, "-o", "cat", "--no-pager").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


async def until(machine: Machine, name: str, value: str, unit: str = "chimeway") -> None:
    """Wait until systemd says so of a unit."""
    try:
        await wait_for(
            lambda: shown(machine, name, unit).startswith(value), f"{name} is {value}", every_s=0.1
        )
    except pytest.fail.Exception:
        print(machine.says("journalctl", "--no-pager", "-n", "40"))
        raise


async def test_it_is_started_when_it_has_its_lease(installed: Machine) -> None:
    """Not before: while there is no database it is tried again, and says why; it outlives its restarts."""
    with_database(installed)
    installed.says("systemctl", "stop", "postgresql")
    assert installed.tries("systemctl", "start", "chimeway").returncode == 1
    assert shown(installed, "ActiveState") == "activating"
    assert "error[database_unavailable]" in installed.says("journalctl", "-u", "chimeway", "-o", "cat")
    installed.says("systemctl", "start", "postgresql")
    await until(installed, "ActiveState", "active")
    last = journal(installed, shown(installed, "InvocationID"))
    events = [line["event"] for line in last]
    assert events.index("daemon.starting") < events.index("lease.acquired"), "it is active, and has its lease"
    await until(installed, "StatusText", "working: in time, shards 0-255")
    alive = shown(installed, "MainPID")

    installed.says("systemctl", "restart", "postgresql")
    await until(installed, "StatusText", "working: in time, shards 0-255")
    installed.says("systemctl", "kill", "--signal=QUIT", "--kill-whom=main", "postgresql")
    await until(installed, "StatusText", "the database is lost since 2")
    installed.says("systemctl", "start", "postgresql")
    await until(installed, "StatusText", "working: in time, shards 0-255")
    assert (shown(installed, "MainPID"), shown(installed, "ActiveState")) == (alive, "active")


def test_what_the_page_says_sets_one_up(machine: Machine) -> None:
    """Word by word, but for the environment, which is there."""
    page = PAGE.read_text()
    (steps,) = re.findall(r"```text\n(?:python3 -m venv \S+ .+\n)(deploy/install\n.*?)```", page, re.DOTALL)
    psql = f"export PGHOST=/run/postgresql PATH={BINARIES}:$PATH; cd /opt\n"
    assert "0 fail" in machine.says("sh", "-ec", psql + steps)
    assert shown(machine, "ActiveState") == "active"
    assert shown(machine, "UnitFileState") == "enabled"
    machine.says("/opt/deploy/install", "--uninstall", "--purge")
    asked(machine, "drop database chimeway with (force)", "drop role chimeway")


async def test_secrets_reach_it_and_it_reaches_the_world(installed: Machine) -> None:
    """Credentials, e-mail, webhooks, HTTP, all of it behind the unit's walls; a stop waits for a call."""
    with_database(installed)
    port = free_port()
    async with smtp_sink() as sink, receiving() as hook:
        hooks = {
            "kind": "webhook", "url": f"http://127.0.0.1:{hook.port}/", "secret": SECRET, "allow_http": True,
            "ports": [hook.port], "allow_networks": ["127.0.0.0/8"],
        }  # fmt: skip
        credential(installed, "smtp_url", sink.url)
        credential(installed, "channels", json.dumps({"webhook": {"providers": [hooks]}}))
        setting(installed, "HTTP_BIND", f"127.0.0.1:{port}")
        installed.says("systemctl", "start", "chimeway")
        url = f"http://127.0.0.1:{port}/readyz"
        assert (
            json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url).read()))["status"]
            == "working"
        )
        async with rows_of(installed.database("chimeway")) as rows:
            await rows.all(START, "mailed", "ada", 5)
            await rows.all(START, "hooked", "bob", 5)
            await rows.until_none_live()
            assert (len(sink.mails), len(hook.requests)) == (5, 5)
            gate = sink.hold()
            await rows.all(START, "mailed", "eve", 1)
            await wait_for(gate.reached.is_set, "a call")
            installed.says("systemctl", "stop", "--no-block", "chimeway")
            await until(installed, "StatusText", "draining")
            assert shown(installed, "ActiveState") == "deactivating"
            gate.release()
            await until(installed, "ActiveState", "inactive")
            assert (shown(installed, "Result"), shown(installed, "ExecMainStatus")) == ("success", "0")
            assert not await rows.all(UNANSWERED), "its result was written before the end"
            installed.says("systemctl", "start", "chimeway")
            await rows.until_none_live()
            assert len(sink.to("eve_1")) == 1
        said = installed.says("journalctl", "-u", "chimeway", "--no-pager")
        assert SECRET not in said + installed.says("systemctl", "show", "chimeway")
        assert [line for line in journal(installed) if line["event"] == "daemon.stopped"]


async def test_who_is_blocked_is_killed_and_begins_anew(installed: Machine) -> None:
    """Stopped in the middle of its work: the watchdog ends it, the next life goes on; nothing is lost."""
    with_database(installed)
    async with smtp_sink() as sink, rows_of(installed.database("chimeway")) as rows:
        credential(installed, "smtp_url", sink.url)
        drop_in(installed, "chimeway.service", "WatchdogSec=3")
        installed.says("systemctl", "start", "chimeway")
        await rows.all(START, "mailed", "early", 10)
        await rows.until_none_live()
        gates = [sink.hold() for _ in range(3)]
        await rows.all(START, "mailed", "amid", 100)
        for gate in gates:
            await wait_for(gate.reached.is_set, "a call")
        alive = shown(installed, "MainPID")
        installed.says("systemctl", "kill", "--signal=STOP", "--kill-whom=main", "chimeway")
        await rows.all(START, "mailed", "late", 100)
        await until(installed, "NRestarts", "1")
        await until(installed, "ActiveState", "active")
        for gate in gates:
            gate.release()
        await rows.until_none_live()
        assert shown(installed, "MainPID") != alive
        assert len(sink.deliveries()) == 210
        said = installed.says("journalctl", "-u", "chimeway", "--no-pager", "-o", "cat")
        assert "Watchdog timeout (limit 3s)" in said
        assert "most recent call first" in said, "where it was blocked"
        await assert_invariants(installed.database("chimeway"), rows)
        told = installed.says(PROGRAM, "verify", "--database-url", DATABASE, as_="chimeway")
        print(told.splitlines()[-1])


async def test_several_nodes_on_a_host_share_the_work(installed: Machine) -> None:
    """By the template; one that is killed comes back; a removal ends all of them."""
    with_database(installed)
    nodes = [f"chimeway@{n}" for n in (1, 2, 3)]
    installed.says("systemctl", "enable", "--now", *nodes)
    for node in nodes:
        assert shown(installed, "ActiveState", node) == "active"
    async with rows_of(installed.database("chimeway")) as rows:

        def shares() -> list[int]:
            told = json.loads(
                installed.says(PROGRAM, "nodes", "--json", "--database-url", DATABASE, as_="chimeway")
            )
            return sorted(node["shards"] for node in told["nodes"] if node["shards"])

        await wait_for(lambda: shares() == [85, 85, 86], "each has its share", every_s=0.2)
        installed.says("systemctl", "kill", "--signal=KILL", "--kill-whom=main", nodes[0])
        await rows.all(START, "told", "ada", 50)
        await rows.until_none_live()
        await until(installed, "ActiveState", "active", nodes[0])
        await wait_for(lambda: shares() == [85, 85, 86], "each has its share again", every_s=0.2)
        assert {line["node"] for line in journal(installed, nodes[1]) if "node" in line} == {
            "chimeway-test-2"
        }
    installed.says("/opt/deploy/install", "--uninstall")
    assert installed.tries("pgrep", "-u", "chimeway").stdout == "", "none is left running"
    left = list((installed.inside / "etc/systemd/system").rglob("chimeway*"))
    assert not left, "none is started at the next boot"


async def test_a_postgresql_of_its_own_lives_behind_the_same_walls(installed: Machine) -> None:
    """Where none is named; it recovers after both were killed, and ends after the node has drained."""
    installed.says("systemctl", "start", "chimeway")
    sql = "select count(*) from chimeway.trigger_many('told', recipient_ids => array['a', 'b', 'c'])"
    own = ("env", "CHIMEWAY_DATA_DIR=/var/lib/chimeway", PROGRAM)
    psql = (*own, "db", "exec", f"{BINARIES}/psql", "-Atc")
    assert installed.says(*psql, sql, as_="chimeway") == "3"
    installed.says("systemctl", "kill", "--signal=KILL", "chimeway")
    await until(installed, "NRestarts", "1")
    await until(installed, "ActiveState", "active")
    ended = "select count(*) from chimeway.workflow_runs where state = 'completed'"
    await wait_for(
        lambda: installed.says(*psql, ended, as_="chimeway") == "3", "they have ended", every_s=0.5
    )
    installed.says("systemctl", "stop", "chimeway")
    assert (shown(installed, "Result"), shown(installed, "ExecMainStatus")) == ("success", "0")
    assert "database system is shut down" in installed.says("tail", "-n", "1", "/var/lib/chimeway/server.log")


async def test_who_ran_under_a_made_up_user_finds_his_data(machine: Machine) -> None:
    """As the unit of before did: the installer says what hides its own, and its node has the same data."""
    hiding = "/etc/systemd/system/chimeway.service"
    machine.write(hiding, MADE_UP)
    machine.says("systemctl", "daemon-reload")
    machine.says("systemctl", "start", "chimeway")
    life = shown(machine, "InvocationID")
    await wait_for(lambda: "daemon.ready" in {one["event"] for one in journal(machine, life)}, "it is ready")
    assert (machine.inside / "var/lib/private/chimeway/cluster").exists()
    assert f"beware     {hiding} hides the unit" in machine.tries("/opt/deploy/install").stderr
    machine.says("systemctl", "stop", "chimeway")
    machine.says("rm", hiding)
    machine.says("/opt/deploy/install")
    machine.says("systemctl", "start", "chimeway")
    (now,) = {one["created"] for one in journal(machine, shown(machine, "InvocationID")) if "created" in one}
    assert now is False
    machine.says("/opt/deploy/install", "--uninstall", "--purge")


async def test_an_upgrade_in_place_keeps_what_is_the_operators(installed: Machine) -> None:
    """Units are replaced and known at once, the node works on until it is restarted, settings are kept."""
    with_database(installed)
    older = (installed.inside / UNIT.lstrip("/")).read_text()
    installed.write(UNIT, older.replace("WatchdogSec=60", "WatchdogSec=50"))
    installed.says("systemctl", "daemon-reload")
    installed.says("systemctl", "enable", "--now", "chimeway")
    alive = shown(installed, "MainPID")
    said = installed.says("/opt/deploy/install")
    assert f"installed  {UNIT}" in said
    assert "kept       /etc/chimeway/environment" in said
    assert "next       systemctl restart chimeway.service" in said
    assert (shown(installed, "NeedDaemonReload"), shown(installed, "MainPID")) == ("no", alive)
    installed.says("systemctl", "restart", "chimeway")
    assert shown(installed, "WatchdogUSec") == "1min"
    installed.says("/opt/deploy/install", "--uninstall")
    assert shown(installed, "LoadState") == "not-found"
    assert installed.tries("pgrep", "-u", "chimeway").stdout == ""
    assert installed.says("cat", "/etc/chimeway/credentials/database_url") == DATABASE


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

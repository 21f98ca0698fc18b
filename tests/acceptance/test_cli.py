"""The command line, as people and programs meet it."""

import asyncio
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chimeway.cli.main import COMMANDS
from chimeway.store.pool import Database
from kit.command import Answer, chimeway, inside
from kit.daemon import running_daemon
from kit.home import GUIDE, home
from kit.rows import rows_of
from kit.saboteur import FAULTS, sabotage
from kit.waiting import DEADLINE_S
from store.verify_world import played

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
FAULTY = """\
key: mention
version: 1
steps:
  - id: wait
    action: {type: wait, durration: PT2H}
  - id: email
    action:
      type: notify
      channel: email
"""


async def test_help_names_every_command_and_the_exit_codes() -> None:
    """--help is the list of commands, one sentence each."""
    told = await inside("--help")
    assert told.code == 0
    assert all(f"{name} " in told.out and sentence in told.out for name, (_, sentence) in COMMANDS.items())
    assert all(f" {code} " in told.out for code in range(5))


@pytest.mark.parametrize(("name", "module", "sentence"), [(k, *v) for k, v in COMMANDS.items()])
def test_a_command_is_where_the_list_says(name: str, module: str, sentence: str) -> None:
    """The sentence in the list is the one with which the command's own help begins."""
    app = import_module(f"chimeway.cli.{module}").app
    own = {one.callback.__name__: one.callback.__doc__ for one in app.registered_commands}
    told = app.info.help if app.info.name == name else own[name]
    assert told.startswith(sentence)


async def test_the_list_of_a_group_cuts_no_sentence_off() -> None:
    """Who looks for a command reads what it does to the end."""
    told = await inside("db", "--help")
    assert "..." not in told.out.partition("Commands:")[2]
    assert "exit 1 if this program cannot work on it." in " ".join(told.out.split())


async def test_help_imports_no_more_than_it_needs() -> None:
    """What a command needs is imported when it is used: --help stays quick."""
    code = "import sys, chimeway.cli.main; print(sorted(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    for heavy in ("chimeway.daemon", "chimeway.settings", "chimeway.store.verify", "yaml"):
        assert f"'{heavy}'" not in out.decode()


async def test_a_check_of_definitions_imports_no_node() -> None:
    """It is run at each keystroke of somebody: what renders is imported where templates are named."""
    code = "import sys, chimeway.cli.workflow; print(sorted(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    for heavy in ("chimeway.app", "chimeway.daemon", "jinja2"):
        assert f"'{heavy}'" not in out.decode()


async def test_check_prints_faults_as_a_compiler_does(tmp_path: Path) -> None:
    """All faults at once, each with file, line, code and place; the exit code says whether there are any."""
    (tmp_path / "faulty.yaml").write_text(FAULTY)
    (tmp_path / "sound.yaml").write_text(GUIDE)
    told = await inside("workflow", "check", "faulty.yaml", "sound.yaml", cwd=tmp_path)
    assert told.code == 1
    lines = told.out.splitlines()
    assert lines[0].startswith("faulty.yaml:5: error[unknown_key] steps[0].action.durration: ")
    assert [line.split(":")[1] for line in lines[:-1]] == ["5", "5", "7"]
    assert lines[-1] == "2 definitions: 3 errors, 0 warnings"
    assert (await inside("workflow", "check", "sound.yaml", cwd=tmp_path)).code == 0
    found = (await inside("workflow", "check", "--json", "-", stdin=FAULTY)).json
    assert (found["errors"], found["definitions"][0]["problems"][0]["code"]) == (3, "unknown_key")


async def test_rehearse_plays_a_journey_on_paper(tmp_path: Path) -> None:
    """The timeline of a file and a script; no database is asked."""
    (tmp_path / "guide.yaml").write_text(GUIDE)
    (tmp_path / "read.yaml").write_text("[{at: PT1S, signal: notification_read}]")
    (tmp_path / "wrong.yaml").write_text("[{at: soon, signal: notification_read}]")
    unread = await inside("workflow", "rehearse", "guide.yaml", cwd=tmp_path)
    assert unread.code == 0
    assert "+0:00:02" in unread.out
    assert unread.out.splitlines()[-1] == "The run is completed (workflow_completed)."
    read = await inside("workflow", "rehearse", "guide.yaml", "--script", "read.yaml", "--json", cwd=tmp_path)
    assert (read.json["state"], len(read.json["deliveries"])) == ("stopped", 1)
    wrong = await inside("workflow", "rehearse", "guide.yaml", "--script", "wrong.yaml", cwd=tmp_path)
    assert wrong.code == 3
    assert wrong.err.startswith("error[invalid_input]: events[0].at: ")


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("rnus",), 2, "Did you mean 'runs'?"),
        (("runs", "--database-url", "mysql://x"), 2, "CHIMEWAY_DATABASE_URL is 'mysql://...'"),
        (("runs", "--state", "sleeping", "--database-url", NOWHERE), 2, "'sleeping'"),
        (("trigger", "w", "--data", "{", "--database-url", NOWHERE), 2, "--data: line 1: no JSON"),
        (("trigger", "w", "--at", "noon", "--database-url", NOWHERE), 2, "--at is no instant"),
        (("identify", "ada", "--address", "sms", "--database-url", NOWHERE), 2, "CHANNEL=ADDRESS"),
        (("cancel", "--database-url", NOWHERE), 2, "give one of RUN_ID and --cancellation-key"),
        (("workflow", "check", "missing.yaml"), 2, "missing.yaml cannot be read"),
        (("overdue", "--max-lateness", "5", "--database-url", NOWHERE), 2, "CHIMEWAY_MAX_LATENESS is '5'"),
        (("verify", "--database-url", NOWHERE), 4, "error[database_unavailable]"),
        (("verify", "--sample", "9", "--tenant", "x"), 2, "--sample is of everything"),
        (("verify", "--seed", "9"), 2, "--seed is of a sample"),
        (("verify", "--since", "P1Y1"), 2, "--since is no duration"),
        (("verify", "--after", "runs:7"), 2, "--after is no place that verify told: runs:7"),
        (("verify", "--after", "7"), 2, "--after is no place that verify told: 7"),
        (("verify", "--after", "events", "--sample", "9"), 2, "leave --sample out"),
        (("replay", "--since", "noon", "--all"), 2, "--since is no instant"),
        (("replay",), 2, "give one of RUN_ID and --all"),
        (("replay", "7", "--since", "P1D"), 2, "are of --all"),
        (("replay", "--all", "--after", "7", "--sample", "9"), 2, "leave --sample out"),
        (("runs", "--json", "--database-url", NOWHERE), 4, '{"error": {"code": "database_unavailable"'),
    ],
)
async def test_an_error_says_what_is_wrong_and_what_would_be_right(
    tmp_path: Path, args: tuple[str, ...], code: int, told: str
) -> None:
    """Errors go to stderr, stdout stays empty, and the exit code tells their kind."""
    answer = await inside(*args, cwd=tmp_path)
    assert (answer.code, answer.out) == (code, "")
    assert told in " ".join(answer.err.split())


async def test_serve_refuses_a_clock_that_stands_still(clock_database_url: str) -> None:
    """A schema that was installed for tests is none for a node."""
    async with asyncio.timeout(DEADLINE_S):
        answer = await chimeway("serve", url=clock_database_url)
    assert (answer.code, "time stands still in this database" in answer.err) == (3, True), answer


async def test_refusals_bear_their_stable_code(database_url: str, tmp_path: Path) -> None:
    """What the database refuses or does not know ends with 3, and its code is in the message."""
    (tmp_path / "faulty.yaml").write_text(FAULTY)
    unknown = str(uuid4())
    asked = {
        ("trigger", "nothing", "--recipient", "ada"): "unknown_workflow",
        ("explain", unknown): "workflow_run_not_found",
        ("replay", unknown): "workflow_run_not_found",
        ("replay", "seven"): "invalid_input",
        ("replay", "--all", "--after", "seven"): "invalid_input",
        ("explain", "seven"): "invalid_input",
        ("cancel", unknown): "workflow_run_not_found",
        ("hold", unknown): "workflow_run_not_found",
        ("workflow", "show", "nothing"): "unknown_workflow",
        ("workflow", "activate", "nothing", "1"): "unknown_workflow",
        ("workflow", "pause", "nothing"): "unknown_workflow",
        ("workflow", "register", "faulty.yaml"): "invalid_definition",
        ("runs", "--cursor", "x"): "invalid_input",
    }
    answers = await asyncio.gather(*(inside(*args, url=database_url, cwd=tmp_path) for args in asked))
    for (args, code), answer in zip(asked.items(), answers, strict=True):
        assert (answer.code, answer.out) == (3, ""), args
        assert answer.err.startswith(f"error[{code}]: "), answer.err


async def test_db_installs_once_and_says_what_is_there(database: Database, database_url: str) -> None:
    """status, init, migrate on a database without schema, and on one with it."""
    async with database.acquire() as connection:
        await connection.execute("drop schema chimeway cascade")
    assert (await inside("db", "status", url=database_url)).code == 1
    absent = await inside("runs", url=database_url)
    assert (absent.code, "chimeway db init" in absent.err) == (3, True)
    assert (await inside("db", "migrate", url=database_url)).code == 3
    first = await inside("db", "init", "--json", url=database_url)
    again = await inside("db", "init", "--json", url=database_url)
    assert (first.json["installed"], again.json["installed"]) == (True, False)
    assert "nothing to do" in (await inside("db", "migrate", url=database_url)).out
    assert (await inside("db", "status", "--json", url=database_url)).json["usable"] is True


async def test_workflows_are_registered_listed_and_steered(database_url: str, tmp_path: Path) -> None:
    """register, list, show, activate, pause, resume."""
    (tmp_path / "one.yaml").write_text(GUIDE)
    (tmp_path / "two.yaml").write_text(GUIDE.replace("version: 1", "version: 2"))
    (tmp_path / "other.yaml").write_text(GUIDE.replace("PT2S", "PT3S"))

    async def workflow(*args: str) -> Answer:
        return await inside("workflow", *args, url=database_url, cwd=tmp_path)

    registered = (await workflow("register", "one.yaml", "two.yaml", "--json")).json["registered"]
    assert [(one["version"], one["new"]) for one in registered] == [(1, True), (2, True)]
    assert "known already" in (await workflow("register", "one.yaml")).out
    assert "workflow_definition_version_conflict" in (await workflow("register", "other.yaml")).err
    third, both = GUIDE.replace("version: 1", "version: 3"), ("third.yaml", "other.yaml")
    (tmp_path / "third.yaml").write_text(third)
    assert "workflow_definition_version_conflict" in (await workflow("register", *both)).err
    assert "2*" in (await workflow("list")).out  # all or nothing: the third is not there
    assert "version 1" in (await workflow("activate", "mention_escalation", "1")).out
    assert (await workflow("show", "mention_escalation", "--json")).json["version"] == 1
    assert "the highest" in (await workflow("activate", "mention_escalation")).out
    assert (await workflow("pause", "mention_escalation", "--json")).json["versions"] == 2
    assert all(one["paused_at"] for one in (await workflow("list", "--json")).json["workflows"])
    assert "resumed" in (await workflow("resume", "mention_escalation")).out


async def test_a_journey_by_hand(database_url: str, tmp_path: Path) -> None:
    """Serve in one terminal; in another trigger, look, signal, hold, resume, cancel, explain, verify."""
    slow = GUIDE.replace("PT2S", "PT2H")

    async def ask(*args: str) -> Any:
        return (await inside(*args, "--json", url=database_url)).json

    async with (
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, slow)) as daemon,
    ):
        await ask("identify", "ada", "--email", "ada@example.org", "--timezone", "Europe/London")
        people = ("--recipient", "ada", "--recipient", "bob", "--recipient", "eve")
        receipt = await ask("trigger", "mention_escalation", *people, "--idempotency-key", "one")
        again = await ask("trigger", "mention_escalation", *people, "--idempotency-key", "one")
        assert (again["run_ids"], again["duplicate"]) == (receipt["run_ids"], True)
        ada, bob, eve = receipt["run_ids"]
        for run_id in receipt["run_ids"]:
            await rows.until(run_id, "waiting")
        assert len((await ask("runs", "--state", "waiting", "--limit", "2"))["items"]) == 2
        room = await ask("waiting")
        assert {run["run_id"] for run in room["items"]} == {ada, bob, eve}
        assert room["items"][0]["signals"] == ["notification_read"]

        inbox = await ask("inbox", "ada")
        assert (inbox["unseen"], len(inbox["items"])) == (1, 1)
        assert inbox["items"][0]["workflow_key"] == "mention_escalation"
        assert (await ask("inbox", "ada", "--read", inbox["items"][0]["id"]))["unseen"] == 0
        assert (await ask("inbox", "ada", "--undo-read", inbox["items"][0]["id"], "--unseen"))["items"] == []
        assert (await ask("inbox", "ada", "--mark-all", "archived", "--archived"))["unread"] == 0

        await ask("signal", "notification_read", "--actor", "ada", "--payload", '{"document_id": "d"}')
        await rows.until(ada, "stopped")
        assert (await ask("hold", bob, "--note", "wait for legal"))["held_reason"] == "held_by_request"
        assert "run_not_holdable" in (await inside("hold", bob, url=database_url)).err
        assert [run["kind"] for run in (await ask("runs", "--stuck"))["items"]] == ["held"]
        assert (await ask("resume", bob))["held_reason"] is None
        assert "run_not_held" in (await inside("resume", bob, url=database_url)).err
        stopped = await ask("cancel", eve, "--note", "left the company")
        assert [run["run_id"] for run in stopped["stopped"]] == [eve]
        assert (await ask("cancel", eve))["already_ended"][0]["state"] == "stopped"

        told = await ask("explain", ada)
        assert (told["run"]["state"], told["timeline"][0]["what"]) == ("stopped", "workflow_started")
        for_people = await inside("explain", ada, url=database_url)
        assert told["why"][0] in for_people.out
        assert (await ask("verify"))["violations"] == []
        assert await daemon.stopped() == 0


async def test_verify_says_what_it_looked_at(database: Database, database_url: str) -> None:
    """Of all or of a part, in a sentence and in JSON."""
    await inside("workflow", "register", "-", url=database_url, stdin=GUIDE)
    await inside("trigger", "mention_escalation", "--recipient", "ada", "--tenant", "t", url=database_url)

    async def told(*args: str) -> str:
        return (await inside("verify", "--max-lateness", "PT1H", *args, url=database_url)).out

    assert (await told("--tenant", "other")).startswith("0 runs, 0 events, 0 signals, of tenant other, 30")
    later = await told("--tenant", "t", "--since", "2999-01-01T00:00:00Z")
    assert later.startswith("0 runs, 0 events, 0 signals, of tenant t, since 2999-01-01 00:00:00Z, 30 checks")
    assert (await told("--since", "P1D")).startswith("1 runs, 1 events, 0 signals, since 20")
    some = await told("--sample", "100", "--seed", "7")
    assert some.startswith("1 runs, 1 events, 0 signals, a sample of about 100 runs (seed 7), 30 checks")
    found = json.loads(await told("--sample", "100", "--json"))
    assert (found["runs"], found["unreadable"], found["scope"]["sample"]) == (1, 0, 100)


async def test_replay_says_of_each_decision_whether_it_is_the_same(
    clock_database: Database, clock_database_url: str
) -> None:
    """Exit 0 where all are the same; 1, what was written and what is decided now, where one is not."""
    world = await played(clock_database)
    run_id = str(world.runs["late"])
    one, every = ("replay", run_id), ("replay", "--all")
    well = await inside(*one, url=clock_database_url)
    assert (well.code, well.out.splitlines()[-1]) == (0, "3 decisions: all the same")
    assert re.search(r"\s2 to 5 .*waiting_for_step_progression\s+the same$", well.out, re.MULTILINE)
    whole = await inside(*every, url=clock_database_url)
    assert (whole.code, whole.out) == (0, "10 runs, 21 decisions: all the same\n")
    spelled = "update chimeway.deliveries set render_key = 'x' where run_id = $run and channel = 'email'"
    await world.break_it("late", spelled)
    found = await inside(*one, url=clock_database_url)
    assert (found.code, found.out.splitlines()[-1]) == (1, "3 decisions: 1 of 3 differ")
    assert 'written, planned: [[3, "email", "email", "x"]]' in found.out
    assert 'decided again, planned: [[3, "email", "email", "mention"]]' in found.out
    for args in (one, every):
        assert (await inside(*args, "--json", url=clock_database_url)).code == 1
    told = (await inside(*every, "--json", url=clock_database_url)).json
    assert (told["runs"], told["decisions"]["different"]) == (10, 1)
    assert [each["run_id"] for each in told["different"]] == [run_id]
    assert f"{run_id}: decision " in (await inside(*every, url=clock_database_url)).out
    rest = await inside(*every, "--after", told["place"], url=clock_database_url)
    assert (rest.code, rest.out) == (0, "0 runs, 0 decisions: all the same\n")
    other = await inside(*one, "--tenant", "other", url=clock_database_url)
    assert (other.code, 'run of tenant "default"' in other.err) == (3, True)


async def test_verify_goes_on_where_it_was_interrupted(
    clock_database: Database, clock_database_url: str
) -> None:
    """What it had found until then is told, and the place from which on nothing was looked at."""
    world = await played(clock_database)
    await world.break_it(
        "late", "update chimeway.deliveries set render_key = 'x' where run_id = $run and channel = 'email'"
    )
    with sabotage() as saboteur:
        saboteur.arm("verify_signal_runs", 1, FAULTS["cut before"])
        broken = await inside("verify", url=clock_database_url)
        saboteur.arm("verify_signal_runs", 1, FAULTS["cut before"])
        told = await inside("verify", "--json", url=clock_database_url)
    assert (broken.code, "I10 decisions: 1 violate" in broken.out) == (4, True), broken
    assert "verified 20 rows as far as signals: go on with --after signals\n" in broken.err
    so_far = json.loads(told.out)
    assert (told.code, so_far["place"], len(so_far["violations"])) == (4, "signals", 1)
    assert json.loads(told.err)["error"]["code"] == "database_unavailable"
    rest = await inside("verify", "--after", so_far["place"], url=clock_database_url)
    told_at_last = "0 runs, 0 events, 6 signals, behind signals, 30 checks: all 10 invariants hold\n"
    assert (rest.code, rest.out) == (0, told_at_last)
    last = (await inside("verify", "--after", "signals", "--json", url=clock_database_url)).json["place"]
    end = (await inside("verify", "--after", last, "--json", url=clock_database_url)).json
    assert (end["rows"], end["place"], last.startswith("signals:")) == (0, last, True)


async def test_verify_and_overdue_say_what_is_wrong(database: Database, database_url: str) -> None:
    """Exit 0 while all is well; 1, the invariant and its examples once something is broken."""
    await inside("workflow", "register", "-", url=database_url, stdin=GUIDE)
    await inside("trigger", "mention_escalation", "--recipient", "ada", url=database_url)
    well = await inside("verify", "--max-lateness", "PT1H", url=database_url)
    told = "1 runs, 1 events, 0 signals, 30 checks: all 10 invariants hold\n"
    assert (well.code, well.out) == (0, told)
    async with database.acquire() as connection:
        await connection.execute(
            """update chimeway.workflow_runs
                  set transition_count = 7, wake_at = wake_at - interval '1 day' returning id"""
        )
        run_id = await connection.fetchval("select id from chimeway.workflow_runs")
    found = await inside("verify", "--json", url=database_url)
    assert found.code == 1
    assert [one["invariant"] for one in found.json["violations"]] == ["I1", "I6"]
    assert str(run_id) in (await inside("verify", url=database_url)).out
    late = await inside("overdue", "--json", url=database_url)
    assert (late.code, [run["run_id"] for run in late.json["items"]]) == (1, [str(run_id)])
    assert (await inside("overdue", "--max-lateness", "P2D", url=database_url)).code == 0

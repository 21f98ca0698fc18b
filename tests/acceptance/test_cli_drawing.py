"""`workflow show` and `workflow paths`; what a terminal shows; completion; help."""

import asyncio
import os
import re
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from chimeway.cli import pathways
from chimeway.cli.main import COMMANDS
from chimeway.cli.printing import folded, span
from chimeway.store.pool import open_database
from chimeway.workflow import survey
from kit.command import inside, on_terminal, plain
from kit.golden import agrees
from kit.home import GUIDE
from store.journey import journey
from store.why_cases import ADA, DOC, MENTION

GOLDEN = Path(__file__).with_name("cli.golden.txt")
OPEN = """\
key: appointment
version: 2
stop_conditions: [{type: signal_received, signal_type: called_off}]
steps:
  - id: until
    action: {type: wait, until: {data: remind_at}}
  - id: email
    action: {type: notify, channel: email, render_key: reminder}
    progress: [{kind: on_outcome, outcome: bounced, to_step: sms}]
  - id: sms
    action: {type: notify, channel: sms, render_key: reminder}
    next: until
"""
ROUNDS = """\
key: reminders
version: 1
steps:
  - id: morning
    action:
      type: wait
      until: {at: "09:00", on: working_days}
      stop_conditions: [{type: signal_received, signal_type: read}]
  - id: remind
    action: {type: notify, channel: email, render_key: reminder}
    next: {repeat: morning, times: 2, then: end}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the guide's journey, and one that has all that paths can have."""
    (tmp_path / "guide.yaml").write_text(GUIDE)
    (tmp_path / "open.yaml").write_text(OPEN.replace("    next: until\n", ""))
    (tmp_path / "rounds.yaml").write_text(ROUNDS)
    return tmp_path


@pytest.mark.parametrize(
    "args",
    [
        ("guide.yaml",),
        ("open.yaml",),
        ("open.yaml", "--data", '{"remind_at": "2026-01-05T16:30:00Z"}', "--limit", "1"),
        ("rounds.yaml", "--zone", "Europe/London", "--holiday", "2026-01-01", "--holiday", "2026-01-02"),
    ],
    ids=" ".join,
)
async def test_paths(folder: Path, args: tuple[str, ...]) -> None:
    """Every path with its times, and what they say together, word for word."""
    answer = await inside("workflow", "paths", *args, cwd=folder)
    assert (answer.code, answer.err) == (0, "")
    agrees(GOLDEN, f"paths {' '.join(args)}", answer.out)


def test_what_was_not_looked_at_is_not_promised(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where paths are too many to look at all, the sums are of those that were."""
    monkeypatch.setattr(survey, "MOST_PATHS", 1)
    pathways.paths(folder / "open.yaml", zone="UTC", limit=1)
    told = capsys.readouterr().out.splitlines()
    begins = told.index("There are more than 1 paths; 0 of these are not listed (--limit).")
    assert told[begins + 1] == "Only these 1 were looked at: others may bring more messages, or fewer."
    assert told[begins + 2].startswith(("On these, one person gets ", "No path that was looked at "))


async def test_paths_for_programs(folder: Path) -> None:
    """Instants and seconds of every step; what is open is null; wrong input is refused."""
    found = (await inside("workflow", "paths", "guide.yaml", "--json", cwd=folder)).json
    email = found["paths"][1]["steps"][-1]
    assert (email["step"], email["earliest_after_s"], email["latest_after_s"]) == (
        "step_email_escalation", 2.0, 2.0,
    )  # fmt: skip
    assert (email["earliest"], email["may_arrive"]) == ("2026-01-01T00:00:02.000000Z", True)
    assert (found["counted"], found["complete"], found["most_on_path"]) == (2, True, 2)
    opened = (await inside("workflow", "paths", "open.yaml", "--json", cwd=folder)).json
    assert opened["paths"][0]["steps"][1]["latest"] is None
    assert opened["stopped_at_any_moment_by"] == ["called_off"]
    for wrong, told in {
        ("--zone", "Nowhere"): "wanted an IANA name",
        ("--start", "soon"): "--start is no instant",
        ("--data", '{"remind_at": 5}'): "wanted an instant as text",
        ("--working-days", "monday"): "give some of mon,tue,wed,thu,fri,sat,sun",
        ("--working-days", ""): "give some of mon,tue",
        ("--holiday", "Christmas"): "give dates like 2026-12-25",
    }.items():
        answer = await inside("workflow", "paths", "open.yaml", *wrong, cwd=folder)
        assert (answer.code, answer.out) == (2, "")
        assert told in " ".join(answer.err.split())


async def test_paths_of_rounds_for_programs(folder: Path) -> None:
    """Sent in one round, bounced in the next: it may arrive in the one. More steps than may be are cut."""
    step = "{{id: {id}, action: {{type: wait, duration: PT1H}}, next: {{repeat: a, times: 100, then: {to}}}}}"
    (folder / "long.yaml").write_text(
        f"""
        key: k
        version: 1
        steps:
          - {{id: a, action: {{type: notify, channel: email, render_key: x}}}}
          - {step.format(id="w", to="v")}
          - {step.format(id="v", to="end")}
        """
    )
    held = (await inside("workflow", "paths", "long.yaml", "--json", cwd=folder)).json
    assert [path["end"] for path in held["paths"]] == ["held"]
    assert not held["repeats"]
    told = (await inside("workflow", "paths", "long.yaml", cwd=folder)).out
    assert "path 1: the run has entered 1,000 steps and is held" in told
    (folder / "bounce.yaml").write_text(
        """
        key: k
        version: 1
        steps:
          - {id: w, action: {type: wait, duration: P1D}}
          - id: mail
            action: {type: notify, channel: email, render_key: x}
            progress: [{kind: stop, outcome: bounced}]
            next: {repeat: w, times: 1, then: end}
        """
    )
    found = (await inside("workflow", "paths", "bounce.yaml", "--json", cwd=folder)).json
    mails = [[leg["may_arrive"] for leg in path["steps"] if leg["step"] == "mail"] for path in found["paths"]]
    assert mails == [[False], [True, False], [True, True]]


async def test_show_draws_a_file_and_what_is_registered(database_url: str, folder: Path) -> None:
    """The same drawing of both; as SVG to a file or stdout; as JSON with its digest."""
    await inside("workflow", "register", "guide.yaml", url=database_url, cwd=folder)
    of_file = await inside("workflow", "show", "guide.yaml", cwd=folder)
    agrees(GOLDEN, "show guide.yaml", of_file.out)
    assert (await inside("workflow", "show", "mention_escalation", url=database_url)).out == of_file.out
    assert (await inside("workflow", "show", "-", stdin=GUIDE)).out == of_file.out
    svg = await inside("workflow", "show", "guide.yaml", "--svg", "-", cwd=folder)
    assert ET.fromstring(svg.out).tag.endswith("svg")  # noqa: S314  (our own text)
    quiet = await inside(
        "workflow", "show", "mention_escalation", "--svg", "g.svg", url=database_url, cwd=folder
    )
    assert (quiet.code, quiet.out, (folder / "g.svg").read_text()) == (0, "", svg.out)
    nowhere = await inside("workflow", "show", "guide.yaml", "--svg", "no/where.svg", cwd=folder)
    assert (nowhere.code, "cannot be written" in nowhere.err) == (2, True)
    stored = (await inside("workflow", "show", "mention_escalation", "--json", url=database_url)).json
    drafted = (await inside("workflow", "show", "guide.yaml", "--json", cwd=folder)).json
    assert drafted == stored


async def test_a_terminal_that_knows_no_more_than_ascii(folder: Path) -> None:
    """The drawing is made of what there is."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", "workflow", "show", "guide.yaml", cwd=folder, env=environment,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert b"|- notification_read --> # stopped" in out


@pytest.mark.parametrize("columns", [60])
async def test_what_a_terminal_shows(clock_database_url: str, columns: int) -> None:
    """Lines fit, ids stay whole, states are in colour unless NO_COLOR, and strangers' text is harmless."""
    evil = "evil\x1b[31m\u202ered\nline"
    async with (
        open_database(clock_database_url) as database,
        journey(database, MENTION, DOC, **ADA) as ada,
    ):
        await ada.client.trigger(MENTION, DOC, recipients=[evil])
        runs = await on_terminal("runs", url=clock_database_url, columns=columns)
        bare = await on_terminal("runs", url=clock_database_url, columns=columns, NO_COLOR="1")
        told = await on_terminal("explain", str(ada.run_id), url=clock_database_url, columns=columns)
        room = await on_terminal("waiting", url=clock_database_url, columns=columns)
    for written in (runs, told, room):
        lines = plain(written).splitlines()
        assert max(len(line) for line in lines) <= columns
        assert any(str(ada.run_id) in line for line in lines)
    assert "\x1b[33mwaiting" in runs
    assert "\x1b[33m" not in bare
    assert "evil\\x1b[31m\\u202ered\\nline" in plain(runs)
    assert "\u202e" not in runs
    assert re.search(r"Z \(\d+ d( \d+ h)? ago\)|Z \(in \d+", plain(runs))


async def test_completion_knows_commands_and_their_options() -> None:
    """The shell asks; commands that are loaded on demand answer like any other."""
    command = Path(sys.executable).with_name("chimeway")
    if not command.exists():
        pytest.skip("the command is not installed beside this Python")

    async def complete(words: str) -> set[str]:
        asked = {"_CHIMEWAY_COMPLETE": "complete_bash", "COMP_WORDS": words}
        place = {"COMP_CWORD": str(len(words.split(" ")) - 1)}
        process = await asyncio.create_subprocess_exec(
            command, env=os.environ | asked | place, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return set(out.decode().split())

    assert await complete("chimeway wai") == {"waiting"}
    assert "--recipient" in await complete("chimeway runs --re")
    assert {"paths", "pause"} <= await complete("chimeway workflow pa")


OTHERS = {"serve", "db", "demo"}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OTHERS])
def test_each_help_has_an_example(name: str) -> None:
    """What one might type stands at the end of a command's help, and begins with the command."""
    app = import_module(f"chimeway.cli.{COMMANDS[name][0]}").app
    group = app.info.name == name
    for one in app.registered_commands:
        own = one.name or one.callback.__name__
        if group or own == name:
            typed = f"chimeway {name} {own} " if group else f"chimeway {name}"
            assert f"\n  {typed.strip()}" in one.epilog, own


def test_text_is_folded_between_words_only() -> None:
    """No word is broken, however long; what follows is indented."""
    assert folded("one two three", 9, "  ") == ["one two", "  three"]
    assert folded("x" * 30 + " y", 9, "  ") == ["x" * 30, "  y"]


def test_lengths_of_time_are_told_in_two_units() -> None:
    """Rounded down, greatest first."""
    assert span(timedelta(hours=1, minutes=20, seconds=59)) == "1 h 20 min"
    assert span(timedelta(days=3, minutes=4)) == "3 d"
    assert span(timedelta(seconds=59)) == "59 s"

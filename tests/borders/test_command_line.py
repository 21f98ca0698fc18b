"""Bad input on the command line: exit code and whole text, without a traceback, and nothing is written."""

import asyncio
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from borders.counted import nothing_written
from borders.golden import compare
from chimeway import Chimeway
from chimeway.cli.main import main
from store.plain_sql import MENTION

PATIENCE_S = 5.0
RUN = "018f3a2b-0000-7000-8000-000000000001"


class Case(NamedTuple):
    """Arguments, what stands on stdin, and the exit code that is due."""

    arguments: tuple[str, ...]
    code: int = 2
    stdin: bytes = b""


def case(*arguments: str, code: int = 2, stdin: bytes = b"") -> Case:
    """Return a case."""
    return Case(arguments, code, stdin)


TO_A = ("trigger", "mention_escalation", "--recipient", "a")
SAID = ("signal", "read", "--actor", "a")
CASES: dict[str, Case] = {
    "unknown command": case("trigge"),
    "unknown option": case(*TO_A, "--recipent", "b"),
    "trigger: no workflow": case("trigger", code=2),
    "forget: nobody": case("recipients", "forget", "--yes"),
    "forget: an empty recipient": case("recipients", "forget", "", "--yes", code=3),
    "forget: a recipient that is no UTF-8": case("recipients", "forget", "a\udcff", "--yes", code=3),
    "forget: an empty tenant": case("recipients", "forget", "a", "--yes", "--tenant", "", code=3),
    "forget: no answer": case("recipients", "forget", "a", code=3),
    "forget: no": case("recipients", "forget", "a", code=3, stdin=b"n\n"),
    "export: an empty recipient": case("recipients", "export", "", code=3),
    "export: into a folder": case("recipients", "export", "a", "--output", ".", code=3),
    "trigger: an empty workflow": case("trigger", "", "--recipient", "a", code=3),
    "trigger: an unknown workflow": case("trigger", "mention_escalatoin", "--recipient", "a", code=3),
    "trigger: for machines": case("trigger", "nobody", "--recipient", "a", "--json", code=3),
    "trigger: nobody": case("trigger", "mention_escalation", code=3),
    "trigger: a recipient of 256 characters": case("trigger", "w", "--recipient", "x" * 256, code=3),
    "trigger: a recipient that is no UTF-8": case("trigger", "w", "--recipient", "a\udcff", code=3),
    "trigger: 1,001 recipients": case("trigger", "w", *(f"--recipient=u{n}" for n in range(1001)), code=3),
    "trigger: a version in words": case(*TO_A, "--version", "one"),
    "trigger: version 0": case(*TO_A, "--version", "0", code=3),
    "trigger: version 2**31": case(*TO_A, "--version", "2147483648", code=3),
    "trigger: version of 5,000 digits": case(*TO_A, "--version", "9" * 5000),
    "trigger: at without an offset": case(*TO_A, "--at", "2026-03-02T09:00:00"),
    "trigger: at in words": case(*TO_A, "--at", "tomorrow"),
    "trigger: an empty tenant": case(*TO_A, "--tenant", "", code=3),
    "trigger: a key used for another": case(
        *TO_A, "--idempotency-key", "taken", "--data", '{"other": 1}', code=3
    ),
    "data: no JSON": case(*TO_A, "--data", "{"),
    "data: nothing": case(*TO_A, "--data", ""),
    "data: a list": case(*TO_A, "--data", "[1]"),
    "data: a number": case(*TO_A, "--data", "7"),
    "data: NaN": case(*TO_A, "--data", '{"x": NaN}'),
    "data: 1e400": case(*TO_A, "--data", '{"x": 1e400}'),
    "data: 400 digits": case(*TO_A, "--data", f'{{"x": {"9" * 400}}}', code=3),
    "data: 5,000 digits": case(*TO_A, "--data", f'{{"x": {"9" * 5000}}}'),
    "data: NUL": case(*TO_A, "--data", '{"x": "\\u0000"}', code=3),
    "data: a lone surrogate": case(*TO_A, "--data", '{"x": "\\ud800"}', code=3),
    "data: a key twice": case(*TO_A, "--data", '{"x": 1, "x": 2}'),
    "data: depth 1,000": case(*TO_A, "--data", '{"x":' * 1000 + "1" + "}" * 1000),
    "data: depth 65": case(*TO_A, "--data", '{"x":' * 65 + "1" + "}" * 65, code=3),
    "data: 65,537 bytes": case(*TO_A, "--data", json.dumps({"x": "x" * 65_528}), code=3),
    "data: a file that is not there": case(*TO_A, "--data", "@nowhere.json"),
    "data: a folder": case(*TO_A, "--data", "@."),
    "data: a file in UTF-16": case(*TO_A, "--data", "@utf16.json"),
    "data: a file in Latin-1": case(*TO_A, "--data", "@latin1.json"),
    "data: a file of 2 MiB": case(*TO_A, "--data", "@large.json"),
    "data: stdin of nothing": case(*TO_A, "--data", "-"),
    "data: stdin that is no UTF-8": case(*TO_A, "--data", "-", stdin=b'{"x": "\xff"}'),
    "signal: no actor": case("signal", "read"),
    "signal: an empty actor": case("signal", "read", "--actor", "", code=3),
    "signal: payload depth 1,000": case(*SAID, "--payload", "[" * 1000 + "]" * 1000),
    "identify: an unknown zone": case("identify", "a", "--timezone", "Mars/Olympus", code=3),
    "identify: an address without a channel": case("identify", "a", "--address", "token"),
    "identify: a control character": case("identify", "a", "--email", "a@b\nBcc: c@d", code=3),
    "identify: no e-mail address": case("identify", "a", "--email", "Ada <ada@example.org>", code=3),
    "identify: preferences of no known part": case("identify", "a", "--preferences", '{"x": 1}', code=3),
    "recipients: show nobody": case("recipients", "show", "nobody", code=3),
    "recipients: show for machines": case("recipients", "show", "nobody", "--json", code=3),
    "recipients: show no one": case("recipients", "show"),
    "recipients: identify with a locale of no tag": case(
        "recipients", "identify", "a", "--locale", "de/DE", code=3
    ),
    "recipients: list behind nothing": case("recipients", "list", "--cursor", "x", code=3),
    "tenants: show an empty name": case("tenants", "show", "", code=3),
    "tenants: configure an unknown zone": case(
        "tenants", "configure", "t", "--timezone", "Asia/tokyo", code=3
    ),
    "tenants: configure an unknown day": case(
        "tenants", "configure", "t", "--working-days", "mon,tues", code=3
    ),
    "tenants: configure no such day": case("tenants", "configure", "t", "--holidays", "2026-02-29", code=3),
    "tenants: configure preferences that are no JSON": case(
        "tenants", "configure", "t", "--preferences", "{"
    ),
    "tenants: configure half of a night": case(
        "tenants", "configure", "t", "--preferences", '{"quiet_hours": {"from": "22:00"}}', code=3
    ),
    "cancel: neither": case("cancel"),
    "cancel: both": case("cancel", RUN, "--cancellation-key", "k"),
    "cancel: no UUID": case("cancel", "run-7", code=3),
    "cancel: an unknown run": case("cancel", RUN, code=3),
    "cancel: a note of 1,001 characters": case("cancel", RUN, "--note", "n" * 1001, code=3),
    "hold: no UUID": case("hold", "7", code=3),
    "explain: an unknown run": case("explain", RUN, code=3),
    "runs: limit 0": case("runs", "--limit", "0"),
    "runs: a state that is none": case("runs", "--state", "wating", code=2),
    "runs: a cursor of nonsense": case("runs", "--cursor", "nonsense", code=3),
    "overdue: a lateness in words": case("overdue", "--max-lateness", "soon"),
    "overdue: a lateness beyond all": case("overdue", "--max-lateness", f"P{'9' * 400}D"),
    "workflow: a file that is not there": case("workflow", "check", "nowhere.yaml"),
    "workflow: a folder": case("workflow", "check", "."),
    "rehearse: a script of depth 1,000": case("workflow", "rehearse", "good.json", "--script", "deep.yaml"),
    "rehearse: a script with a tag": case("workflow", "rehearse", "good.json", "--script", "tag.yaml"),
    "rehearse: a script in UTF-16": case("workflow", "rehearse", "good.json", "--script", "utf16.json"),
    "rehearse: a script that is a list": case(
        "workflow", "rehearse", "good.json", "--script", "list.yaml", code=3
    ),
}
FILES = {
    "utf16.json": '{"x": 1}'.encode("utf-16-le"),
    "latin1.json": '{"x": "é"}'.encode("latin-1"),
    "large.json": json.dumps({"x": "x" * 2_097_152}).encode(),
    "good.json": json.dumps(MENTION).encode(),
    "deep.yaml": b"[" * 1000 + b"]" * 1000,
    "tag.yaml": b"start: !!python/object/apply:os.system [id]",
    "list.yaml": b"[1, 2]",
}


def _outcome(
    name: str, one: Case, url: str, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run a command in this process; return its exit code and what it said."""
    option = () if one.arguments[0] in {"workflow", "trigge"} else ("--database-url", url)
    patch.setattr(sys, "argv", ["chimeway", *one.arguments, *option])
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(one.stdin)))
    began = time.process_time()
    with pytest.raises(SystemExit) as ended:
        main()
    assert time.process_time() - began < PATIENCE_S, name
    out, err = capsys.readouterr()
    assert out == "", (name, out)
    said = re.sub(
        r"\AUsage: .*?(?=^Error: )", "", err, flags=re.DOTALL | re.MULTILINE
    )  # how pytest is called
    return f"exit {ended.value.code}\n{said}"


def test_bad_input_is_told_and_writes_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fault has its exit code and one whole text; no table has a row more or less."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("TERM", "dumb")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    told: dict[str, str] = {}

    async def prepare() -> None:
        async with Chimeway.connect(database_url) as client:
            await client.register(MENTION)
            await client.trigger("mention_escalation", recipients="a", idempotency_key="taken")

    asyncio.run(prepare())
    counted = nothing_written(database_url)
    with asyncio.Runner() as runner:
        runner.run(counted.__aenter__())
        wrong = {}
        for name, one in CASES.items():
            told[name] = _outcome(name, one, database_url, monkeypatch, capsys)
            if not told[name].startswith(f"exit {one.code}\n"):
                wrong[name] = told[name]
        runner.run(counted.__aexit__(None, None, None))
    compare("command_line", told)
    assert wrong == {}

"""What the command line writes to: closed, full, read by nobody, in another encoding; and Ctrl-C."""

import asyncio
import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from chimeway.cli import main, streams
from kit.home import GUIDE

DIAERESIS = GUIDE.replace("mention_escalation", "Erwähnung_😀")
CHIMEWAY = f"{sys.executable} -m chimeway"


async def shell(line: str, cwd: Path, **environment: str) -> tuple[int, bytes, str]:
    """Run a line of bash, where a pipe's code is that of its first command; no traceback is ever shown."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"{line}\nexit ${{PIPESTATUS[0]}}", cwd=cwd, env=clean | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert "Traceback" not in err.decode(), err.decode()
    assert "Exception ignored" not in err.decode(), err.decode()
    return process.returncode or 0, out, err.decode()


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    """A folder with a definition, whose name no old encoding has."""
    (tmp_path / "guide.yaml").write_text(DIAERESIS, encoding="utf-8")
    return tmp_path


async def test_streams_may_be_closed_full_or_read_by_nobody(guide: Path) -> None:
    """A closed stream is as none; what cannot be written ends with a code of its own and no traceback."""
    show = f"{CHIMEWAY} workflow show guide.yaml"
    expected = {
        f"{show} >&-": 0,
        f"{CHIMEWAY} runs --nothing 2>&-": main.USAGE,
        f"{CHIMEWAY} workflow check - <&-": main.FOUND_WRONG,
        f"{CHIMEWAY} trigger x --recipient ada --data - <&-": main.USAGE,
        f"{show} --svg - >/dev/full": streams.UNWRITABLE,
        f"(sleep 0.1; {show}) | true": streams.READER_GONE,
    }
    answers = await asyncio.gather(*(shell(line, guide) for line in expected))
    assert {line: code for line, (code, _, _) in zip(expected, answers, strict=True)} == expected
    assert "the answer cannot be written (No space left on device)" in answers[4][2]


async def test_programs_can_read_every_answer_in_any_encoding(guide: Path) -> None:
    """JSON and SVG are valid where the terminal's encoding lacks what they hold."""
    show = f"{CHIMEWAY} workflow show guide.yaml"
    (_, told, _), (_, drawn, _), (_, _, wrong) = await asyncio.gather(
        shell(f"{show} --json", guide, PYTHONIOENCODING="latin-1"),
        shell(f"{show} --svg -", guide, PYTHONIOENCODING="ascii"),
        shell(f"{show} --key 😀 --json", guide, PYTHONIOENCODING="ascii"),
    )
    assert json.loads(told.decode("latin-1"))["key"] == "Erwähnung_😀"
    assert "Erwähnung_😀" in "".join(ET.fromstring(drawn.decode()).itertext())  # noqa: S314  (ours)
    error = json.loads(wrong)["error"]
    assert (error["code"], error["hint"]) == ("usage", "chimeway workflow show --help")


async def test_an_interrupt_while_modules_are_read_is_no_traceback(guide: Path) -> None:
    """Ctrl-C before a command has begun ends it as one that has: 130."""
    early = (
        "import os, signal, sys, chimeway.__main__ as main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # the tests' workers ignore it
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "main.main()"
    )
    (guide / "early.py").write_text(early)
    code, out, err = await shell(f"{sys.executable} early.py", guide)
    assert (code, out, err) == (streams.INTERRUPTED, b"", "")


async def test_the_drivers_own_notes_are_not_for_the_terminal(tmp_path: Path) -> None:
    """When a database dies under a command, its pool logs a traceback: a terminal is spared that."""
    note = "logging.getLogger('asyncpg.pool').warning('lost', exc_info=OSError())"
    code = f"import logging; from chimeway.cli import streams; streams.prepare(); {note}"
    assert await shell(f'{sys.executable} -c "{code}"', tmp_path) == (0, b"", "")

"""Bad definition files: found with file, line and path, whatever is in them, and nothing is registered."""

import sys
import time
from pathlib import Path

import pytest

from borders.counted import nothing_written
from borders.definition_cases import CASES, RIGHT
from borders.golden import compare
from chimeway.cli.main import main
from chimeway.workflow.text import check_text

PATIENCE_S = 3.0
_MANY = ("ten_thousand_keys.json",)
"""Each fault of these is told; the file here keeps the first lines."""


def _format(name: str) -> str:
    return name.rpartition(".")[2]


def test_every_fault_is_told_with_its_line_and_place() -> None:
    """The whole text of every file's faults, at once; no nesting and no alias keeps the reader busy."""
    told: dict[str, str] = {}
    for name, content in CASES.items():
        began = time.process_time()
        checked = check_text(content, format=_format(name))  # type: ignore[arg-type]
        assert time.process_time() - began < PATIENCE_S, name
        lines = [problem.printed(name) for each in checked for problem in each.errors]
        assert lines, f"{name} was taken"
        told[name] = "\n".join(lines[:3] if name in _MANY else lines)
    compare("definition_files", told, longest=1_500)


@pytest.mark.parametrize("name", RIGHT)
def test_what_looks_odd_and_is_right_is_taken(name: str) -> None:
    """A byte-order mark, several documents, a hexadecimal version and an alias are no faults."""
    checked = check_text(RIGHT[name], format=_format(name))  # type: ignore[arg-type]
    assert [each.errors for each in checked] == [()] * len(checked)


async def test_nothing_of_a_faulty_file_is_registered(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`workflow register` refuses every such file whole, also where another definition in it is right."""
    monkeypatch.chdir(tmp_path)
    for name, content in CASES.items():
        (tmp_path / name).write_bytes(content)
    async with nothing_written(database_url):
        for name in CASES:
            monkeypatch.setattr(
                sys, "argv", ["chimeway", "workflow", "register", name, "--database-url", database_url]
            )
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code == 3, name
            out, err = capsys.readouterr()
            assert out == "", name
            assert err.startswith("error[invalid_definition]: "), name
            assert name in err, name
            assert len(err) < 20_000, name

"""The style, as far as a machine can check it (what linters and import contracts check is not here)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimeway import limits
from chimeway.log import EVENTS
from chimeway.store.queries import SQL

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "runtime" / "chimeway"
MODULES = sorted(PACKAGE.rglob("*.py"))
_LONGEST = 400
_LONGEST_TEST = 600
_BANNED = {"util", "utils", "helper", "helpers", "common", "manager", "handle", "misc", "stuff"}
_STORE = PACKAGE / "store"


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))], ids=_name)
def test_a_file_is_about_one_thing(path: Path) -> None:
    """No file is longer than 400 lines (a table of tests 600), and each says what it is for."""
    longest = _LONGEST if PACKAGE in path.parents else _LONGEST_TEST
    assert len(path.read_text("utf-8").splitlines()) <= longest
    assert ast.get_docstring(_tree(path)), "no docstring"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_names_say_what_they_do(path: Path) -> None:
    """No module, class or function bears a name that says nothing."""
    named = {path.stem} | {
        node.name
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert not {name for name in named if name.lower().strip("_") in _BANNED}


@pytest.mark.parametrize("path", [m for m in MODULES if m.name != "clock.py"], ids=_name)
def test_only_the_clock_reads_the_time(path: Path) -> None:
    """Wall time is read in one place."""
    for call in _calls(path):
        text = ast.unparse(call.func)
        assert text not in {"datetime.now", "datetime.utcnow", "time.time", "date.today"}, text


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nobody_swallows_a_cancellation(path: Path) -> None:
    """`asyncio.wait_for` does, before Python 3.12; `asyncio.timeout` does not."""
    assert not [call for call in _calls(path) if ast.unparse(call.func) == "asyncio.wait_for"]


@pytest.mark.parametrize("path", [m for m in MODULES if _STORE not in m.parents], ids=_name)
def test_only_the_store_speaks_sql(path: Path) -> None:
    """No SQL stands outside the store."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"\b(select|insert into|update|delete from)\b.*\bchimeway\.\w+", node.value)


def test_each_statement_is_used_and_each_used_one_exists() -> None:
    """A statement that nobody runs is a lie, and an unknown name an error of ours."""
    text = "\n".join(path.read_text("utf-8") for path in _STORE.rglob("*.py"))
    used = set(re.findall(r'SQL\["(\w+)"\]', text)) | set(re.findall(r'"(\w+)"', text)) & SQL.keys()
    assert used == SQL.keys()


def test_each_event_is_logged_and_each_logged_one_is_documented() -> None:
    """The table of events is what the program says, no more and no less."""
    logged = set()
    for path in MODULES:
        for call in _calls(path):
            if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "_log" and call.args:
                first = call.args[0]
                assert isinstance(first, ast.Constant), f"{path}: {ast.unparse(call)}"
                logged.add(first.value)
    assert logged | {"library.logged"} == EVENTS.keys()


def test_each_bound_is_used() -> None:
    """Every bound in limits.py binds something."""
    names = {name for name in vars(limits) if name.isupper()}
    texts = (path.read_text("utf-8") for path in MODULES if path.name != "limits.py")
    assert names <= {word for text in texts for word in re.findall(r"\w+", text)}

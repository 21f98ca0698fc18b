"""The style, as far as a machine can check it (what linters and import contracts check is not here)."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from chimeway import limits
from chimeway.log import EVENTS
from chimeway.store.queries import SQL
from chimeway.web import limits as web_limits

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "runtime" / "chimeway"
MODULES = sorted(PACKAGE.rglob("*.py"))
WITH_TESTS = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]
_LONGEST = 400
_LONGEST_TEST = 600
_BANNED = {"util", "utils", "helper", "helpers", "common", "manager", "handle", "misc", "stuff"}
_STORE = PACKAGE / "store"
_SQL = re.compile(r"\b(select|insert into|update|delete from)\b.*\bchimeway\.\w+")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Return (what is called, as it is written, and the call) of a file."""
    found = (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call))
    return [(ast.unparse(node.func), node) for node in found]


def _calling(*banned: str) -> Iterator[str]:
    for path in MODULES:
        yield from (f"{_name(path)}:{call.lineno}: {name}" for name, call in _calls(path) if name in banned)


def test_a_file_is_about_one_thing() -> None:
    """No file is longer than 400 lines (a table of tests 600), and each says what it is for."""
    wrong = []
    for path in WITH_TESTS:
        lines = len(path.read_text("utf-8").splitlines())
        if lines > (_LONGEST if PACKAGE in path.parents else _LONGEST_TEST):
            wrong.append(f"{_name(path)} has {lines} lines")
        if not ast.get_docstring(_tree(path)):
            wrong.append(f"{_name(path)} has no docstring")
    assert not wrong


def test_names_say_what_they_do() -> None:
    """No module, class or function bears a name that says nothing."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    named = [(path, path.stem) for path in MODULES] + [
        (path, node.name) for path in MODULES for node in ast.walk(_tree(path)) if isinstance(node, kinds)
    ]
    assert not [(_name(path), name) for path, name in named if name.lower().strip("_") in _BANNED]


def test_only_the_clock_reads_the_time() -> None:
    """Wall time is read in one place."""
    found = _calling("datetime.now", "datetime.utcnow", "time.time", "date.today")
    assert {place.partition(":")[0] for place in found} <= {"runtime/chimeway/clock.py"}


def test_nobody_swallows_a_cancellation() -> None:
    """`asyncio.wait_for` does, before Python 3.12; `asyncio.timeout` does not."""
    assert not list(_calling("asyncio.wait_for"))


def test_no_sum_that_is_shared_waits_for_what_is_added() -> None:
    """`shared += await ...` reads the sum before it waits: what others add to it meanwhile is lost."""
    wrong = []
    for path in WITH_TESTS:
        nodes = list(ast.walk(_tree(path)))
        shared = {
            name for node in nodes if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names
        }
        wrong += [
            f"{_name(path)}:{node.lineno}"
            for node in nodes
            if isinstance(node, ast.AugAssign)
            and any(isinstance(part, ast.Await) for part in ast.walk(node.value))
            and (not isinstance(node.target, ast.Name) or node.target.id in shared)
        ]
    assert not wrong


def test_only_the_store_speaks_sql() -> None:
    """No SQL stands outside the store."""
    texts = [
        (f"{_name(path)}:{node.lineno}", node.value)
        for path in MODULES
        if _STORE not in path.parents
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [place for place, text in texts if _SQL.search(text)]


def test_each_statement_is_used_and_each_used_one_exists() -> None:
    """A statement that nobody runs is a lie, and an unknown name an error of ours."""
    text = "\n".join(path.read_text("utf-8") for path in _STORE.rglob("*.py"))
    used = set(re.findall(r'SQL\["(\w+)"\]', text)) | set(re.findall(r'"(\w+)"', text)) & SQL.keys()
    assert used == SQL.keys()


def test_each_event_is_logged_and_each_logged_one_is_documented() -> None:
    """The table of events is what the program says, no more and no less."""
    logged = set()
    for path in MODULES:
        for name, call in _calls(path):
            if re.fullmatch(r"_log\.\w+", name) and call.args:
                first = call.args[0]
                assert isinstance(first, ast.Constant), f"{path}: {ast.unparse(call)}"
                logged.add(first.value)
    assert logged | {"library.logged"} == EVENTS.keys()


def test_each_bound_is_used() -> None:
    """Every bound in limits.py binds something."""
    names = {name for module in (limits, web_limits) for name in vars(module) if name.isupper()}
    texts = (path.read_text("utf-8") for path in MODULES if path.name != "limits.py")
    assert names <= {word for text in texts for word in re.findall(r"\w+", text)}

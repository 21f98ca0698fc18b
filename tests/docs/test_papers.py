"""What the papers say of the code is what the code says of itself."""

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import chimeway
from bench.frame import report
from bench.frame.verdicts import judged
from bench.frame.words import number
from chimeway.errors import ChimewayError
from chimeway.render.findings import CODES
from chimeway.settings import PREFIX, Settings
from chimeway.store.migrations import schema_sql
from docs.rooms import PAGE, ROOT, page_with_plan, rings

PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

_TO_COME = {"fastapi.md", "testing.md"}


def test_the_plan_of_the_house_is_the_house() -> None:
    """The architecture page bears the plan as it is drawn from the code now (`make docs` draws it)."""
    assert PAGE.read_text("utf-8") == page_with_plan()


def test_the_rings_hold_every_room() -> None:
    """Each module and package at the top of chimeway stands in one ring."""
    package = ROOT / "runtime" / "chimeway"
    rooms = {
        path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    named = [room for ring in rings() for room in ring]
    assert rooms - {"__init__"} == set(named) & rooms
    assert len(named) == len(set(named))


def test_each_setting_is_told_to_operators() -> None:
    """The operators' page names every setting there is, and no other."""
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    told = set(re.findall(rf"`({PREFIX}[A-Z_]+)`", text))
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert known <= told, known - told
    assert told <= known | {"CHIMEWAY_CONFIG", "CHIMEWAY_POSTGRES_BIN", "CHIMEWAY_TEST_DATABASE_URL"}, (
        told - known
    )


def test_each_error_code_is_told_to_users() -> None:
    """The page of errors names every code that a user may meet."""
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    told = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    for module in pkgutil.walk_packages(chimeway.__path__, "chimeway."):
        if module.name not in {"chimeway.__main__", "chimeway.testing.plugin"}:
            import_module(module.name)
    assert told == {kind.code for kind in _kinds(ChimewayError)} - {"chimeway_error"}


def test_each_finding_of_templates_is_told() -> None:
    """The page of templates names every code that their check may give, and how bad it is."""
    text = (ROOT / "docs" / "templates.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| (error|warning) \|", text, re.MULTILINE)
    told = {code: severity for codes, severity in rows for code in re.findall(r"\w+", codes)}
    assert told == {code: severity for code, (severity, _) in CODES.items()}


def _kinds(kind: type[ChimewayError]) -> set[type[ChimewayError]]:
    ours = [each for each in kind.__subclasses__() if each.__module__.startswith("chimeway.")]
    below = {found for each in ours for found in _kinds(each)}
    return {kind, *below}


def test_each_sqlstate_is_told() -> None:
    """The page of plain SQL names every SQLSTATE of ours with its code, and no other."""
    text = (ROOT / "docs" / "sql.md").read_text("utf-8")
    told = set(re.findall(r"^\| (CW\d{3}) \| `(\w+)` \|", text, re.MULTILINE))
    raised = {(state, code) for code, state in re.findall(r"refuse\('(\w+)', '(CW\d{3})'", schema_sql())}
    assert told == raised | {("CW010", "append_only"), ("CW011", "schema_mismatch")}


def test_each_function_with_a_role_is_told() -> None:
    """The page of plain SQL names every function that people's roles may call, and its arguments."""
    text = (ROOT / "docs" / "sql.md").read_text("utf-8")
    sql = schema_sql()
    definers = re.findall(
        r"create function chimeway\.(\w+)\(([^)]*)\)[^$]*security definer", sql, re.MULTILINE
    )
    assert len(definers) > 8
    for name, arguments in definers:
        if name in {"being_changed", "prune_next", "begin_restore", "hold_restored"}:
            continue  # a node's own
        for argument in re.findall(r"(?:^|,)\s*(\w+)\s", arguments):
            assert re.search(rf"{name}\([^)]*\b{argument} ", text), f"{name}: {argument}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_link_leads_somewhere(page: Path) -> None:
    """A link to a file of ours leads to a file that is there, and to a heading in it."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text("utf-8")):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(there), f"{page.name}: {target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_what_was_not_reached_is_explained() -> None:
    """The benchmarks' page says of each target that was missed by how much, and why."""
    folder = ROOT / "docs" / "benchmarks"
    text = (folder / "index.md").read_text("utf-8").partition("## What was not reached, and why")[2]
    told = re.findall(r"^- \*\*\[(\w+)\]\(.+?\)\*\*(.+?)(?=^- |^## )", text, re.MULTILINE | re.DOTALL)
    missed = {
        result.code: [each.found for each in judged(result) if each.verdict.startswith("missed")]
        for result in report.kept(folder)
    }
    assert [code for code, _ in told] == [code for code, found in missed.items() if found]
    for code, words in told:
        assert "(log.md#" in words, code
        for found in missed[code]:
            assert found is not None
            assert number(found.median) in words, (code, found)

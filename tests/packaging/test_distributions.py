"""What is in the wheel and in the sdist, and what the wheel says of itself."""

import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest

from kit.environment import ROOT, Distributions, build

PACKAGE = ROOT / "runtime" / "chimeway"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The distributions of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_package_and_nothing_else(built: Distributions) -> None:
    """The package's files with SQL, `schema.sql`, the mark of types, what `chimeway bench` runs; no test."""
    with zipfile.ZipFile(built.wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        schema = archive.read("chimeway/store/schema.sql")
    ours = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    benches = {f"chimeway/bench/{each}" for each in _carried()}
    assert held == ours | benches | {"chimeway/store/schema.sql"}
    kinds = {".py", ".sql", ".typed", ".j2", ".yaml", ".css", ".js", ".svg"}
    assert {Path(name).suffix for name in held} <= kinds, "what is this?"
    assert schema == (ROOT / "schema.sql").read_bytes()
    assert {
        "chimeway/py.typed",
        "chimeway/store/sql/client.sql",
        "chimeway/store/migrations/0002_roles.sql",
        "chimeway/store/migrations/0003_deliveries.sql",
        "chimeway/store/migrations/0004_recipients.sql",
    } <= held


def _carried() -> set[str]:
    """Return what of tests/bench the wheel carries, for `chimeway bench`."""
    bench = ROOT / "tests" / "bench"
    frame = {path.relative_to(bench).as_posix() for path in (bench / "frame").rglob("*.py")}
    return {"__init__.py", "capacity.py", "whole_journeys.py"} | frame


def test_what_the_wheel_carries_of_the_benches_needs_nothing_else_of_the_tests() -> None:
    """It is imported as chimeway.bench there, and no tests lie beside it."""
    for name in _carried():
        text = (ROOT / "tests" / "bench" / name).read_text("utf-8")
        assert "from tests" not in text, name
        assert "from bench" not in text, name
        assert "from kit" not in text, name


def test_the_sdist_holds_what_building_and_testing_need(built: Distributions) -> None:
    """From the sdist a wheel can be built and the tests be run: sources, tests, lock, schema, Makefile."""
    with tarfile.open(built.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "schema.sql", "Makefile", "LICENSE", "README.md", "requirements/dev.txt"}
    needed |= {
        "requirements/build.in",
        "tests/conftest.py",
        "tests/kit/daemon.py",
        "tests/store/why.golden.txt",
    }
    assert needed <= held
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert tests <= held


def test_the_wheel_says_what_it_is(built: Distributions) -> None:
    """Name, version, licence, Python, types and extras stand in the metadata."""
    told = _metadata(built.wheel)
    assert (told["Name"], told["Version"], told["License-Expression"]) == (
        "chimeway",
        version("chimeway"),
        "Apache-2.0",
    )
    assert told["Requires-Python"] == ">=3.11"
    assert told["License-File"] == "LICENSE"
    extras = set(told.get_all("Provides-Extra") or [])
    assert extras >= {"daemon", "embedded", "sync", "web", "otel", "testing", "all"}
    classifiers = set(told.get_all("Classifier") or [])
    pythons = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    assert classifiers >= pythons | {"Typing :: Typed"}


def test_the_light_install_is_light(built: Distributions) -> None:
    """Without an extra six packages are asked for; a new one is a decision."""
    asked = [one for one in _metadata(built.wheel).get_all("Requires-Dist") or [] if "extra ==" not in one]
    names = {one.partition("<")[0].partition(">")[0].strip().lower() for one in asked}
    assert names == {"asyncpg", "pydantic", "pyyaml", "rfc8785", "structlog", "tzdata"}

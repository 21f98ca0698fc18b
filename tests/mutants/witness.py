"""A pytest plugin for runs in a copy of the tree: that it is the copy which is tested, and what came of it.

Loaded by `-p mutants.witness`. It ends a run in which another chimeway, or another schema.sql, would be
tested than those below pytest's root; and it writes what became of each test, by phases, for whoever began
the run.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import chimeway
import kit.waiting
from chimeway.store.migrations import schema_sql

VARIABLE: Final = "MUTANTS_WITNESS"
"""Names the file to write to."""
PATIENCE: Final = "MUTANTS_PATIENCE_S"
"""How long tests wait for what must become true; with a mutant it mostly never does."""
_told: dict[str, Any] = {"tests": []}

if PATIENCE in os.environ:  # before any test module takes the name
    kit.waiting.DEADLINE_S = float(os.environ[PATIENCE])
    (kit.waiting.wait_for.__kwdefaults__ or {})["deadline_s"] = kit.waiting.DEADLINE_S


def pytest_sessionstart(session: pytest.Session) -> None:
    """See that what is imported is what lies below the root (in each worker of xdist, too)."""
    root, schema = session.config.rootpath, schema_sql()
    package = Path(chimeway.__file__ or "").resolve()
    if not package.is_relative_to(root.resolve() / "runtime"):
        raise pytest.UsageError(f"chimeway is imported from {package}, not from {root}")
    if schema != (root / "schema.sql").read_text("utf-8"):
        raise pytest.UsageError(f"the schema is not that of {root}")
    _told["package"] = str(package)
    _told["schema"] = hashlib.sha256(schema.encode()).hexdigest()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep which errors a phase ended with."""
    report = yield
    if call.excinfo is not None:
        report.user_properties.append(("errors", sorted(_names(call.excinfo.value))))
    return report  # type: ignore[return-value]


def _names(error: BaseException) -> set[str]:
    """Return the classes of an error, and of those in a group."""
    if isinstance(error, BaseExceptionGroup):
        return {name for inner in error.exceptions for name in _names(inner)}
    return {type(error).__name__}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of a phase (of workers' tests in their controller, as well)."""
    crash = getattr(report.longrepr, "reprcrash", None)
    _told["tests"].append(
        {
            "id": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "errors": dict(report.user_properties).get("errors", []),
            "said": crash.message.splitlines()[0][:200] if crash is not None and crash.message else "",
        }
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write it all down; a worker of xdist has nothing to write."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ[VARIABLE]).write_text(json.dumps(_told), "utf-8")

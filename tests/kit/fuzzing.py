"""Schemathesis, as a library: what an OpenAPI document promises, tried with what fits it and what not."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemathesis import openapi
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema


@dataclass
class Tried:
    """What was tried, how often, and what was not as it is promised."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, other: "Tried") -> None:
        """Take in what was found beside."""
        self.requests += other.requests
        self.statuses += other.statuses
        self.checks += other.checks
        self.operations |= other.operations
        self.failures |= other.failures


def tried(
    url: str,
    description: Mapping[str, Any],
    people: Mapping[str, str],
    folder: Path,
    excused: Collection[str],
    *,
    examples: int,
    settings: Mapping[str, Any],
) -> Tried:
    """Try every operation in all of Schemathesis's phases and with all of its checks. It blocks.

    Args:
        url: of the node.
        description: of what it answers.
        people: name to token, of those who must not see each other's things.
        folder: for the file that names them, and for what Schemathesis remembers.
        excused: words in a refusal of what fits its schema, for which there is a reason.
        examples: of each operation in each phase that makes them by chance.
        settings: of Schemathesis, beside these.
    """
    load_all_checks()
    document = {
        "schema_version": "0.2.0",
        "auth": [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
            for name, token in people.items()
        ],
    }
    path = folder / "people.json"
    path.write_text(json.dumps(document))
    config = SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "cache": {"directory": str(folder / "schemathesis")},
            "auth": {"wfc": {"path": str(path)} | ({"peers": list(people)} if len(people) > 1 else {})},
            "generation": {"max-examples": examples, "deterministic": True},
            **settings,
        }
    )
    found = Tried()
    for event in from_schema(openapi.from_dict(dict(description), config=config)).execute():
        _take_in(event, found, excused)
    return found


def _take_in(event: Any, found: Tried, excused: Collection[str]) -> None:
    if isinstance(event, events.NonFatalError | events.FatalError):
        error = getattr(event, "value", None) or getattr(event, "exception", None)
        found.failures["error", str(getattr(event, "label", ""))] = repr(error)[:2_000]
    if not isinstance(event, events.ScenarioFinished):
        return
    for case, node in event.recorder.cases.items():
        found.operations.add(node.value.operation.label)
        interaction = event.recorder.interactions.get(case)
        found.requests += 1
        if interaction is not None and interaction.response is not None:
            found.statuses[interaction.response.status_code] += 1
        for check in event.recorder.checks.get(case, ()):
            found.checks[check.name] += 1
            if check.status == "failure" and check.failure_info is not None:
                told = check.failure_info.failure
                key = (node.value.operation.label, check.name)
                said = interaction.response.text if interaction and interaction.response else ""
                if check.name == "positive_data_acceptance" and any(words in said for words in excused):
                    continue
                found.failures.setdefault(key, f"{told}\n{check.failure_info.code_sample}\n{said[:600]}")

"""The page of promises: docs/guarantees.md, drawn from the patches and from what the last run found.

`make mutants` draws it. What stands outside of the two marks is written by hand.
"""

import json
import re
from collections.abc import Iterator
from textwrap import TextWrapper
from typing import Final

from mutants.catalogue import HERE, ROOT, Mutant, mutants

PAGE: Final = ROOT / "docs" / "guarantees.md"
RESULTS: Final = HERE / "results.json"
SUBJECTS: Final = {
    "decisions": "What is decided",
    "signals": "What was said",
    "sending": "What is sent",
    "nodes": "Nodes that die, and others that go on",
    "time": "Time",
    "producers": "Producers",
    "operators": "Operators",
    "policy": "What people want",
    "feedback": "What providers tell later",
    "audit": "What can be shown afterwards",
    "forgetting": "Being forgotten",
    "retention": "What leaves with time",
    "web": "Who asks by HTTP",
}
"""What a patch's name begins with, and the heading it stands under."""
_DRAWN: Final = re.compile(r"(<!-- drawn by make mutants -->\n).*?(<!-- end of what is drawn -->)", re.DOTALL)

_WRAP: Final = TextWrapper(116, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def results() -> dict[str, dict[str, str]]:
    """Return what the last run said of each mutant: `answer`, and of which text of the patch (`patch`)."""
    found: dict[str, dict[str, str]] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    return found


def keep(answers: dict[Mutant, str]) -> None:
    """Write down what a run said, beside what is known of the others; and draw the page."""
    known = results() | {m.name: {"answer": said, "patch": m.digest} for m, said in answers.items()}
    names = {mutant.name for mutant in mutants()}
    kept = {name: known[name] for name in sorted(known) if name in names}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    PAGE.write_text(page_with_promises(), "utf-8")


def page_with_promises() -> str:
    """Return the page as it should be."""
    drawn = "\n".join(_drawn())
    return _DRAWN.sub(lambda found: f"{found[1]}\n{drawn}\n{found[2]}", PAGE.read_text("utf-8"))


def _drawn() -> Iterator[str]:
    caught = sum(result["answer"] == "caught" for result in results().values())
    yield f"{len(mutants())} promises; of their mutants {caught} were caught when they were last run.\n"
    for subject, heading in SUBJECTS.items():
        yield f"### {heading}\n"
        yield from (_entry(mutant) for mutant in mutants() if mutant.subject == subject)
        yield ""


def _entry(mutant: Mutant) -> str:
    answer = results().get(mutant.name, {}).get("answer", "not yet run")
    told = (
        f"- **{mutant.promise}** {mutant.kept}",
        f"  Taken out ([`{mutant.name}`](../tests/mutants/{mutant.name}.patch)) it is to be missed by",
        f"  [`{mutant.test_name}`](../{mutant.test_file}): {answer}.",
    )
    return "\n".join(_WRAP.fill(line) for line in told)

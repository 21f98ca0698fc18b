"""What a fault run found, as text and markdown for people and as JSON for programs."""

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from faults.checker import Judgement
from faults.measuring import Figures, percentiles
from faults.schedule import SORTS, Happened
from faults.world import Size

_SHOWN: Final = 20


@dataclass(slots=True)
class Report:
    """Everything that is told of a run."""

    seed: int
    command: str
    mutant: str | None
    seconds: float
    drained_s: float
    size: Size
    versions: dict[str, str]
    settings: dict[str, Any]
    journeys: int
    verdicts: dict[str, int]
    counts: dict[str, int]
    unknown_by: dict[str, int]
    seen_clearly: int
    taken: int
    still_open: int
    violations: list[str]
    calls: int
    faults: dict[str, dict[str, Any]]
    taken_over_s: dict[str, dict[str, float]]
    late_s: dict[str, float]
    memory_mib: dict[str, float]
    findings: list[dict[str, str]] = field(default_factory=list)
    words: dict[str, list[str]] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether nothing was lost, duplicated or wrong, all has ended, and every invariant holds."""
        return not (any(self.verdicts.values()) or self.still_open or self.violations)


def faults_table(faults: Sequence[Happened], figures: Figures) -> dict[str, dict[str, Any]]:
    """Return what is told of each kind of fault."""
    many = Counter(each.kind for each in faults)
    return {
        kind: {
            "faults": many[kind],
            "live_min": min(figures.live[kind]),
            "live_mean": round(sum(figures.live[kind]) / many[kind]),
            "lasted_s": percentiles(figures.lasted_s[kind]),
            "late_s": percentiles(figures.late_s.get(kind, [])),
        }
        for kind in SORTS
        if many[kind]
    }


def verdicts(judgement: Judgement) -> dict[str, int]:
    """Return how many journeys were lost, duplicated and wrong."""
    return {name: judgement.count(name) for name in ("lost", "duplicated", "wrong")}


def write(report: Report, folder: Path) -> None:
    """Write `report.json` and `report.md`."""
    (folder / "report.json").write_text(json.dumps(asdict(report), indent=2, default=str))
    (folder / "report.md").write_text(markdown(report))


def text(report: Report) -> str:
    """Return the report for a terminal."""
    lines = [markdown(report)]
    for finding in report.findings[:_SHOWN]:
        lines.append(f"{finding['verdict'].upper()} {finding['journey']}: {finding['says']}")
        lines += [f"    {word}" for word in report.words.get(finding["journey"], [])]
    if len(report.findings) > _SHOWN:
        lines.append(f"... and {len(report.findings) - _SHOWN} more in report.json")
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """Return the report as it may stand in the docs."""
    size, found = report.size, report.verdicts
    hidden = report.counts.get("repeats under unknown", 0)
    mutant = f", mutant `{report.mutant}`" if report.mutant else ""
    lines = [
        (
            f"`{report.command}`{mutant}: seed {report.seed}, {report.seconds / 60:.1f} minutes of faults, "
            f"{report.drained_s:.0f} s until all was done; {size.nodes} nodes, {size.producers} producers, "
            f"one provider; {' '.join(f'{k} {v}' for k, v in report.versions.items())}."
        ),
        "PostgreSQL: " + " ".join(f"{name}={value}" for name, value in report.settings.items()) + ".",
        "",
        (
            f"**{report.journeys:,} journeys, {report.calls:,} calls of the provider: "
            f"lost {found['lost']}, duplicated {found['duplicated']}, wrong {found['wrong']}.** "
            f"Repeats of a key that a fault explains (`unknown`): {hidden}. Of {report.taken:,} messages "
            f"{report.seen_clearly:,} were taken so far from any fault that a repeat could not be explained. "
            f"Journeys still open in the end: {report.still_open}. `chimeway verify`: "
            f"{'; '.join(report.violations) or 'all 10 invariants hold'}."
        ),
        "",
        (
            "| fault | how often | journeys under way, least (mean) | lasted, p50 / max | "
            "messages late meanwhile, p50 / p99 / max | repeats under `unknown` |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for kind, row in report.faults.items():
        lasted, late = row["lasted_s"], row["late_s"]
        lates = f"{late['p50']:.2f} / {late['p99']:.2f} / {late['max']:.2f} s" if late else ""
        lines.append(
            f"| {SORTS[kind].says} (`{kind}`) | {row['faults']} | {row['live_min']} ({row['live_mean']}) "
            f"| {lasted['p50']:.2f} / {lasted['max']:.2f} s | {lates} | {report.unknown_by.get(kind, 0)} |"
        )
    lines += [
        "",
        "| until the next decision for a shard that the node had, another being up | p50 | p99 | max | of |",
        "|---|---|---|---|---|",
    ]
    for kind, took in report.taken_over_s.items():
        lines.append(
            f"| {kind} | {took['p50']:.2f} s | {took['p99']:.2f} s | {took['max']:.2f} s | {took['n']} |"
        )
    late = report.late_s
    if late:
        times = f"p50 {late['p50']:.2f} s, p99 {late['p99']:.2f} s, at most {late['max']:.2f} s"
        lines += [
            "",
            f"Of all {late['n']:,} messages that nothing planned delayed, after they were due: {times}.",
        ]
    counted = ", ".join(f"{name} {many:,}" for name, many in sorted(report.counts.items()))
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in report.memory_mib.items())
    return "\n".join([*lines, "", f"Counted: {counted}. Memory, most: {memory}.", ""])


def versions(settings: dict[str, Any]) -> dict[str, str]:
    """Return the versions that the figures belong to, and take PostgreSQL's out of the settings."""
    return {
        "Chimeway": version("chimeway"),
        "PostgreSQL": str(settings.pop("server_version")),
        "Python": platform.python_version(),
    }

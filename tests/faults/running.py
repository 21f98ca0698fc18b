"""A fault run from end to end: world, faults, draining, judgement, report."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from faults import checker, measuring, report, schedule
from faults.checker import Finding
from faults.conducting import Conductor, happened
from faults.journal import read
from faults.mutating import package_for
from faults.report import Report
from faults.story import Told, told
from faults.world import Size, World, world

_LOOK_S: Final = 0.5
_EXPLAINED: Final = 10
_ENDS_S: Final = 30.0
"""How long after its last message a journey may take to end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be run.

    `least`: journeys under way at each fault; `deadline_s`: for what is late in the end; `quiet_s`: how long
    nothing must have come any more before the last word is spoken, for doubles come late.
    """

    seed: int
    seconds: float
    every_s: float
    kinds: tuple[str, ...]
    size: Size
    least: int
    deadline_s: float
    quiet_s: float
    folder: Path
    mutant: Path | None = None
    command: str = "make faults"


async def run(wanted: Wanted, say: Callable[[str], None]) -> Report:
    """Run it, and return the report; the logs and the report stay in the folder."""
    many = max(1, round(wanted.seconds / wanted.every_s))
    faults = schedule.draw(wanted.seed, wanted.kinds, many, wanted.size.nodes, wanted.size.lease_s)
    with package_for(wanted.folder, wanted.mutant) as package:
        async with world(wanted.size, wanted.seed, wanted.folder, package) as made:
            settings = await made.postgres.settings()
            for child in made.producers:
                child.start()
            began = time.monotonic()
            conductor = Conductor(made, faults, seconds=wanted.seconds, least=wanted.least, told=say)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(conductor.watch())
                await conductor.play()
                took_s = time.monotonic() - began
                say(f"the faults are over after {took_s:.0f} s; journeys begun: {made.begun()}")
                await made.produced(wanted.deadline_s + 2 * max(wanted.size.waits))
                judgement, stories = await _judged(made, wanted)
                drained_s = time.monotonic() - began - took_s
                watching.cancel()
            judgement.findings += [Finding("wrong", "none", trouble) for trouble in conductor.troubles]
            return await _report(wanted, made, judgement, stories, settings, took_s, drained_s)


async def _judged(made: World, wanted: Wanted) -> tuple[checker.Judgement, Told]:
    """Judge again and again, until nothing is lost and nothing comes any more, or it is too late."""
    ends = time.monotonic() + wanted.deadline_s
    quiet_since, calls = time.monotonic(), -1
    while True:
        items = await measuring.items_of(made.postgres.url, made.orders)
        found = await asyncio.to_thread(_told, made, items)
        judgement = checker.judge(found, happened(made.folder))
        now, came = time.monotonic(), sum(len(story.calls) for story in found.stories.values())
        if came != calls:
            quiet_since, calls = now, came
        if now > ends or (judgement.count("lost") == 0 and now - quiet_since > wanted.quiet_s):
            return judgement, found
        await asyncio.sleep(_LOOK_S)


def _told(made: World, items: Sequence[Any]) -> Told:
    return told([read(each.log) for each in made.orders], read(made.ports.log), items)


async def _report(
    wanted: Wanted, made: World, judgement: checker.Judgement, found: Told, settings: dict[str, Any],
    took_s: float, drained_s: float,
) -> Report:  # fmt: skip
    faults = [each for each in happened(made.folder) if not each.detail.get("not_done")]
    stories = list(found.stories.values())
    figures = await measuring.figures(made.postgres, faults, judgement, stories)
    findings = judgement.findings
    clear, taken = await asyncio.to_thread(checker.seen_clearly, found, happened(made.folder))
    still_open = await measuring.still_open(made.postgres, _ENDS_S)
    violations = await measuring.verified(made.postgres.url)
    ids = list(dict.fromkeys(each.journey for each in findings if each.journey in found.stories))[:_EXPLAINED]
    runs = {j: next(iter(found.stories[j].runs), None) for j in ids}
    words = await measuring.words_about(
        made.postgres.url, [(found.stories[j].plan.tenant, run) for j, run in runs.items() if run]
    )
    made_report = Report(
        seed=wanted.seed, command=wanted.command, mutant=wanted.mutant.name if wanted.mutant else None,
        seconds=round(took_s, 1), drained_s=round(drained_s, 1), size=wanted.size,
        versions=report.versions(settings), settings=settings | {"cores": os.cpu_count()},
        journeys=judgement.journeys, verdicts=report.verdicts(judgement), counts=dict(judgement.counts),
        unknown_by=dict(judgement.unknown_by), seen_clearly=clear, taken=taken,
        still_open=still_open, violations=violations,
        calls=sum(len(story.calls) for story in stories),
        faults=report.faults_table(faults, figures),
        taken_over_s={kind: measuring.percentiles(took) for kind, took in figures.taken_over_s.items()},
        late_s=measuring.percentiles([late_s for _, late_s in judgement.late_s]),
        memory_mib={node.name: round(node.most_mib, 1) for node in made.nodes},
        findings=[asdict(each) for each in findings],
        words={j: words.get(run or "", []) for j, run in runs.items()},
    )  # fmt: skip
    report.write(made_report, wanted.folder)
    return made_report


def say(line: str) -> None:
    """Tell whoever watches."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

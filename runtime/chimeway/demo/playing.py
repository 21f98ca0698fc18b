"""The play: people are mentioned, some read in time, and who does not gets an e-mail."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from chimeway.client.chimeway import Chimeway
from chimeway.client.recipient import Recipient
from chimeway.demo.agreement import disagreements
from chimeway.demo.cast import DATA, PEOPLE, READ, TENANT, WORKFLOW, Person
from chimeway.demo.node import serving
from chimeway.demo.report import Happening, Mail, Report
from chimeway.demo.sink import smtp_sink
from chimeway.store.embedded import running, temporary_folder
from chimeway.store.verify import verify

_ENDED: Final = ("completed", "stopped", "failed")
_DEADLINE_S: Final = 40.0
_LOOK_S: Final = 0.05
_NOW: Final = {
    "waiting_for_step_progression": "waits at {step}",
    "step_activated": "goes on to {step}",
    "workflow_stopped": "has read it: the run stops, and no e-mail will be sent",
    "workflow_completed": "the run is complete",
}
"""What a committed decision means, by the reason that it gives."""


async def play(tell: Callable[[Happening], None]) -> Report:
    """Play the demo once, in a temporary folder, and judge it. Nothing is left of it, however it ends.

    Args:
        tell: hears at once of all that happens.

    Returns:
        what there is to say at the end; `agrees` is what the exit code should say.

    Raises:
        DatabaseUnavailable: no PostgreSQL can be run here.
        MissingExtra: the extras daemon and embedded are not installed.
        NodeFailed: the node did not start.
    """
    return await _Play(tell).run()


class _Play:
    """One play: its clock, and who is who."""

    def __init__(self, tell: Callable[[Happening], None]) -> None:
        self._tell = tell
        self._began = self._passed_at = time.monotonic()
        self._names: dict[str, str] = {}
        self._timings: dict[str, float] = {}

    async def run(self) -> Report:
        with ExitStack() as stack:
            data = temporary_folder("chimeway-demo-")
            stack.callback(shutil.rmtree, data, ignore_errors=True)
            async with _server(data) as url, smtp_sink(self._arrived) as sink:
                self._passed("postgresql", f"PostgreSQL runs, in {data}")
                async with (
                    serving(data, sink.url, self._logged) as node,
                    Chimeway.connect(url, tenant=TENANT) as chimeway,
                ):
                    self._passed("node", f"a node is ready; its e-mails go to {sink.url}")
                    await self._scene(chimeway)
                    self._passed("journeys", "all runs have ended")
                    code = await node.stop()
                    report = await self._judged(chimeway, sink.mails, code)
        return report

    async def _scene(self, chimeway: Chimeway) -> None:
        """Mention everybody, let who reads read, and wait until all runs have ended."""
        receipt = await chimeway.trigger(
            WORKFLOW,
            DATA,
            recipients=[
                Recipient(person.name, email=person.email, timezone=person.timezone) for person in PEOPLE
            ],
            idempotency_key="the mention",
        )
        for person, run_id in zip(PEOPLE, receipt.run_ids, strict=True):
            self._names[str(run_id)] = person.name
            self._say(person.name, f"is mentioned: run {run_id}")
        async with asyncio.timeout(_DEADLINE_S), asyncio.TaskGroup() as group:
            for person in PEOPLE:
                if person.reads_after_s is not None:
                    group.create_task(self._read(chimeway, person, person.reads_after_s))
            group.create_task(self._ends(chimeway))

    async def _read(self, chimeway: Chimeway, person: Person, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._say(person.name, f"reads {person.reads}")
        await chimeway.signal(READ, actor=person.name, payload={"document_id": person.reads})

    async def _ends(self, chimeway: Chimeway) -> None:
        while any(run.state not in _ENDED for run in await chimeway.list_runs()):  # noqa: ASYNC110  (no event)
            await asyncio.sleep(_LOOK_S)

    async def _judged(self, chimeway: Chimeway, mails: list[Mail], code: int) -> Report:
        runs = {name: await chimeway.explain(run_id) for run_id, name in self._names.items()}
        inboxes = {name: len(await chimeway.inbox(name).list()) for name in runs}
        rows = 0

        def count(more: int) -> None:
            nonlocal rows
            rows += more

        faults = list(disagreements(runs, mails, inboxes))
        faults += [f"the node ended with exit code {code}"] if code else []
        for violation in await verify(chimeway.database, progress=count):
            faults.append(f"{violation.invariant} {violation.check}: {violation.sentence}")
        self._timings["all"] = round(time.monotonic() - self._began, 3)
        return Report(not faults, tuple(faults), tuple(mails), runs, rows, self._timings)

    def _arrived(self, mail: Mail) -> None:
        self._say(mail.to.partition("@")[0], f"an e-mail arrives: {mail.subject}")

    def _logged(self, line: Mapping[str, Any]) -> None:
        """Tell what the node says of a run that we know."""
        who = self._names.get(str(line.get("run_id")))
        if who is None:
            return
        if line["event"] == "decision.committed":
            self._say(who, _NOW.get(line["reason"], "{reason} at {step}").format_map(line))
        elif line["event"] == "delivery.outcome":
            self._say(who, f"the {line['channel']} was sent: {line['outcome']}")

    def _passed(self, part: str, what: str) -> None:
        now = time.monotonic()
        self._timings[part], self._passed_at = round(now - self._passed_at, 3), now
        self._say("", what)

    def _say(self, who: str, what: str) -> None:
        self._tell(Happening(round(time.monotonic() - self._began, 3), who, what))


@asynccontextmanager
async def _server(data: Path) -> AsyncIterator[str]:
    """Run a PostgreSQL in a folder; threads do the waiting, so that Ctrl-C is heard."""
    held = ExitStack()
    entering = asyncio.ensure_future(asyncio.to_thread(held.enter_context, running(data)))
    try:
        yield (await asyncio.shield(entering)).url
    finally:
        await asyncio.wait({entering})
        await asyncio.to_thread(held.close)

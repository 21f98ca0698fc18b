"""All that a fault run is made of: nodes, PostgreSQL, provider, producers, and the lines between them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from faults import plan
from faults.nodes import BEGUN, Lines, Node, ended_by_itself
from faults.postgres import Postgres, postgres
from faults.producer import Orders
from faults.provider import Ports
from kit.network import Line, line_to
from kit.waiting import wait_for

TESTS: Final = Path(__file__).parents[1]
ROOT: Final = TESTS.parent
_READY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything."""

    nodes: int = 3
    producers: int = 3
    live: int = 700
    waits: tuple[int, ...] = (20, 30, 45, 60, 75)
    people: int = 200
    rate: float = 60.0
    standby: bool = True
    level: str = "info"
    lease_s: float = 3.0


@dataclass(slots=True)
class Child:
    """A process of ours that is no node: what starts it again, and its last life."""

    words: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a life."""
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink,
                stderr=sink, env={**os.environ, "PYTHONPATH": str(TESTS)},
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """Send a signal to a life that has not ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class World:
    """What faults are done to."""

    folder: Path
    package: Path
    size: Size
    postgres: Postgres
    nodes: list[Node]
    producer_line: Line
    ports: Ports
    provider: Child
    producers: list[Child]
    orders: list[Orders]
    busy: set[str] = field(default_factory=set)

    def live(self) -> int:
        """Return how many journeys are under way, as producers said last."""
        return sum(int(self._status(each).get("live", 0)) for each in self.orders)

    def begun(self) -> int:
        """Return how many journeys were begun so far."""
        return sum(int(self._status(each).get("begun", 0)) for each in self.orders)

    def _status(self, orders: Orders) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(orders.status.read_text())
            return found
        return {}

    def start_node(self, node: Node) -> None:
        """Begin a life of a node."""
        node.start(self.postgres.url)

    async def produced(self, deadline_s: float) -> None:
        """Have producers begin nothing more, and wait until they have done what was left."""
        self.orders[0].ending.touch()

        def ended() -> bool:
            return all(
                each.process is not None and each.process.poll() is not None for each in self.producers
            )

        await wait_for(ended, "producers have done what was left", deadline_s=deadline_s, every_s=0.2)
        wrong = [
            each.log.read_text()[-2_000:]
            for each in self.producers
            if each.process and each.process.returncode
        ]
        assert not wrong, f"a producer failed:\n{wrong[0]}"


@asynccontextmanager
async def world(size: Size, seed: int, folder: Path, package: Path) -> AsyncIterator[World]:
    """Make it, and have it whole and idle; nothing of it is left behind the block but its logs."""
    _write_home(folder, size.waits)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres(standby=size.standby))
        _install(database.url, package)
        ports = _ports(folder, size.nodes)
        nodes = []
        settings = {"LOG_LEVEL": size.level, "LEASE_TTL": f"PT{size.lease_s:g}S"}
        for number in range(size.nodes):
            name = f"node{number + 1}"
            lines = Lines(
                await stack.enter_async_context(line_to(database.place)),
                await stack.enter_async_context(line_to(("127.0.0.1", ports.http))),
                await stack.enter_async_context(line_to(("127.0.0.1", ports.smtp[name]))),
            )
            database.on_move(lines.database.lead_to)
            nodes.append(Node(name, folder, lines, package, settings))
        producing = await stack.enter_async_context(line_to(database.place))
        database.on_move(producing.lead_to)
        orders = [
            Orders(
                name=f"p{number + 1}", url=producing.url(database.url), folder=str(folder), seed=seed,
                live=-(-size.live // size.producers), waits=size.waits, people=size.people,
                rate=size.rate / size.producers,
            )
            for number in range(size.producers)
        ]  # fmt: skip
        made = World(
            folder, package, size, database, nodes, producing, ports,
            Child(["faults.provider", ports.to_json()], folder / "provider.log"),
            [Child(["faults.producer", each.to_json()], folder / f"{each.name}.log") for each in orders],
            orders,
        )  # fmt: skip
        try:
            await _started(made)
            yield made
        finally:
            for child in (made.provider, *made.producers):
                child.kill()
            for node in nodes:
                node.end()


async def _started(made: World) -> None:
    made.provider.start()
    for node in made.nodes:
        made.start_node(node)

    def ready() -> bool:
        wrong = ended_by_itself(made.nodes)
        assert not wrong, wrong[0]
        return all(node.says(*BEGUN) for node in made.nodes)

    await wait_for(ready, "nodes are ready", deadline_s=_READY_S)


def _write_home(folder: Path, waits: tuple[int, ...]) -> None:
    for name in ("workflows", "templates"):
        (folder / name).mkdir(parents=True)
    for definition in plan.definitions(waits):
        (folder / "workflows" / f"{definition['key']}.yaml").write_text(yaml.safe_dump(definition))
    for name, text in plan.TEMPLATES.items():
        (folder / "templates" / name).write_text(text)


def _install(url: str, package: Path) -> None:
    """Install the schema of the package that nodes run, which may be a mutant's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "chimeway", "db", "init"], capture_output=True, text=True, check=False,
        env=clean | {"CHIMEWAY_DATABASE_URL": url, "PYTHONPATH": str(package)}, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _ports(folder: Path, nodes: int) -> Ports:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(nodes + 1)]
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return Ports(str(folder), numbers[0], {f"node{n + 1}": port for n, port in enumerate(numbers[1:])})

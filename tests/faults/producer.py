"""A producer, as a process of its own: begins journeys, says what happened, cancels, and logs all of it.

    python -m faults.producer '{"name": "p1", "url": "...", "folder": "...", ...}'

It keeps so many journeys under way. Killed at any moment, its next life reads the log: what was meant and
is not known to be done, is done again under the same key; what was still to come, comes. Once the file
`ending` is there it begins nothing more, does what is left, and ends.
"""

import asyncio
import heapq
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from faults.acts import Acts
from faults.journal import Journal, read
from faults.plan import HELD_BEFORE_S, Plan, address, draw, from_json, recipients

_WORKERS: Final = 4
_HOLDERS: Final = 8
_IDLE_S: Final = 0.02
_STATUS_EVERY_S: Final = 0.25
_MOST_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Orders:
    """What a producer is told: who it is, where things are, and how much it does.

    `live`: so many of its journeys are to be under way; `waits`: how long they wait, in seconds; `people`:
    whom they are for; `rate`: the most that it begins in a second.
    """

    name: str
    url: str
    folder: str
    seed: int
    live: int
    waits: tuple[int, ...]
    people: int
    rate: float

    @property
    def log(self) -> Path:
        """Its log."""
        return Path(self.folder) / f"{self.name}.jsonl"

    @property
    def ending(self) -> Path:
        """The file that tells all producers to end; a signal could meet one that only begins."""
        return Path(self.folder) / "ending"

    @property
    def status(self) -> Path:
        """Where it says, a few times a second, how many of its journeys are under way."""
        return Path(self.folder) / f"{self.name}.status"

    def to_json(self) -> str:
        """Return it as a process is given it."""
        return json.dumps(asdict(self))


def orders_of(text: str) -> Orders:
    """Return what `to_json` made."""
    found = json.loads(text)
    return Orders(**{**found, "waits": tuple(found["waits"])})


class Producer:
    """One life of a producer."""

    def __init__(self, orders: Orders) -> None:
        """Read what earlier lives have left."""
        self._orders = orders
        self._ending = asyncio.Event()
        self._todo: list[tuple[float, int, str, Plan]] = []
        self._order = count()
        self._under_way = 0
        self._ends: list[float] = []
        self._over: list[float] = []
        self._known: set[str] = set()
        self._again: list[Plan] = []
        self._taken_back: list[str] = []
        self._number = 0
        self._holding = 0
        self._next_s = 0.0
        self._remember()
        self._journal = Journal(orders.log)

    def _remember(self) -> None:
        plans: dict[str, Plan] = {}
        begun: dict[str, float] = {}
        done: set[tuple[str, str]] = set()
        for entry in read(self._orders.log):
            match entry:
                case {"w": "intent", "act": "trigger", "j": j, "plan": plan}:
                    plans[j] = from_json(plan)
                case {"w": "committed", "act": "trigger", "j": j, "t": t}:
                    begun[j] = t
                case {"w": "committed" | "released" | "let_go", "act": act, "j": j}:
                    done.add((act, j))
                case {"w": "committed", "act": "identify", "tenant": tenant}:
                    self._known.add(tenant)
                case {"w": "rolled_back", "j": j}:
                    done.add(("roll_back", j))
        for j, plan in plans.items():
            self._number = max(self._number, int(j.rpartition("-")[2]))
            if j in begun:
                self._follow(plan, begun[j], done)
            elif plan.act != "roll_back":
                self._again.append(
                    plan
                )  # may be committed, may not be: under its key it is safe to ask again
            elif ("roll_back", j) not in done:
                self._taken_back.append(j)

    def _follow(self, plan: Plan, begun: float, done: AbstractSet[tuple[str, str]]) -> None:
        """Note what is still to come of a journey that began then."""
        heapq.heappush(self._ends, begun + plan.wait_s)
        heapq.heappush(self._over, begun + plan.under_way_s)
        match plan.act:
            case "read" | "noise" | "cancel" if (plan.act, plan.id) not in done:
                self._later(begun + plan.after_s, plan.act, plan)
            case "hold":
                if ("hold", plan.id) not in done and time.time() < begun + plan.wait_s - HELD_BEFORE_S + 1:
                    self._later(begun + plan.wait_s - HELD_BEFORE_S, "hold", plan)
                if ("read", plan.id) not in done:
                    self._later(begun + plan.after_s, "read", plan)

    def _later(self, when: float, act: str, plan: Plan) -> None:
        heapq.heappush(self._todo, (when, next(self._order), act, plan))

    async def live(self) -> None:
        """Produce until told to end, and then until nothing is left to do."""
        for j in self._taken_back:
            self._journal.write({"w": "rolled_back", "act": "trigger", "j": j})
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell())
            await self._identify()
            workers = [group.create_task(self._work(group)) for _ in range(_WORKERS)]
            await asyncio.gather(*workers)
            while self._holding:  # noqa: ASYNC110  (they end soon)
                await asyncio.sleep(_IDLE_S)
            telling.cancel()
        self.tell(ended=True)

    async def _identify(self) -> None:
        acts = Acts(self._orders.url, self._journal)
        people: dict[str, dict[str, Any]] = {}
        for tenant, person in recipients(self._orders.name, self._orders.people):
            people.setdefault(tenant, {})[person] = {"email": address(tenant, person)}
        for tenant, profiles in people.items():
            if tenant not in self._known:
                await acts.identify(tenant, profiles)
        acts.close()

    async def _work(self, group: asyncio.TaskGroup) -> None:
        acts = Acts(self._orders.url, self._journal)
        doing: dict[str, Callable[[Plan], Awaitable[None]]] = {
            "read": acts.read, "noise": acts.noise, "cancel": acts.cancel,
        }  # fmt: skip
        while not (self._ending.is_set() and not self._todo and not self._again):
            if self._todo and self._todo[0][0] <= time.time():
                _, _, act, plan = heapq.heappop(self._todo)
                if act == "hold":
                    self._hold(group, plan)
                else:
                    await doing[act](plan)
            elif self._again:
                await self._trigger(acts, [self._again.pop()])
            elif self._may_begin():
                await self._begin(acts)
            else:
                await asyncio.sleep(_IDLE_S)
        acts.close()

    def _hold(self, group: asyncio.TaskGroup, plan: Plan) -> None:
        if self._holding >= _HOLDERS:
            return

        async def hold() -> None:
            try:
                await Acts(self._orders.url, self._journal).hold(
                    plan, plan.after_s - plan.wait_s + HELD_BEFORE_S + 0.6
                )
            finally:
                self._holding -= 1

        self._holding += 1
        group.create_task(hold())

    def _may_begin(self) -> bool:
        now = time.time()
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if self._ending.is_set() or now < self._next_s:
            return False
        return len(self._ends) + self._under_way < self._orders.live

    async def _begin(self, acts: Acts) -> None:
        plans: list[Plan] = []
        orders = self._orders
        many = 1 + self._number % _MOST_AT_ONCE
        while len(plans) < many:
            self._number += 1
            plan = draw(orders.seed, orders.name, self._number, orders.waits, orders.people)
            if plan.act != "roll_back":
                plans.append(plan)
                continue
            await acts.roll_back(plan)
        self._next_s = max(self._next_s, time.time()) + many / orders.rate
        self._under_way += many
        try:
            await self._trigger(acts, plans)
        finally:
            self._under_way -= many

    async def _trigger(self, acts: Acts, plans: list[Plan]) -> None:
        await acts.trigger(plans)
        now = time.time()
        for plan in plans:
            self._follow(plan, now, frozenset())

    async def _tell(self) -> None:
        while True:
            if self._orders.ending.exists():
                self._ending.set()
            self.tell()
            await asyncio.sleep(_STATUS_EVERY_S)

    def tell(self, *, ended: bool = False) -> None:
        """Say how many journeys are under way, and how many were begun so far."""
        now = time.time()
        while self._over and self._over[0] <= now:
            heapq.heappop(self._over)
        status = {"live": len(self._over), "begun": self._number, "ended": ended}
        part = self._orders.status.with_suffix(".part")
        part.write_text(json.dumps(status))
        part.replace(self._orders.status)


def main() -> None:
    """Live."""
    with suppress(ProcessLookupError):
        os.setpgid(0, 0)
    asyncio.run(Producer(orders_of(sys.argv[1])).live())


if __name__ == "__main__":
    main()

"""One scenario: a seed, and the history that follows from it.

`play` draws the story, then step after step what happens, until the deeds are done and the runs have ended.
In the second half, the calm, no fault is drawn any more and all that was paused or held goes on: whatever is
still live after that has been lost.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from chimeway.delivery.channel import Sent
from chimeway.errors import ChimewayError
from chimeway.store.ledger import Fence
from chimeway.store.simulating import Flight, Line, Lines, do_deed, expire_lease, move
from chimeway.testing.simulation.loop import SteppedLoop, Timer
from chimeway.testing.simulation.real_aims import DYING, LOSING, aimed
from chimeway.testing.simulation.real_history import History, Played, chance_of
from chimeway.testing.simulation.real_leases import Leases
from chimeway.testing.simulation.real_players import PlayedNode, Stage, do
from chimeway.testing.simulation.real_statements import FAILURES, READS, SILENT, Retry, told_of
from chimeway.testing.simulation.real_stories import Story, drawn, journeys
from chimeway.testing.simulation.real_time import (
    START,
    SteppedClock,
    calm_leap,
    deeds_to_come,
    drawn_leap,
    dues,
    instant_of,
)
from chimeway.testing.simulation.real_witness import Witness
from chimeway.testing.simulation.scheduler import Draw, Gate, Gates, Lost

_MOST_STEPS: Final = 1_500
_WILD_STEPS: Final = 250
_MOST_LEAPS: Final = 60
_Blocked: TypeAlias = tuple[Gate, Flight, bool]
"""A statement that waits for a lock, and whether its answer is going to be lost."""
_Weighed: TypeAlias = tuple[float, Callable[[], None]]
"""What may happen next, and how likely it is beside others."""


class Scenario:
    """Plays one seed on a database that is this scenario's for as long."""

    def __init__(self, lines: Lines, seed: int, url: str, theme: str | None = None) -> None:
        """Take the sessions and the seed; `theme`: what is mostly done, where the seed does not say."""
        self._seed = seed
        self._lines = lines
        self._draw = Draw(seed)
        self._loop = SteppedLoop()  # type: ignore[abstract]  # (what nobody here calls is left out)
        self._gates = Gates(self._loop)
        self._clock = SteppedClock(self._loop)
        self._stage = Stage(self._loop, self._gates, self._clock, self._draw, url)
        self._story: Story = drawn(self._draw, theme)
        self._witness = Witness({(each.key, each.version): each for each in journeys()})
        self._history = History()
        self._nodes: list[PlayedNode] = []
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._incarnations = 0
        self._aim = aimed(seed)
        self._crashes = max(self._story.crashes, self._aim.deadly)
        self._leases = Leases(self._draw)
        self._hints: list[PlayedNode] = []
        self._blocked: list[_Blocked] = []
        self._transactions: dict[str, Line] = {}
        self._begun: dict[tuple[str, str], int] = {}
        self._calm = False
        self._calm_since = START
        self._leaps = 0

    def play(self) -> Played:
        """Play it to its end."""
        self._lines.clean(self._seed, START)
        with chance_of(self._seed):
            self._open()
            while len(self._history.lines) < _MOST_STEPS and (step := self._next()) is not None:
                step()
                self._look_at_tasks()
                if self._witness.problems:
                    break
            self._close()
        return self._history.played(self._seed, self._witness.problems)

    def _open(self) -> None:
        for number in range(self._story.nodes):
            self._start_node(number)
        begun = asyncio.Event()
        for number, deed in enumerate(self._story.deeds):
            owner = f"deed{number}"
            self._tasks[owner] = self._loop.begin(owner, do(self._stage, owner, deed, begun))
        self._loop.settle()

    def _node(self, owner: str) -> PlayedNode:
        return next(node for node in self._nodes if node.owner == owner)

    def _start_node(self, number: int) -> None:
        self._incarnations += 1
        owner = f"node{number}.{self._incarnations}"
        channels = ("email",) if self._story.lacking and number == 1 else ("email", "push")
        node = PlayedNode(self._stage, owner, channels)
        self._nodes.append(node)
        self._tasks[owner] = self._loop.begin(owner, node.live())
        self._loop.settle()

    def _close(self) -> None:
        problems = self._witness.problems
        if not problems:
            problems += self._witness.unmoved(self._clock.now())
            problems += ["something was left without an end"] * self._unfinished()
            problems += [f"{each.invariant} {each.check}: {each.examples}" for each in self._lines.verify()]
        for owner in list(self._tasks):
            self._gates.kill(owner)
        problems += [str(fault) for fault in self._loop.faults]

    # ── what may happen next ──

    def _next(self) -> Callable[[], None] | None:
        """Draw the next step; None: nothing is left to happen."""
        if not self._calm and self._may_calm():
            return self._calm_down
        ready = self._ready_steps()
        if self._calm:
            if ready:
                return self._draw.weighed(ready)
            return self._leap if self._unfinished() and self._leaps < _MOST_LEAPS else None
        others = self._rare_steps()
        others.append((0.03 if ready else 1.0, self._leap))
        return self._draw.weighed(ready + others)

    def _may_calm(self) -> bool:
        deeds = any(owner.startswith("deed") for owner in self._tasks)
        return not deeds and (not self._unfinished() or len(self._history.lines) > _WILD_STEPS)

    def _unfinished(self) -> bool:
        """Say whether something has not come to its end."""
        deliveries = self._witness.rows["deliveries"]
        return bool(self._witness.live()) or any(row["terminal_at"] is None for row in deliveries)

    def _ready_steps(self) -> list[_Weighed]:
        blocked = {gate for gate, _, _ in self._blocked}
        open_to = [gate for gate in self._gates.waiting if gate not in blocked]
        steps: list[_Weighed] = [(self._weight(gate), partial(self._pass, gate)) for gate in open_to]
        steps += [(10.0, partial(self._fire, timer)) for timer in self._loop.due()]
        steps += [(3.0, partial(self._hint, node)) for node in self._hints]
        steps += [(0.5, partial(self._expire, fence)) for fence in self._leases.left]
        if any(gate.label == self._story.victim for gate in open_to):
            steps += [(self._story.spite, partial(self._fire, timer)) for timer in deeds_to_come(self._loop)]
        return [step for step in steps if step[0] > 0.0]

    def _weight(self, gate: Gate) -> float:
        match gate.kind:
            case "store" | "channel":
                return self._story.reluctance if gate.label == self._story.victim else 10.0
            case "answer":
                return 5.0
            case "lease":
                return 5.0
            case "beat":
                return 5.0 * self._leases.urgent(self._node(gate.owner))
        return self._story.haste

    def _rare_steps(self) -> list[_Weighed]:
        steps: list[_Weighed] = []
        if self._crashes and self._aim.deadly:
            aimed_at = self._aim.of(self._gates.waiting, [gate for gate, _, _ in self._blocked])
            steps += [(DYING, partial(self._crash_at, gate)) for gate in aimed_at]
        for node in self._nodes:
            if self._crashes and not self._aim.deadly:
                steps.append((0.15, partial(self._crash, node)))
                if node.tenure is not None:
                    steps.append((0.03, partial(self._end, node)))
            if node.tenure is not None:
                if self._leases.may_expire(node):
                    steps.append((0.03, partial(self._expire, node.tenure.fence)))
                steps.append((0.03, partial(self._doubt, node)))
        beats = [gate for gate in self._gates.waiting if gate.kind == "beat"]
        return steps + [(0.03, partial(self._pass, gate)) for gate in beats]

    # ── steps ──

    def _note(self, text: str) -> None:
        self._history.note(f"{len(self._history.lines)} {self._loop.time():.6f} {text}")

    def _pass(self, gate: Gate) -> None:
        match gate.kind:
            case "channel":
                self._call(gate)
            case "answer":
                self._answer(gate)
            case "store":
                self._store(gate)
            case _:
                self._deed(gate)

    def _call(self, gate: Gate) -> None:
        message = gate.act(None)
        number = self._begun.get((gate.owner, message.delivery_id))
        self._note(f"{gate.owner} calls {message.channel} for {message.delivery_id}, attempt {number}")
        self._witness.called(message.delivery_id, number)
        self._gates.open(gate, None)

    def _answer(self, gate: Gate) -> None:
        answer: Any = Sent("taken")
        if not self._calm and self._draw.happens(self._story.failing):
            answer = self._draw.weighed(FAILURES)()
        self._note(f"{gate.owner} is answered: {answer!r}")
        self._gates.open(gate, answer)

    def _store(self, gate: Gate) -> None:
        faulty = not self._calm and gate.owner.startswith("node")
        losing = self._story.losing if faulty else 0.0
        if self._draw.happens(losing / 2):
            self._note(f"{gate.owner} {gate.label}: refused")
            self._gates.open(gate, Lost("refused") if self._draw.happens(0.7) else Retry("deadlock"))
            return
        if faulty and not self._aim.deadly and gate.label == self._aim.at:
            losing = LOSING
        lost = self._draw.happens(losing)
        self._execute(gate, lost=lost)

    def _execute(self, gate: Gate, *, lost: bool = False) -> None:
        """Execute a statement, and hand its answer on, unless it is lost."""
        line = self._transactions.get(gate.owner) or self._lines.lend()
        flight = self._lines.start(line, gate.act, alone=not self._transactions)
        if not flight.done:
            self._note(f"{gate.owner} {gate.label}: waits for a lock")
            self._blocked.append((gate, flight, lost))
            return
        if gate.kind == "end":  # who waited for it has his lock now, and must have done what he does with it
            for _, each, _ in self._blocked:
                self._lines.watch(each)
        self._landed(gate, flight, lost=lost)

    def _landed(self, gate: Gate, flight: Flight, *, lost: bool) -> None:
        if gate.owner not in self._transactions:
            self._lines.give_back(flight.line)
        try:
            answer = flight.result()
        except Exception as error:  # noqa: BLE001  (whatever the database says is for who asked)
            answer = error
            self._witness.refused(f"{gate.owner} {gate.label}", error)
        self._leases.answered(gate, answer)
        told = told_of(gate.label, answer)
        self._note(f"{gate.owner} {gate.label}: {told}{', and the answer is lost' if lost else ''}")
        if gate.label not in READS and (answer or gate.label not in SILENT):
            self._look()
        if lost:
            answer = Lost("the answer was lost")
        elif gate.label == "begin_attempts" and not isinstance(answer, Exception):
            for row in answer:
                if row["answer"] == "begun":
                    self._begun[gate.owner, str(row["delivery_id"])] = row["attempt_no"]
        self._gates.open(gate, answer)

    def _deed(self, gate: Gate) -> None:
        if gate.kind == "begin":
            self._transactions[gate.owner] = self._lines.lend()
        if gate.kind in ("lease", "beat"):
            self._leases.passed(gate, self._nodes)
        self._execute(gate)
        if gate.kind == "end":
            self._lines.give_back(self._transactions.pop(gate.owner))
            self._go_on()
        if gate.kind in ("deed", "end"):
            for node in self._nodes:
                if node.ear is not None:
                    self._hints += [node] * self._draw.weighed(((0.2, 0), (0.6, 1), (0.2, 2)))

    def _go_on(self) -> None:
        """See which of those who waited for a lock have it now."""
        for each in list(self._blocked):
            gate, flight, lost = each
            if flight.done:
                self._blocked.remove(each)
                self._landed(gate, flight, lost=lost)

    def _fire(self, timer: Timer) -> None:
        self._note(f"{timer.owner} wakes")
        self._loop.fire(timer)

    def _hint(self, node: PlayedNode) -> None:
        self._hints.remove(node)
        self._note(f"{node.owner} hears a hint")
        if node.ear is not None:
            self._loop.call(node.ear.hear)

    def _crash(self, node: PlayedNode) -> None:
        """Kill a node: between two statements, or after one whose answer it does not see."""
        self._crashes -= 1
        under_way = {gate for gate, _, _ in self._blocked}  # these go on in the server, and nobody hears
        mine = [
            gate for gate in self._gates.waiting
            if gate.owner == node.owner and gate.kind == "store" and gate not in under_way
        ]  # fmt: skip
        seen = mine and self._draw.happens(0.5)
        self._note(f"{node.owner} dies")
        self._leases.died(node)
        if seen:
            self._execute(self._gates.mute(self._draw.one(mine)))
        self._bury(node)

    def _crash_at(self, gate: Gate) -> None:
        """Kill a node right before or right after what the seed aims at: a statement, or before an answer."""
        self._crashes -= 1
        node = self._node(gate.owner)
        self._note(f"{node.owner} dies at {gate.label}")
        self._leases.died(node)
        if gate.kind != "answer" and self._draw.happens(0.7):
            if gate.kind != "store":
                self._leases.passed(gate, self._nodes)
            self._execute(self._gates.mute(gate))
        self._bury(node)

    def _bury(self, node: PlayedNode) -> None:
        self._remove(node)
        self._start_node(int(node.owner[4]))

    def _remove(self, node: PlayedNode) -> None:
        self._nodes.remove(node)
        self._hints = [each for each in self._hints if each is not node]
        self._gates.kill(node.owner)
        self._tasks.pop(node.owner, None)

    def _end(self, node: PlayedNode) -> None:
        self._crashes -= 1
        self._note(f"{node.owner} is told to end")
        self._loop.call(node.stop.set)

    def _expire(self, fence: Fence) -> None:
        self._note("a lease runs out")
        self._leases.expired(fence, self._nodes)
        self._ask(partial(expire_lease, fence=fence))

    def _doubt(self, node: PlayedNode) -> None:
        if node.tenure is not None:
            node.tenure.doubted = not node.tenure.doubted
            self._note(f"{node.owner} {'doubts' if node.tenure.doubted else 'trusts'} its lease")

    def _calm_down(self) -> None:
        self._note("calm")
        self._calm = True
        self._calm_since = self._clock.now()
        self._leases.calm_down(self._nodes)
        for node in self._nodes:
            if node.tenure is not None:
                node.tenure.doubted = False
        for key in sorted(set(self._witness.rows["paused"])):
            self._ask(partial(do_deed, name="simulation_pause", args=(key, False)))
        self._ask(partial(do_deed, name="simulation_resume_all", args=()))

    def _ask(self, act: Callable[[Any], Any]) -> None:
        line = self._lines.lend()
        self._lines.start(line, act).result()
        self._lines.give_back(line)
        self._look()

    def _leap(self) -> None:
        """Let time pass."""
        now, timer, due = self._loop.time(), self._loop.next_timer(), dues(self._witness.rows)
        if self._calm:
            self._leaps += 1
            self._witness.overdue(self._clock.now(), self._calm_since)
            self._move_to(calm_leap(now, due, timer))
        else:
            coming = [deed.when() for deed in deeds_to_come(self._loop)]
            self._move_to(drawn_leap(self._draw, now, [*due, *coming], timer))

    def _move_to(self, then: float) -> None:
        then = round(then, 6)
        line = self._lines.lend()
        self._lines.start(line, lambda line: move(line, instant_of(then))).result()
        self._lines.give_back(line)
        self._loop.move_to(then)
        self._note("time passes")

    # ── what is seen ──

    def _look(self) -> None:
        text = self._lines.sight()
        if self._witness.look(text):
            self._history.note_rows(text)

    def _look_at_tasks(self) -> None:
        for owner, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[owner]
            error = None if task.cancelled() else task.exception()
            node = next((node for node in self._nodes if node.owner == owner), None)
            if node is not None:
                self._remove(node)
                if error is None:
                    self._start_node(int(owner[4]))
            if error is not None and (node is not None or not isinstance(error, ChimewayError)):
                self._witness.problems.append(f"{owner} failed: {error!r}")

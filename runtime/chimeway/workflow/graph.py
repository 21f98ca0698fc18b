"""The ways through a definition: which step can lead to which, by what, and whether time passes.

The one place that says what an edge is; validation, `workflow show` and `workflow paths` all read
it. Everything here is linear in the size of the definition.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, assert_never

from chimeway.workflow.definition import (
    END,
    AtLocalTime,
    Condition,
    Goto,
    NotifyAction,
    OnOutcome,
    Repeat,
    Step,
    StopOn,
    WaitAction,
    WaitUntil,
    default_next,
)

EdgeKind: TypeAlias = Literal["next", "on_outcome", "stop", "wait_until", "continue", "goto"]


@dataclass(frozen=True, slots=True)
class Edge:
    """One way out of a step.

    `target` is a step's id, or `end`; a `stop` has the target `end` too, though the run is stopped
    there and not completed. `by` is the outcome or the signal type that leads here. `timed` says
    that the run waits for a span of time on this way. `times`: it is a way back, which is gone at most so
    often; `last`: it is the way on, once that has been used up.
    """

    source: str
    target: str
    kind: EdgeKind
    by: str | None = None
    timed: bool = False
    times: int | None = None
    last: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps in declared order, each with its ways out in the order in which they are tried."""

    start: str | None
    edges: Mapping[str, tuple[Edge, ...]]

    def reachable(self) -> frozenset[str]:
        """Return the ids of the steps that some path from the first step leads to."""
        if self.start is None:
            return frozenset()
        return frozenset(self._paths_from(self.start, lambda _: True))

    def steps_to(self, start: str, goal: str) -> int | None:
        """Return how many steps the shortest path from one to another enters, both counted; None: no path."""
        paths = self._paths_from(start, lambda _: True) if start in self.edges else {}
        if goal not in paths:
            return None
        found = 1
        while goal != start:
            goal, found = paths[goal], found + 1
        return found

    def endless_cycles(self) -> tuple[tuple[str, ...], ...]:
        """Return one cycle for each group of steps that can go round without any timed way.

        Each is a closed walk: the first id is repeated at its end.
        """
        found = []
        declared = {step_id: place for place, step_id in enumerate(self.edges)}
        for group in self._groups(lambda edge: not edge.timed):
            first = min(group, key=lambda step_id: declared[step_id])
            if walk := self._walk_round(first, group):
                found.append(walk)
        return tuple(found)

    def _walk_round(self, first: str, group: frozenset[str]) -> tuple[str, ...]:
        def inside(edge: Edge) -> bool:
            return not edge.timed and edge.target in group

        paths = self._paths_from(first, inside)
        for last in paths:  # nearest first
            if any(edge.target == first and inside(edge) for edge in self.edges[last]):
                walk = [last]
                while walk[-1] != first:
                    walk.append(paths[walk[-1]])
                return (*reversed(walk), first)
        return ()

    def _paths_from(self, start: str, allowed: Callable[[Edge], bool]) -> dict[str, str]:
        """Return, breadth first, each step that can be reached and the step before it."""
        came_from = {start: start}
        queue = deque([start])
        while queue:
            for edge in self.edges[queue.popleft()]:
                if edge.target in self.edges and edge.target not in came_from and allowed(edge):
                    came_from[edge.target] = edge.source
                    queue.append(edge.target)
        return came_from

    def _groups(self, allowed: Callable[[Edge], bool]) -> Iterator[frozenset[str]]:
        """Yield the strongly connected groups over the allowed edges (Kosaraju, no recursion)."""
        forward: dict[str, list[str]] = {step_id: [] for step_id in self.edges}
        backward: dict[str, list[str]] = {step_id: [] for step_id in self.edges}
        for edge in (edge for edges in self.edges.values() for edge in edges):
            if edge.target in self.edges and allowed(edge):
                forward[edge.source].append(edge.target)
                backward[edge.target].append(edge.source)
        seen: set[str] = set()
        order = [step_id for root in forward for step_id in _finished(root, forward, seen)]
        seen.clear()
        for root in reversed(order):
            if group := frozenset(_finished(root, backward, seen)):
                yield group


def graph_of(steps: Sequence[Step]) -> Graph:
    """Return the graph of these steps; names of steps that are not there lead nowhere.

    With a `wait_until` among the rules, `next` is no way out: once the delivery is terminal, that
    rule decides.
    """
    ways = {step.id: tuple(_ways_out(steps, place)) for place, step in enumerate(steps)}
    return Graph(steps[0].id if steps else None, ways)


def _finished(root: str, ways: Mapping[str, list[str]], seen: set[str]) -> list[str]:
    """Return what is newly seen from `root`, depth first, in the order in which it is finished."""
    if root in seen:
        return []
    seen.add(root)
    order = []
    stack = [(root, iter(ways[root]))]
    while stack:
        step_id, targets = stack[-1]
        target = next((each for each in targets if each not in seen), None)
        if target is None:
            order.append(step_id)
            stack.pop()
        else:
            seen.add(target)
            stack.append((target, iter(ways[target])))
    return order


def _ways_out(steps: Sequence[Step], place: int) -> Iterable[Edge]:
    step = steps[place]
    if isinstance(step.next, Repeat):
        back = Edge(step.id, step.next.step_id, "next", times=step.next.times)
        onward = [back, Edge(step.id, step.next.then, "next", last=True)]
    else:
        following = step.next if step.next is not None else default_next(steps, place)
        onward = [Edge(step.id, following, "next")]
    if isinstance(step.action, WaitAction):
        return _out_of_wait(step.id, step.action, onward)
    return _out_of_notify(step, onward)


def _out_of_wait(step_id: str, action: WaitAction, onward: Sequence[Edge]) -> Iterator[Edge]:
    timed = lasts(action)
    for condition in action.stop_conditions:
        yield from _by_signal(step_id, condition, onward, timed=timed)
    yield from (replace(edge, timed=timed) for edge in onward)


def lasts(action: WaitAction) -> bool:
    """Tell whether time always passes in this wait, however often a run comes to it.

    The next 09:00 lies strictly ahead. An instant may lie in the past, and hours may have begun.
    """
    return action.duration is not None or isinstance(action.until, AtLocalTime)


def _by_signal(source: str, condition: Condition, onward: Sequence[Edge], *, timed: bool) -> Iterator[Edge]:
    # A signal may end the wait early; the rule of cycles still counts the wait as one.
    match condition.then:
        case "stop":
            yield Edge(source, END, "stop", condition.signal_type, timed)
        case "continue":
            for edge in onward:
                yield replace(edge, kind="continue", by=condition.signal_type, timed=timed)
        case Goto(step_id):
            yield Edge(source, step_id, "goto", condition.signal_type, timed)
        case _:
            assert_never(condition.then)


def _out_of_notify(step: Step, onward: Sequence[Edge]) -> Iterator[Edge]:
    assert isinstance(step.action, NotifyAction)
    timed_rule = False
    for rule in step.progress:
        match rule:
            case OnOutcome(outcome, to_step):
                yield Edge(step.id, to_step, "on_outcome", outcome)
            case StopOn(outcome):
                yield Edge(step.id, END, "stop", outcome)
            case WaitUntil(to_step):
                timed_rule = True
                yield from (
                    Edge(step.id, END, "stop", condition.signal_type, timed=True)
                    for condition in rule.cancel_signals
                )
                yield Edge(step.id, to_step, "wait_until", timed=True)
            case _:
                assert_never(rule)
    if not timed_rule:
        yield from onward

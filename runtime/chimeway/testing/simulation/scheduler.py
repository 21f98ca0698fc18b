"""One thing at a time: what waits for the world stands at a gate, and the seed says which gate opens next.

What a step is
--------------
A scenario's nodes, producers and operators are tasks of one `SteppedLoop`. Whenever one of them would leave
the process (a statement to PostgreSQL, a call of a provider, the taking of a lease, a producer's next deed),
it waits at a *gate*. The loop is run until nothing in it is ready. Then, and only then, the scheduler lists
what could happen next: a gate that opens, a timer that has come due, a hint that arrives, time that passes, a
node that dies; draws one by the seed; does it, whole; and runs the loop again until nothing is ready. That is
a step. What a step makes ready in memory (a future, an event, a queue) runs in asyncio's own order, as it
would in a node.

How rest is known
-----------------
The loop has no sockets and no clock. Nothing in it can become ready but by the scheduler's hand, so "nothing
is ready" is a fact and no guess by a pause. The statements of a gate run on another event loop, which stands
still between steps (`chimeway.store.simulating`): at most one statement is under way in the whole scenario,
and it begins and ends within its step. One exception: a statement that waits for a row that somebody's open
transaction has locked. It is blocked, and goes on within the step that ends that transaction. So what such a
statement does after it has waited, with a snapshot that is older than what it waited for, is tried as well.

Two moments of a crash
----------------------
A node dies between two steps: what stands at its gates never happens. Or a gate of it opens, the statement is
executed, and the node dies before it sees the answer. Its tasks are taken away, its timers and gates with
them; whatever they would do while they are being taken away reaches nobody, for a dead owner's gates do not
open. A lost answer is the second half without the death: the caller gets an error of the connection.

What is left outside
--------------------
The lease's thread and line, the listener's connection, and the pool: their statements are a gate each
(`lease`), a choice of the scheduler's (`hint`), or nothing. Two statements that run in the server at the same
moment, so that one's effects lie between two statements inside the other's function: what is tried here is
every order of whole calls, and of calls with waits for locks. The order in which PostgreSQL lets two waiters
go. Everything that processes and sockets do: `make faults` has those.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from chimeway.testing.simulation.loop import SteppedLoop

_T = TypeVar("_T")
_ROUNDS: Final = 20


class Lost(ConnectionError):  # noqa: N818  (what became of it)
    """The connection was lost, and the answer with it."""


@dataclass(eq=False, slots=True)
class Gate:
    """Somebody waits for the world: whose task it is, for what, and what is done when it opens."""

    owner: str
    kind: str
    label: str
    act: Callable[[Any], Any]
    future: "asyncio.Future[Any]"
    muted: bool = False
    """Whether who asked will not hear the answer."""


class Gates:
    """Where tasks wait for the world."""

    def __init__(self, loop: SteppedLoop) -> None:
        """Take the loop that the tasks run on."""
        self._loop = loop
        self._dead: set[str] = set()
        self.waiting: list[Gate] = []
        """In the order in which they came."""

    async def ask(self, owner: str, kind: str, label: str, act: Callable[[Any], Any]) -> Any:
        """Wait until the scheduler opens the gate; return what it was opened with.

        Args:
            owner: who asks; a dead owner never comes to his gate.
            kind: what sort of thing it is: `store`, `channel`, `lease`, `deed`.
            label: what it is, as the history tells it.
            act: what is then done in the outer world, on a session of the database.
        """
        if owner in self._dead:
            raise asyncio.CancelledError
        gate = Gate(owner, kind, label, act, self._loop.create_future())
        self.waiting.append(gate)
        try:
            return await gate.future
        finally:
            if gate in self.waiting:
                self.waiting.remove(gate)

    def open(self, gate: Gate, answer: Any) -> None:
        """Let a task go on with an answer, or with an error; and settle."""
        if gate in self.waiting:
            self.waiting.remove(gate)
        if not gate.muted and not gate.future.done():
            if isinstance(answer, BaseException):
                gate.future.set_exception(answer)
            else:
                gate.future.set_result(answer)
        self._loop.settle()

    def mute(self, gate: Gate) -> Gate:
        """Have a gate's answer reach nobody."""
        self.waiting.remove(gate)
        gate.muted = True
        return gate

    def kill(self, owner: str) -> None:
        """Take an owner's tasks away, as if his process had been killed."""
        self._dead.add(owner)
        self.waiting = [gate for gate in self.waiting if gate.owner != owner]
        for _ in range(_ROUNDS):
            mine = [task for task, whose in self._loop.tasks.items() if whose == owner]
            self._loop.forget(owner)
            if not mine:
                return
            for task in mine:
                task.cancel()
            self._loop.settle()
        raise AssertionError(f"{owner} does not die")


class Draw:
    """All that is drawn for one scenario, by its seed."""

    def __init__(self, seed: int) -> None:
        """Take the seed."""
        self._random = random.Random(seed)  # noqa: S311  (chance that must come again)

    def happens(self, probability: float) -> bool:
        """Say whether something of this probability happens."""
        return self._random.random() < probability

    def number(self, least: int, most: int) -> int:
        """Return a number between two, both included."""
        return self._random.randint(least, most)

    def between(self, least: float, most: float) -> float:
        """Return a number between two."""
        return self._random.uniform(least, most)

    def one(self, of: Sequence[_T]) -> _T:
        """Return one of several."""
        return of[self._random.randrange(len(of))]

    def weighed(self, of: Sequence[tuple[float, _T]]) -> _T:
        """Return one of several, each by its weight."""
        return self._random.choices([what for _, what in of], [weight for weight, _ in of])[0]

    def bytes(self, count: int) -> bytes:
        """Return so many bytes."""
        return self._random.randbytes(count)

    def float(self) -> float:
        """Return a number from 0 to 1."""
        return self._random.random()

"""A question to the database that many ask, one at a time, and that nobody waits for longer than is good.

A call that is cut off has to be called off at the database, too, by a connection of its own, and the driver
waits for that: where packets vanish, a limit of two seconds becomes twenty. So a question that takes too long
is left to end by itself, and whoever asks meanwhile is told at once that there is no answer yet. Its
connection may be the only one that leads nowhere: so after a while the question is put anew.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

Answer = TypeVar("Answer")
_ANEW: Final = 3
"""After so many times as long as an answer may take the question is put on another connection."""


class Question(Generic[Answer]):
    """A question, and its last answer, which is kept for a while."""

    def __init__(self, *, waits_s: float, kept_s: float) -> None:
        """Take how long an answer may take, and how long one counts, from when it was asked for."""
        self._waits_s = waits_s
        self._kept_s = kept_s
        self._asked: asyncio.Task[Answer] | None = None
        self._asked_at = 0.0
        self._left: set[asyncio.Task[Answer]] = set()

    async def answer(self, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return an answer; `ask` is called when there is none that still counts, and none on its way.

        Raises:
            TimeoutError: there is none yet.
            Exception: what `ask` raised.
        """
        now, asked = asyncio.get_running_loop().time(), self._asked
        if asked is None or now - self._asked_at > (self._kept_s if asked.done() else self._waits_s * _ANEW):
            self._asked = asked = asyncio.create_task(ask(), name="question")
            self._asked_at = now
            self._left.add(asked)  # nobody else may hold it when another has taken its place
            asked.add_done_callback(self._ended)
        done, _ = await asyncio.wait({asked}, timeout=max(0.0, self._asked_at + self._waits_s - now))
        if not done:
            raise TimeoutError
        return asked.result()

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # who waits for it gets it; where nobody does, nobody misses it

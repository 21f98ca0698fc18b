"""Waiting for what must become true: a condition and a deadline, never a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
DEADLINE_S = 30.0
"""Long, for a slow machine: a test that passes never waits for it."""

alarms: set[Callable[[], None]] = set()
"""Called while waiting; each fails the test when what it watches has died."""


async def wait_for(
    condition: Callable[[], T | Awaitable[T | None] | None],
    what: str,
    *,
    deadline_s: float = DEADLINE_S,
    every_s: float = 0.02,
) -> T:
    """Return the first answer of `condition` that is true; fail with `what` after the deadline."""
    ends = time.monotonic() + deadline_s
    while True:
        answer = condition()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        for alarm in list(alarms):
            alarm()
        if time.monotonic() > ends:
            pytest.fail(f"not within {deadline_s:g} s: {what}")
        await asyncio.sleep(every_s)


class Gate:
    """Where something is held until the test lets it go on, or throws it away."""

    def __init__(self) -> None:
        """Begin closed, with nobody at it."""
        self.reached = asyncio.Event()
        self._decided = asyncio.Event()
        self._open = False

    async def passes(self) -> bool:
        """Stand at the gate; True to go on, False to be thrown away."""
        self.reached.set()
        await self._decided.wait()
        return self._open

    def release(self) -> None:
        """Let through what is held, and what comes."""
        self._open = True
        self._decided.set()

    def discard(self) -> None:
        """Throw away what is held."""
        self._decided.set()

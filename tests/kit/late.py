"""The program comes late, at random: `pytest --late SEED[:SECONDS]` finds tests that count on who is first.

A test reads what one actor wrote as soon as another has said that it is done; on a quiet machine the two
come in one order, and on a slow one now and then in the other. Here each statement of the program may wait
before it is sent and before its answer is heard, and so may each hint before it is heard; and now and then
the whole loop stands still, as when others have the processor. The test's own connections are never late.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
import psycopg
import pytest

from kit.saboteur import DOORS, TEST

_ONE_IN: Final = 8
_STALL_ONE_IN: Final = 300
"""Rounds of the loop: there are hundreds of them in a second of work."""
_AT_MOST_S: Final = 0.08
"""Some round trips of a slow machine; the bounds of the program's own patience are far above."""


class Chance:
    """Whether, and for how long: one seed gives one row of answers."""

    def __init__(self, seed: str) -> None:
        """Take a seed, and behind a colon how long a delay may be at most."""
        _, _, seconds = seed.split(maxsplit=1)[0].partition(":")
        self._at_most_s = float(seconds or _AT_MOST_S)
        self._random = random.Random(seed)

    def delay_s(self, one_in: int = _ONE_IN) -> float:
        """Return a delay, which mostly is none."""
        return self._random.uniform(0, self._at_most_s) if self._random.randrange(one_in) == 0 else 0.0


@contextmanager
def late(seed: str) -> Iterator[None]:
    """Let the program come late while the block lasts."""
    chance = Chance(seed)
    driver: Any = asyncpg.Connection
    loop: Any = asyncio.BaseEventLoop
    with pytest.MonkeyPatch.context() as patch:
        for door in DOORS:
            patch.setattr(driver, door, _late(chance, getattr(driver, door)))
        patch.setattr(driver, "_process_notification", _heard_late(chance, driver._process_notification))
        patch.setattr(psycopg.Cursor, "execute", _late_without_a_loop(chance, psycopg.Cursor.execute))
        patch.setattr(loop, "_run_once", _stalling(chance, loop._run_once))
        yield


def _late(chance: Chance, door: Any) -> Any:
    async def sometimes() -> None:
        if delay_s := chance.delay_s():
            await asyncio.sleep(delay_s)

    async def come_late(connection: Any, sql: str, *args: Any, **named: Any) -> Any:
        if connection.is_closed() or connection.get_settings().application_name == TEST:
            return await door(connection, sql, *args, **named)
        await sometimes()
        answer = await door(connection, sql, *args, **named)
        await sometimes()
        return answer

    return come_late


def _heard_late(chance: Chance, heard: Any) -> Any:
    def hear_late(connection: Any, pid: int, channel: str, payload: str) -> None:
        if (delay_s := chance.delay_s(2)) and connection.get_settings().application_name != TEST:
            asyncio.get_running_loop().call_later(delay_s, _hear, heard, connection, pid, channel, payload)
        else:
            heard(connection, pid, channel, payload)

    return hear_late


def _hear(heard: Any, connection: Any, *told: Any) -> None:
    if not connection.is_closed():
        heard(connection, *told)


def _late_without_a_loop(chance: Chance, execute: Any) -> Any:
    def come_late(cursor: Any, *args: Any, **named: Any) -> Any:
        if cursor.connection.info.parameter_status("application_name") != TEST:
            time.sleep(chance.delay_s())
        return execute(cursor, *args, **named)

    return come_late


def _stalling(chance: Chance, run_once: Any) -> Any:
    def stall(loop: Any) -> None:
        if delay_s := chance.delay_s(_STALL_ONE_IN):
            time.sleep(delay_s)
        run_once(loop)

    return stall

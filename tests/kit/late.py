"""The program's statements come late, at random: `pytest --late SEED` finds tests that count on who is first.

A test reads what one actor wrote as soon as another has said that it is done; on a quiet machine the two
come in one order, and on a slow one now and then in the other. Here each statement of the program may wait
before it is sent and before its answer is heard. The test's own connections are never late.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
import pytest

from kit.saboteur import DOORS, TEST

_ONE_IN: Final = 8
_AT_MOST_S: Final = 0.08
"""Some round trips of a slow machine; the bounds of the program's own patience are far above."""


@contextmanager
def late(seed: str) -> Iterator[None]:
    """Let the program's statements come late while the block lasts; one seed gives one row of delays."""
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        for door in DOORS:
            patch.setattr(asyncpg.Connection, door, _late(chance, getattr(asyncpg.Connection, door)))
        yield


def _late(chance: random.Random, door: Any) -> Any:
    async def sometimes() -> None:
        if chance.randrange(_ONE_IN) == 0:
            await asyncio.sleep(chance.uniform(0, _AT_MOST_S))

    async def come_late(connection: Any, sql: str, *args: Any, **named: Any) -> Any:
        if connection.is_closed() or connection.get_settings().application_name == TEST:
            return await door(connection, sql, *args, **named)
        await sometimes()
        answer = await door(connection, sql, *args, **named)
        await sometimes()
        return answer

    return come_late

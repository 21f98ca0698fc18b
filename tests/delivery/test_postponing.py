"""Who is turned away from a gate that is shut to him alone comes again, each at a time of his own."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from chimeway.clock import ManualClock
from chimeway.delivery import postponing
from chimeway.delivery.postponing import Postponer
from chimeway.store.pool import Database


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test moves."""
    return ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


async def test_many_come_again_one_after_the_other(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one owner a little apart, of another as soon as it may be; who is long past is forgotten."""
    monkeypatch.setattr(postponing, "_APART_S", 0.5)
    pauses: list[float] = []
    postponer = Postponer(database, clock, lambda _id, pause_s: pauses.append(pause_s), lambda _id, _at: None)
    for owner in ("a", "a", "a", "b"):
        await postponer.turn_away(UUID(int=1), owner, 1.0)
    assert pauses == [1.0, 1.5, 2.0, 1.0]
    clock.advance(10)
    await postponer.turn_away(UUID(int=1), "c", 1.0)
    assert list(postponer._last) == ["c"]

"""The way in: who waits to be loaded, and who is turned away when it is full."""

import asyncio
from uuid import UUID

import pytest

from chimeway.delivery import intake as intakes
from chimeway.delivery.intake import Intake
from kit.waiting import Gate, wait_for


def _ids(tenant: int, many: int) -> list[UUID]:
    return [UUID(int=1_000 * tenant + number) for number in range(many)]


async def test_a_flood_turns_no_other_tenant_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who floods the way in is turned away himself; another's deliveries are taken, and loaded in turn."""
    monkeypatch.setattr(intakes, "INTAKE", 4)
    monkeypatch.setattr(intakes, "_LOADING", 1)
    gate, brought = Gate(), list[UUID]()

    async def bring(delivery_id: UUID, _tenant: object) -> None:
        brought.append(delivery_id)
        await gate.passes()

    flood, other = _ids(1, 10), _ids(2, 1)
    async with asyncio.TaskGroup() as group:
        intake = Intake(bring, group)
        assert [intake.put("flood", each) for each in flood] == [None] * 5 + flood[5:]
        assert [intake.put("other", each) for each in other] == [flood[4]]
        room = group.create_task(intake.room("flood"))
        await wait_for(lambda: brought, "the first is being loaded")
        assert not room.done()
        gate.release()
    assert brought == [flood[0], flood[1], other[0], flood[2], flood[3]]

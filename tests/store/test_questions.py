"""A question that many ask: one at a time, kept for a while, and never waited for too long."""

import asyncio

import pytest

from chimeway.store.questions import Question


class Asked:
    """Who answers when told to."""

    def __init__(self) -> None:
        """Begin with no question."""
        self.times = 0
        self.answers = asyncio.Event()

    async def __call__(self) -> int:
        """Answer by how often it was asked, once that is allowed."""
        self.times += 1
        mine = self.times
        await self.answers.wait()
        return mine


async def test_those_who_ask_at_once_share_an_answer() -> None:
    """It is asked once, and the answer is kept for as long as it counts."""
    asked, question = Asked(), Question[int](waits_s=30, kept_s=30)
    asked.answers.set()
    assert await asyncio.gather(*(question.answer(asked) for _ in range(5))) == [1] * 5
    assert await question.answer(asked) == 1
    short = Question[int](waits_s=30, kept_s=0.0)
    assert [await short.answer(asked), await short.answer(asked)] == [2, 3]


async def test_nobody_waits_for_long() -> None:
    """Without an answer in time all are told so, those who come later at once; then it is put anew."""
    asked, question = Asked(), Question[int](waits_s=0.3, kept_s=0.0)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await question.answer(asked)
    assert asked.times == 1
    question._asked_at -= 10.0  # longer ago than an unanswered question counts
    with pytest.raises(TimeoutError):
        await question.answer(asked)
    assert asked.times == 2
    asked.answers.set()
    assert await question.answer(asked) == 2


async def test_a_fault_is_whoevers_asks() -> None:
    """What asking raises reaches those who ask."""

    async def fails() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    question = Question[int](waits_s=30, kept_s=30)
    with pytest.raises(ValueError, match="no"):
        await question.answer(fails)

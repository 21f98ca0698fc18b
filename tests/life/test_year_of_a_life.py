"""A year of one person's life, lived in the engine and on paper, and the two compared message by message."""

import time

import pytest

from chimeway.client.explanation import Explanation
from chimeway.store.verify import verify
from chimeway.testing import Harness
from chimeway.testing.journey import Journey

from life.cast import TEMPLATES, WORKFLOWS
from life.living import PERSON, as_lived, as_planned, counted, live
from life.model import Life
from life.script import END, START, year

SEED = 7


@pytest.mark.parametrize(
    "many", [25, pytest.param(400, marks=[pytest.mark.big, pytest.mark.timeout(600)], id="all")]
)
async def test_a_year_is_as_the_model_says(many: int) -> None:
    """Each message is sent when, and only when, the model says so; each verdict is in the rows, and told."""
    began = time.monotonic()
    life = Life(START, SEED)
    async with Harness(*WORKFLOWS, templates=TEMPLATES, strict=True, start=START, seed=SEED) as journey:
        await live(journey, life, year(many, SEED), END)
        lived = time.monotonic()
        told = [await journey.explain(run.id) for run in journey.runs]
        print(counted(life), f"lived in {lived - began:.1f} s", sep="\n")
        assert_alike(as_lived(told), as_planned(life))
        assert await verify(journey.client.database) == []
    print(f"{time.monotonic() - began:.1f} s in all")


def assert_alike(lived: list[list[str]], planned: list[list[str]]) -> None:
    """Compare run by run: the first few that differ are shown whole."""
    assert len(lived) == len(planned)
    different = [
        "\n".join(["lived:", *one, "planned:", *other])
        for one, other in zip(lived, planned, strict=True)
        if one != other
    ]
    shown = "\n\n".join(different[:3])
    assert not different, f"{len(different)} runs of {len(lived)} differ:\n{shown}"

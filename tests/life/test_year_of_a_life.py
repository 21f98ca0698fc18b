"""A year of one person's life, lived in the engine and on paper, and the two compared message by message."""

import time

import pytest

from chimeway.store.verify import verify
from chimeway.store.watching import Sight, look
from chimeway.testing import Harness
from chimeway.testing.journey import Journey
from kit.dump import dumped, found_in
from life.audit import assert_respected, assert_told
from life.cast import TEMPLATES, WORKFLOWS
from life.living import PERSON, as_lived, as_planned, counted, live
from life.model import MOST_ATTEMPTS, Life
from life.script import END, LONDON, LORD_HOWE, REACH, SANTIAGO, START, year

SEED = 7


@pytest.mark.parametrize(
    "many",
    [
        pytest.param(25, id="small"),
        pytest.param(400, marks=[pytest.mark.big, pytest.mark.timeout(600)], id="big"),
    ],
)
async def test_a_year_is_as_the_model_says(many: int) -> None:
    """Each message is sent when, and only when, the model says so; each verdict is in the rows, and told."""
    began = time.monotonic()
    life = Life(START, SEED)
    async with Harness(*WORKFLOWS, templates=TEMPLATES, strict=True, start=START, seed=SEED) as journey:
        await live(journey, life, year(many, SEED), END)
        lived_s = time.monotonic() - began
        told = [await journey.explain(run.id) for run in journey.runs]
        assert_alike(as_lived(told), as_planned(life))
        assert [(mail.channel, mail.address, mail.at, mail.attempt) for mail in journey.sent] == life.sent
        for explanation, run in zip(told, life.runs, strict=True):
            assert_told(explanation, run.mails, PERSON)
        assert_respected(told, life)
        assert_all_kinds(life)
        assert await verify(journey.client.database) == []  # replays every decision, too
        await assert_seen(journey)
        await assert_forgotten(journey, len(told))
        await assert_seen(journey)
    print(counted(life), f"lived in {lived_s:.1f} s, looked at in {time.monotonic() - began:.1f} s", sep="\n")


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


async def assert_seen(journey: Journey) -> None:
    """What was seen bit by bit, all along, is what a fresh look at all rows sees."""
    await journey.settle()
    fresh = await look(journey.client.database, Sight())
    assert (journey.runs, journey.deliveries) == (fresh.runs, fresh.deliveries)


def assert_all_kinds(life: Life) -> None:
    """The year is worth its name: each kind of verdict, and each end of a message, is in it."""
    mails = [mail for run in life.runs for mail in run.mails]
    judged = {(row.stage, row.said.kind, row.said.reason) for mail in mails for row in mail.judged}
    for reason in ("quiet_hours", "send_window", "cap"):
        assert {("planned", "defer", reason), ("before_send", "defer", reason)} <= judged
    assert {("planned", "suppress", "preference"), ("before_send", "suppress", "preference")} <= judged
    assert any(kind == "suppress" and reason == "cap" for _, kind, reason in judged)
    owners = {row.said.whose for mail in mails for row in mail.judged}
    assert {"tenant", "recipient", "step"} <= owners
    assert {zone for mail in mails for row in mail.judged if (zone := row.said.zone)} >= {
        LONDON, LORD_HOWE, SANTIAGO, "Europe/Berlin",
    }  # fmt: skip
    exhausted = {len(mail.attempts) for mail in mails if mail.reason == "retries_exhausted"}
    assert MOST_ATTEMPTS in exhausted
    assert min(exhausted) < MOST_ATTEMPTS  # a day after the first attempt it is news no more
    ends = {mail.reason for mail in mails}
    assert ends >= {
        None, "no_address", "preference", "cap", "bounced", "permanent_failure", "retries_exhausted",
        "run_stopped", "stopped_before_send",
    }  # fmt: skip


async def assert_forgotten(journey: Journey, runs: int) -> None:
    """She is forgotten with matters open: nothing comes any more, nothing is left, the audit holds."""
    await journey.identify(PERSON, preferences={"quiet_hours": {"from": "00:00", "to": "23:59"}})
    for key in ("invoice", "mention", "morning"):
        await journey.trigger(key, {"about": "matter of the end"}, recipients=[PERSON])
    sent = len(journey.sent)
    done = await journey.client.forget(PERSON)
    assert (done.known, done.runs_cancelled, done.deliveries_cancelled) == (True, 3, 1)
    await journey.advance("P60D")
    assert len(journey.sent) == sent
    assert len(journey.runs) == runs + 3
    assert [document async for document in journey.client.export(PERSON)] == []
    assert await verify(journey.client.database) == []
    assert found_in(await dumped(journey.url), {**REACH, "who": PERSON, "what": "matter "}) == {}
    told = await journey.explain(journey.runs[-1].id)
    assert PERSON not in " ".join(told.why)

"""Seeded scenarios of the real engine on a real PostgreSQL: none shows a problem, and each guard is missed.

A failing seed prints its history; `python -m chimeway.testing.simulation real --seed N` plays it again.
"""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from chimeway.delivery.abandoned import Foundling
from chimeway.delivery.composing import Sending, message_of
from chimeway.delivery.route import Provider
from chimeway.delivery.sending import Sender
from chimeway.delivery.unsubscribing import NOWHERE
from chimeway.store.simulating import do_deed
from chimeway.testing.server import VARIABLE, server_url
from chimeway.testing.simulation.real import told
from chimeway.testing.simulation.real_aims import Aim, aimed
from chimeway.testing.simulation.real_command import real
from chimeway.testing.simulation.real_history import Played
from chimeway.testing.simulation.real_stories import Deed
from chimeway.testing.simulation.real_time import START
from kit.simulated import MUTATIONS, Guarded, guarded

FEW = 6
MANY = 1_500
AT_ONCE = (
    "a decision may have overlooked mail",
    "a decision may be of an older run",
)
"""Of the mutations two that are found within a few seeds; the others are tried by the big test."""


@pytest.fixture(scope="module")
def playing() -> Iterator[Guarded]:
    """A simulation, whose many lines of log nobody reads."""
    logging.disable(logging.CRITICAL)
    try:
        with guarded() as opened:
            yield opened
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(1, 5 * FEW, FEW))
def test_no_seed_shows_a_problem(playing: Guarded, first: int) -> None:
    """Whatever the order of steps, deaths, lost answers and deeds: the rows are what the model says."""
    found = playing.first_found(range(first, first + FEW))
    assert found is None, told(found)


ONCE_FAILED = ((148, None), (103, "feedback"), (20310, None))


def test_seeds_that_are_kept_aim_at_nothing() -> None:
    """They are histories of before there were aims, and these have not changed them."""
    assert {aimed(seed) for seed, _ in ONCE_FAILED} == {Aim()}


@pytest.mark.big
def test_what_faults_aim_at_they_meet(playing: Guarded) -> None:
    """Nodes die at each statement that matters, before it and after it; and while a provider is at work."""
    met: set[str] = set()
    for seed in range(1, 250):
        if aimed(seed).deadly:
            played = playing.play(seed)
            assert not played.problems, told(played)
            for line, following in pairwise([*played.history, ""]):
                if " dies at " in line:
                    statement, node = line.split(" dies at ")[1], line.split(" ")[2]
                    unheard = following.split(" ", 2)[-1].startswith(f"{node} {statement}: ")
                    met.add(
                        f"{statement.split(' of ')[0]}, unheard" if unheard else statement.split(" of ")[0]
                    )
    for statement in ("commit_decisions", "begin_attempts", "record_results", "beat", "begin a lease"):
        assert met >= {statement, f"{statement}, unheard"}
    assert "answer" in met


@pytest.mark.parametrize(("seed", "theme"), ONCE_FAILED)
def test_seeds_that_once_failed_fail_no_more(playing: Guarded, seed: int, theme: str | None) -> None:
    """A node that ends without its database, a channel that its owner lacks, a call to beat that was lost."""
    played = playing.play(seed, theme)
    assert not played.problems, told(played)


@pytest.mark.parametrize("seed", [2, 31])
def test_one_seed_is_one_history(playing: Guarded, seed: int) -> None:
    """Played again, a seed gives the same steps in the same order, and the same rows after each."""
    once, again = playing.play(seed), playing.play(seed)
    assert once.history == again.history
    assert once.digest == again.digest
    assert playing.play(seed + 1).digest != once.digest


SLOW = """
create or replace function public.slowly() returns trigger language plpgsql as $$
begin perform pg_sleep(0.05); return null; end $$;
create trigger slowly after insert on chimeway.events for each statement execute function public.slowly()
"""
ONCE = ("escalation", "acme", "ada", {"document": 1}, "once", "k0")
TWO_AT_ONCE = (
    Deed("one", "simulation_trigger", ONCE, transaction=True, ends="rollback"),
    Deed("the other", "simulation_trigger", ONCE),
)
"""Whoever comes second waits for the first, and does then what that one took back."""


def test_a_slow_server_changes_no_history(playing: Guarded) -> None:
    """What a statement does that had waited for a lock is seen in the step that let it go on, not by luck."""

    def played() -> Played:
        scenario = playing.scenario(3)
        calm = {"crashes": 0, "losing": 0.0, "haste": 16.0, "nodes": 1}
        scenario._story = replace(scenario._story, deeds=TWO_AT_ONCE, **calm)
        return scenario.play()

    fast = played()
    playing.lines.alter(SLOW)
    try:
        slow = played()
    finally:
        playing.lines.alter("drop trigger slowly on chimeway.events")
    assert any("the other: waits for a lock" in line for line in fast.history)
    assert slow.history == fast.history
    assert slow.digest == fast.digest


def test_what_was_left_in_the_middle_writes_nothing_later(playing: Guarded) -> None:
    """A statement that still waits when its scenario is over does not go on in the next one's database."""
    lines = playing.lines
    lines.clean(1, START)
    begun, waiting = lines.lend(), lines.lend()
    ask = partial(do_deed, name="simulation_trigger", args=ONCE)
    assert lines.start(begun, partial(ask, begin=True)).done
    assert not lines.start(waiting, ask).done
    lines.clean(1, START)
    lines.alter("select pg_sleep(0.1)")
    assert json.loads(lines.sight())["events"] == []


def test_a_scenario_leaves_nothing_to_the_next(playing: Guarded) -> None:
    """All tables are emptied, but for those that no scenario writes to, or that are set as they were."""
    playing.play(1)
    playing.lines.clean(1, START)
    kept = {"schema_version", "workflow_definitions", "shard_owners", "test_clock", "pruning"}
    assert set(playing.lines.filled()) == kept


def test_a_seed_alone_is_told_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """The command: its history, and its digest, which played again is the same."""
    assert real(["--seed", "7", "--twice"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert any(line.endswith(" calm") for line in told)
    assert re.fullmatch("[0-9a-f]{64}", told[-2])
    assert re.fullmatch(r"1 scenarios, \d+ steps, 0 wrong; digest [0-9a-f]{16}", told[-1])


@pytest.mark.big
def test_how_many_processes_play_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same seeds, dealt out to one, to two, and to more than there are: one digest, and none left out."""
    monkeypatch.setenv(VARIABLE, server_url())
    said = []
    for workers in ("1", "2", "5"):
        assert real(["--seed", "7", "--count", "3", "--workers", workers]) == 0
        said.append(re.sub(r" \d+ a minute;", "", capsys.readouterr().out))
    assert said[0].startswith("3 scenarios, ")
    assert set(said) == {said[0]}


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_guard_that_is_missing_is_missed(playing: Guarded, name: str) -> None:
    """Without one of these guards a few seeds are enough to show what it is for."""
    with playing.without(MUTATIONS[name]):
        assert playing.first_found(range(1, 80), MUTATIONS[name].theme) is not None


def test_a_call_before_its_attempt_is_noticed(playing: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is called before the attempt is durable is called without an attempt row."""
    attempt = Sender._attempt

    async def hasty(self: Sender, sending: Sending, provider: Provider, *rest: Any) -> Any:
        address, begins = rest
        await provider.channel.send(message_of(sending, address, begins.message, NOWHERE))
        return await attempt(self, sending, provider, address, begins)

    monkeypatch.setattr(Sender, "_attempt", hasty)
    found = playing.first_found(range(1, 30))
    assert found is not None
    assert "without an attempt row" in found.problems[0]


@pytest.mark.big
def test_an_attempt_that_nobody_looks_for_is_noticed(
    playing: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody looks for what a dead node had begun, its messages never end."""

    async def nothing(*_: Any) -> None:
        """Look for nothing."""

    monkeypatch.setattr(Foundling, "sweep", nothing)
    found = playing.first_found(range(1, 300))
    assert found is not None
    assert "without an end" in found.problems[-1]


@pytest.mark.big
def test_a_message_that_goes_before_its_run_is_noticed(
    playing: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a sender does not look whether its run has something to decide, it begins what was called off."""
    monkeypatch.setattr(Sender, "_run_goes_first", lambda *_: False)
    found = playing.first_found(range(1, 500), "read")
    assert found is not None
    assert "call it off" in found.problems[0]


@pytest.mark.big
@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - set(AT_ONCE)))
def test_every_guard_that_is_missing_is_missed(playing: Guarded, name: str) -> None:
    """Without any one guard some hundreds of seeds show what it is for."""
    with playing.without(MUTATIONS[name]):
        assert playing.first_found(range(1, MANY), MUTATIONS[name].theme) is not None


@pytest.mark.big
@pytest.mark.parametrize("first", range(10_000, 14_000, 500))
def test_of_many_seeds_none_shows_a_problem(playing: Guarded, first: int) -> None:
    """The same as with few, for hours if need be."""
    found = playing.first_found(range(first, first + 500))
    assert found is None, told(found)

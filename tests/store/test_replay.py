"""Decisions made again, of one run and of all; and `verify` of a part of what there is."""

from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from typing import Any
from uuid import UUID

import pytest

from chimeway.errors import WorkflowRunNotFound
from chimeway.store.pool import Database
from chimeway.store.replaying import Replayed
from chimeway.store.replays import Replay, replay_all, replay_run
from chimeway.store.verify import Report, Scope, examine
from chimeway.store.verify_walks import place_of
from kit.waiting import wait_for
from store.verify_world import World, played

EVERYTHING = Scope()
FALSIFIED = """
update chimeway.workflow_transitions set inputs = jsonb_set(inputs, '{now}', '"2026-01-05T10:00:00Z"')
 where run_id = $run and seq = 6"""
"""As if the wait had been let go an hour early."""


@pytest.fixture
async def world(clock_database: Database) -> World:
    """Return ten journeys, each of which went its own way through the tables."""
    return await played(clock_database)


async def _all(world: World, scope: Scope = EVERYTHING, **more: object) -> tuple[Replay, list[Replayed]]:
    found: list[Replayed] = []
    come = await replay_all(world.database, scope, found.append, lambda _: None, **more)  # type: ignore[arg-type]
    return come, found


async def test_each_decision_of_a_run_is_made_again(world: World) -> None:
    """In order, without a gap between its transitions; what a trigger or a person wrote is no decision."""
    for person in ("sender", "quitter", "held", "reader"):
        run, found = await replay_run(world.database, world.runs[person], "default")
        assert (found[0].first, found[-1].last) == (1, (await world.sql(
            "select transition_count from chimeway.workflow_runs where id = $1", run.id)))  # fmt: skip
        assert all(one.last + 1 == two.first for one, two in pairwise(found))
        assert {one.verdict for one in found} == {"same", "not_decided"}
    assert found[0].reasons == ("workflow_started",)
    assert found[0].verdict == "not_decided"


async def test_what_differs_says_how(world: World) -> None:
    """Both forms are there to be compared; a noop gives nothing to compare with."""
    await world.break_it("sender", FALSIFIED)
    _, found = await replay_run(world.database, world.runs["sender"], "default")
    (wrong,) = [one for one in found if one.verdict == "different"]
    assert (wrong.first, wrong.fault, wrong.again) == (6, "its replay is a noop, wait_not_due", None)
    await world.break_it(
        "late",
        "update chimeway.deliveries set render_key = 'other' where run_id = $run and channel = 'email'",
    )
    _, found = await replay_run(world.database, world.runs["late"], "default")
    (wrong,) = [one for one in found if one.verdict == "different"]
    assert wrong.fault == "its replay differs in planned"
    assert wrong.written is not None
    assert wrong.again is not None
    assert (wrong.written["planned"], wrong.again["planned"]) == (
        [(3, "email", "email", "other")],
        [(3, "email", "email", "mention")],
    )


async def test_a_run_of_nobody_or_of_another_tenant_is_not_found(world: World) -> None:
    """No read crosses tenants."""
    for run_id, tenant in ((UUID(int=7), "default"), (world.runs["sender"], "another")):
        with pytest.raises(WorkflowRunNotFound):
            await replay_run(world.database, run_id, tenant)


async def test_all_runs_are_replayed_page_by_page_and_gone_on_with(world: World) -> None:
    """Each once, with a place behind each page from which another call goes on."""
    await world.break_it("sender", FALSIFIED)
    whole, found = await _all(world, page=3)
    assert [one.run_id for one in found] == [world.runs["sender"]]
    assert (whole.runs, whole.decisions["different"]) == (10, 1)
    places: list[tuple[int, UUID | None]] = []
    await replay_all(
        world.database, EVERYTHING, found.append, lambda it: places.append((it.runs, it.place)), page=4
    )
    assert [runs for runs, _ in places] == [4, 8, 10]
    rest, _ = await _all(world, come=Replay(place=places[0][1]), page=4)
    assert (rest.runs, rest.place) == (6, whole.place)


async def test_a_definition_that_is_not_understood_is_passed_over_and_said(world: World) -> None:
    """Decisions of it are neither right nor wrong here."""
    await world.break_it(
        "sender",
        """update chimeway.workflow_definitions
              set definition = jsonb_set(definition, '{steps,0,action,type}', '"x"')
            where key = 'escalation'""",
    )
    come, found = await _all(world)
    assert (found, come.decisions["same"], come.decisions["unreadable"] > 20) == ([], 0, True)
    assert (await _examined(world)).unreadable == 10


async def _examined(world: World, scope: Scope = EVERYTHING, **more: Any) -> Report:
    usual = {"max_lateness": timedelta(seconds=5), "page": 3}
    return await examine(world.database, scope, **(usual | more))


async def test_a_tenant_is_looked_at_alone(world: World) -> None:
    """Its runs with their events, its signals; what is wrong with others' is not seen."""
    await world.break_it("sender", FALSIFIED)
    await world.sql(
        """select chimeway.trigger('escalation', 'another', 'ada', '{"document": 7}')
             from chimeway.signal('read', 'another', 'ada')"""
    )
    whole, his = await _examined(world), await _examined(world, Scope(tenant="another"))
    assert (his.runs, his.events, his.signals, his.violations) == (1, 1, 1, [])
    theirs = await _examined(world, Scope(tenant="default"))
    assert (theirs.runs, theirs.events, theirs.signals) == (10, 10, whole.signals - 1)
    assert [one.check for one in theirs.violations] == ["decisions"]


async def test_what_is_older_is_not_looked_at(world: World) -> None:
    """By the time that ids begin with."""
    await world.break_it("sender", FALSIFIED)
    newest = await world.sql(
        "select id from (select id from chimeway.events union all select id"
        " from chimeway.workflow_runs union all select id from chimeway.signals) x order by id desc limit 1"
    )
    at = datetime.fromtimestamp(((newest.int >> 80) + 1) / 1000, UTC)
    await wait_for(lambda: datetime.now(UTC) > at, "the millisecond is over")
    await world.start("newcomer")
    await world.say("newcomer", "read")
    for scope in (Scope(since=at), Scope(tenant="default", since=at)):
        report = await _examined(world, scope)
        assert (report.runs, report.events, report.signals, report.violations) == (1, 1, 1, [])
    assert (await _examined(world, Scope(since=at - timedelta(hours=1)))).violations != []


class _Away(Exception):  # noqa: N818  (no error: somebody goes away)
    """Whoever looked has gone away."""


@pytest.mark.parametrize("scope", [EVERYTHING, Scope(tenant="default")])
async def test_what_was_interrupted_goes_on_where_it_was(world: World, scope: Scope) -> None:
    """Behind any page; together they look at the same rows as one, and find the same, once each."""
    await world.break_it("sender", FALSIFIED)
    await world.break_it("late", "delete from chimeway.events e using chimeway.workflow_runs r"
                                 " where r.id = $run and e.id = r.event_id")  # fmt: skip
    whole = await _examined(world, scope, page=5)
    pages, more = 0, True
    while more:
        report, pages, left = Report(), pages + 1, pages + 1

        def leave(_rows: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Away

        try:
            await _examined(world, scope, come=report, progress=leave, page=5)
            more = False
        except _Away:
            report.place = place_of(str(report.place))
            await _examined(world, scope, come=report, page=5)
        counted = (report.runs, report.events, report.signals, report.violations)
        assert counted == (whole.runs, whole.events, whole.signals, whole.violations), report.place
    assert pages > 4


async def test_a_sample_is_of_whole_blocks_and_the_same_for_a_seed(world: World) -> None:
    """A block is in it as a whole or not at all; who asks for more than there is gets all."""
    whole = await _examined(world)
    for sample in (1_000, 100):
        report = await _examined(world, Scope(sample=sample))
        assert (report.runs, report.events, report.signals) == (whole.runs, whole.events, whole.signals)
    some = [(await _examined(world, Scope(sample=3, seed=seed))).runs for seed in (1, 1, 2, 3, 4, 5, 6, 7)]
    assert some[0] == some[1]
    blocks = await world.sql(
        "select array_agg(b.many) from (select count(*) as many from chimeway.workflow_runs r"
        " group by (r.ctid::text::point)[0]) b"
    )
    assert set(some) <= {sum(chosen) for n in range(len(blocks) + 1) for chosen in combinations(blocks, n)}

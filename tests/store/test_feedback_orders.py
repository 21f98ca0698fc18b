"""Every order in which a result and what a provider tells later may come: the end is the same."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, cycle, permutations
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID, uuid4

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision
from chimeway.store.catalogue import Catalogue
from chimeway.store.definitions import register
from chimeway.store.deliveries import Beginning, Outcome, begin_attempts, load_sendables, record_results
from chimeway.store.ledger import commit_decisions, entry_for
from chimeway.store.pool import Database
from chimeway.store.runs import load_runs
from chimeway.store.verify import verify
from chimeway.workflow.parse import parse

ONE_MESSAGE: Final = {
    "key": "one_message",
    "version": 1,
    "steps": [{"id": "email", "action": {"type": "notify", "channel": "email", "render_key": "mention"}}],
}  # fmt: skip
KINDS: Final = ("delivered", "failed", "bounced", "complained", "deferred")
RESULTS: Final[dict[str, tuple[str, str, str | None, str | None]]] = {
    "taken": ("succeeded", "succeeded", None, None),
    "to be tried again": ("failed", "failed", None, "transient"),
    "lost": ("unknown", "failed", None, "unknown"),
    "refused": ("failed", "cancelled", "permanent_failure", "permanent"),
}
"""What the call's own result may be: its outcome, and the status, reason and class that follow."""
ENDS: Final = {
    "bounced": ("cancelled", "bounced"),
    "failed": ("cancelled", "permanent_failure"),
    "delivered": ("succeeded", None),
}
"""What a delivery is once this was told, the gravest first."""
SIGNALS: Final = {"bounced": "bounced", "failed": "failed", "delivered": "succeeded"}


class Case(NamedTuple):
    """One delivery's life after its attempt began: what its result is, and the order of all that comes."""

    result: str
    order: tuple[str, ...]


def cases() -> Iterator[Case]:
    """Give each subset of four kinds, in each order, with the result in each place; `deferred` stands for
    `complained`, which moves nothing either, where both would only make it longer. Orders of all four have
    one result each, in turn: each is seen where fewer are told.
    """
    turn = cycle(RESULTS)
    subsets = chain.from_iterable(combinations(KINDS[:4], n) for n in range(5))
    for subset in (*subsets, ("delivered", "deferred", "bounced")):
        for order in permutations(("result", *subset)):
            for result in RESULTS if len(subset) < 4 else (next(turn),):
                yield Case(result, order)


def expected(case: Case) -> tuple[str, str | None]:
    """Say what becomes of it: the gravest that was told, else what the result says."""
    told = next((ENDS[kind] for kind in ENDS if kind in case.order), None)
    _, status, reason, _ = RESULTS[case.result]
    return told or (status, reason)


def heard(case: Case) -> list[str]:
    """Say which signals its run got: one for each time that something graver was told, one complaint."""
    weight = {kind: len(ENDS) - place for place, kind in enumerate(ENDS)}
    so_far, words = 0, []
    for kind in case.order:
        if weight.get(kind, 0) > so_far:
            so_far = weight[kind]
            words.append(SIGNALS[kind])
    return sorted([*words, *(["complained"] if "complained" in case.order else [])])


async def test_the_end_is_the_same_in_every_order(clock_database: Database) -> None:
    """Status, reason and attempts do not depend on what came first; each event counts once; rows agree."""
    await register(clock_database, parse(ONE_MESSAGE))
    lives = list(cases())
    assert len(lives) > 700
    sent = await _sent(clock_database, len(lives))
    for step in range(max(len(case.order) for case in lives)):
        at = [(one, case) for one, case in zip(sent, lives, strict=True) if step < len(case.order)]
        await _told(
            clock_database, [(d, case.order[step]) for (d, _), case in at if case.order[step] in KINDS]
        )
        await _recorded(clock_database, [(one, case) for one, case in at if case.order[step] == "result"])
    again = [(d, kind) for (d, _), case in zip(sent, lives, strict=True) for kind in case.order[:1]]
    assert await _told(clock_database, [each for each in again if each[1] in KINDS]) == {"repeat"}
    async with clock_database.acquire() as connection:
        rows = await connection.fetch(
            """select d.id, d.status, d.suppression_reason, d.last_outcome, d.next_attempt_at,
                      d.terminal_at is not null as ended,
                      (select coalesce(array_agg(split_part(s.type, '.', 3) order by s.type), '{}')
                         from chimeway.signals s where s.run_id = d.run_id) as signals
                 from chimeway.deliveries d"""
        )
    found = {row["id"]: row for row in rows}
    for (delivery, _), case in zip(sent, lives, strict=True):
        row = found[delivery]
        assert (row["status"], row["suppression_reason"]) == expected(case), case
        assert row["last_outcome"] == RESULTS[case.result][0], case
        assert row["ended"] == (row["next_attempt_at"] is None) == (expected(case)[0] != "failed"), case
        assert row["signals"] == heard(case), case
    assert await verify(clock_database) == []


async def _sent(database: Database, many: int) -> list[tuple[UUID, UUID]]:
    """Start that many journeys, and begin the attempt of each; return deliveries with their runs."""
    made: list[tuple[UUID, UUID]] = []
    for first in range(0, many, 250):
        names = [f"r{n}" for n in range(first, min(first + 250, many))]
        async with database.acquire() as connection:
            rows = await connection.fetch(
                "select run_id from chimeway.trigger_many('one_message', 'default', $1)", names
            )
        made += await _begun(database, [row["run_id"] for row in rows])
    return made


async def _begun(database: Database, ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    async with database.acquire() as connection:
        now = await connection.fetchval("select chimeway.clock()")
    entries = []
    for run in await load_runs(database, Catalogue(database), ids):
        assert run is not None
        assert run.snapshot is not None
        decision = decide(run.snapshot, now, lambda _step, _visit: Birth("pending"))
        assert isinstance(decision, Decision)
        entries.append(entry_for(run.snapshot.run.id, decision, {}))
    assert set(await commit_decisions(database, None, entries)) == {"applied"}
    async with database.acquire() as connection:
        rows = await connection.fetch("select id from chimeway.deliveries where run_id = any($1)", ids)
    sendables = await load_sendables(database, [row["id"] for row in rows])
    beginnings = [Beginning(d.id, d.run_id, d.revision, 0, "a@b.org", {}) for d in sendables.values()]
    assert {one.answer for one in await begin_attempts(database, None, uuid4(), beginnings)} == {"begun"}
    return [(d.id, d.run_id) for d in sendables.values()]


async def _told(database: Database, events: Sequence[tuple[UUID, str]]) -> set[str]:
    """Tell of each delivery one thing, twice in one call; return the answers."""
    answers: set[str] = set()
    for first in range(0, len(events), 400):
        page = [{"id": kind, "delivery_id": str(d), "type": kind} for d, kind in events[first : first + 400]]
        async with database.acquire() as connection:
            rows = await connection.fetch(
                "select answer from chimeway.record_feedback('postmark', $1)",
                json.loads(json.dumps(page * 2)),
            )
        told: list[Any] = [row["answer"] for row in rows]
        assert set(told[len(page) :]) == {"repeat"}
        answers |= set(told[: len(page)])
    return answers


async def _recorded(database: Database, lives: Sequence[tuple[tuple[UUID, UUID], Case]]) -> None:
    async with database.acquire() as connection:
        later = await connection.fetchval("select chimeway.clock() + interval '1 hour'")
    rows = []
    for (delivery, run_id), case in lives:
        outcome, status, reason, error_class = RESULTS[case.result]
        again = later if status == "failed" else None
        result: Literal["succeeded", "failed", "unknown"] = outcome  # type: ignore[assignment]
        rows.append(
            Outcome(delivery, run_id, 1, result, status, reason, error_class, next_attempt_at=again)  # type: ignore[arg-type]
        )
    if rows:
        assert {one.answer for one in await record_results(database, rows)} == {"applied"}

"""The seeded simulation of the real engine, with one of its guards taken out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from chimeway.testing.simulation.real import Simulation, simulation
from chimeway.testing.simulation.real_history import Played

COMMIT: Final = "commit_decisions/62"
BEGIN: Final = "begin_attempts/16"
RECORD: Final = "record_results/11"
_ROUTE: Final = "v_mail := chimeway.find_mail(v_locked, m_run <> '{}');"
_ROUTE_NOTHING: Final = "v_mail := chimeway.find_mail('{}', false);"
_TAKEN: Final = """
    v_mail_run := v_mail.runs;
    v_mail_number := v_mail.numbers;
    v_mail_signal := v_mail.signals;"""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A guard taken out of a function of the schema: which texts are replaced, each with what."""

    function: str
    changes: tuple[tuple[str, str], ...]
    theme: str
    """What is mostly done in the scenarios that look for it, and in which journey."""

    def of(self, source: str) -> str:
        """Return the function without its guard."""
        for old, new in self.changes:
            assert source.count(old) == 1, f"{source.count(old)} times in {self.function}: {old}"
            source = source.replace(old, new)
        return source


def _without(theme: str, function: str, old: str, new: str = "") -> Mutation:
    return Mutation(function, ((old, new),), theme)


_SEEN: Final = "r.revision = p_revision[p.n] and r.mailbox_count = p_mailbox[p.n]"
_OPEN: Final = (
    "d.status in ('pending','failed','deferred') and d.revision = p.revision\n           and r.held"
)
MUTATIONS: Final = {
    "a decision may have overlooked mail": _without("read", COMMIT, _SEEN, "r.revision = p_revision[p.n]"),
    "a decision may be of an older run": _without(
        "progress", COMMIT, _SEEN, "r.mailbox_count = p_mailbox[p.n]"
    ),
    "a decision may be of an older message": _without(
        "feedback:fallback", COMMIT, "d.revision is not distinct from p_delivery_revision[p.n]", "true"
    ),
    "a decision may be made in a pause": _without("pause", COMMIT, "and w.paused_at is null\n", "\n"),
    "a decision routes nothing": _without("read", COMMIT, _ROUTE, _ROUTE_NOTHING),
    "the guard stands before the routing": Mutation(
        COMMIT,
        ((_ROUTE, _ROUTE_NOTHING), ("-- (4) write: the mail of all, and what passed", _ROUTE + _TAKEN)),
        "read",
    ),
    "an attempt may have overlooked mail": _without(
        "read", BEGIN, "and (r.state not in ('active','waiting') or r.mailbox_count = p.mailbox)"
    ),
    "an attempt may be of an older message": _without("cancel", BEGIN, _OPEN, "true\n           and r.held"),
    "an attempt may begin while its run is held": _without(
        "hold", BEGIN, "and r.held_reason is null\n", "\n"
    ),
    "an attempt may begin in a pause": _without(
        "pause",
        BEGIN,
        "and (w.paused_at is null or (d.attempt_count > 0 and r.mailbox_count = r.mailbox_seen))",
    ),
    "an attempt routes nothing": _without(
        "read", BEGIN, "v_seen := chimeway.route_for_runs(v_locked);", "v_seen := pg_current_snapshot();"
    ),
    "a result forgets that the run was stopped": _without(
        "cancel", RECORD, "when d.stop_requested then 'cancelled' else p.status", "else p.status"
    ),
    "a result wakes nobody": _without("read", RECORD, "if v_moving <> '{}' then", "if false then"),
    "a run's first look passes over what was routed": _without(
        "read", "find_mail/2", "where m.visit = 0 and", "where false and"
    ),
}
"""What is no longer so → how that is done."""


class Guarded:
    """A simulation from which guards can be taken out."""

    def __init__(self, simulation: Simulation) -> None:
        """Take one that is open."""
        self.lines = simulation.lines
        self.scenario = simulation.scenario
        self.play = simulation.play

    def first_found(self, seeds: Sequence[int], theme: str | None = None) -> Played | None:
        """Play seeds until one shows a problem."""
        return next((played for seed in seeds if (played := self.play(seed, theme)).problems), None)

    @contextmanager
    def without(self, mutation: Mutation) -> Iterator[None]:
        """Take a guard out while the block lasts."""
        source = self.lines.source(mutation.function)
        self.lines.alter(mutation.of(source))
        try:
            yield
        finally:
            self.lines.alter(source)


@contextmanager
def guarded() -> Iterator[Guarded]:
    """Open a simulation on a database of its own."""
    with simulation() as opened:
        yield Guarded(opened)

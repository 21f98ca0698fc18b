"""What all pages work with: the database, the time, and what a visit may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar, cast, get_args
from uuid import UUID

from chimeway.client import checks
from chimeway.clock import Clock
from chimeway.errors import InvalidInput
from chimeway.progression.snapshot import RunState
from chimeway.store import callers
from chimeway.store.call import Call
from chimeway.store.console import Kind, RunFilter, WaitFilter
from chimeway.store.pool import Database
from chimeway.store.words import in_our_words
from chimeway.web.console.guard import NotFound, Visit
from chimeway.web.console.showing import as_instant

_T = TypeVar("_T")
STATES: Final[tuple[str, ...]] = get_args(RunState)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_UNITS: Final[Mapping[str, int]] = {"minutes": 60, "hours": 3_600, "days": 86_400}
_MOST_UNITS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long runs that have ended are kept, and idempotency keys."""

    runs: timedelta = timedelta(days=90)
    keys: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where pages ask, by which time, from when on a run is late, and what is kept for how long."""

    database: Database
    clock: Clock
    lateness: timedelta
    kept: Kept

    @property
    def now(self) -> datetime:
        """Return the time of the database, as this node knows it."""
        return self.clock.now()

    async def ask(self, call: Call[_T]) -> _T:
        """Ask; what the database refuses is raised in our words."""
        with in_our_words():
            return await callers.ask(self.database, call)


def run_id_of(visit: Visit, name: str = "run_id") -> UUID:
    """Return an id that the path names, or raise NotFound."""
    try:
        return UUID(visit.ids[name])
    except ValueError:
        raise NotFound("There is nothing of this id here.") from None


def text_of(given: Mapping[str, str], name: str) -> str | None:
    """Return what may stand in an id's place, or None; raise InvalidInput for what may not."""
    return checks.optional_identifier(name, given.get(name))


def tenant_of(visit: Visit, given: Mapping[str, str]) -> str | None:
    """Return the tenant that is asked for: the token's own, else the one given, else None for all."""
    return visit.who.tenant if visit.who.tenant is not None else text_of(given, "tenant")


def run_filter(visit: Visit) -> RunFilter:
    """Return which runs the query asks for, or raise InvalidInput."""
    query = visit.query
    return RunFilter(
        tenant=tenant_of(visit, query),
        workflow=text_of(query, "workflow"),
        state=_one_of(query, "state", STATES),
        recipient=text_of(query, "recipient"),
        step=text_of(query, "step"),
        kind=cast("Kind | None", _one_of(query, "show", KINDS)),
    )


def wait_filter(given: Mapping[str, str], tenant: str | None) -> WaitFilter:
    """Return which waiting runs are asked for, or raise InvalidInput."""
    before = given.get("before")
    at = None if before is None else as_instant(before)
    if before is not None and at is None:
        raise InvalidInput(
            "before is no date and time", field="before", hint="such as 2026-12-24T18:00, in UTC"
        )
    return WaitFilter(tenant, text_of(given, "workflow"), text_of(given, "step"), at)


def cursor_of(visit: Visit) -> UUID | None:
    """Return where a page of runs goes on."""
    given = visit.query.get("after")
    try:
        return None if given is None else UUID(given)
    except ValueError:
        raise InvalidInput("after is no place in this list", field="after", hint="begin at its top") from None


def moved(given: Mapping[str, str], now: datetime) -> tuple[datetime | None, timedelta | None]:
    """Return where a form moves a wait: to an instant, or by a span; or raise InvalidInput."""
    how = given.get("how", "now")
    if how == "now":
        return now, None
    if how == "to":
        at = as_instant(given.get("at", ""))
        if at is None:
            raise InvalidInput("the new time is missing", field="at", hint="such as 2026-12-24T18:00, in UTC")
        return at, None
    unit, number = _UNITS.get(given.get("unit", "minutes")), given.get("number", "")
    if how not in {"later", "earlier"} or unit is None or not number.isdecimal() or len(number) > 7:
        raise InvalidInput("by how much is missing", field="number", hint="a whole number of 1 or more")
    length = timedelta(seconds=min(int(number), _MOST_UNITS) * unit)
    return None, -length if how == "earlier" else length


def note_of(visit: Visit) -> str | None:
    """Return the note of a form, or raise InvalidInput."""
    return checks.note(visit.form.get("note"))


def _one_of(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = given.get(name)
    if value is not None and value not in known:
        raise InvalidInput(f"{name} is not one of {', '.join(known)}", field=name, hint=f"such as {known[0]}")
    return value

"""Forgetting a person, and telling what is held about them: how it is asked, and what comes of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from chimeway.limits import EXPORTED_AT_ONCE
from chimeway.store.call import Call, Row, one, statement
from chimeway.store.queries import SQL

Document: TypeAlias = Mapping[str, Any]
"""One of what is held about a person: `part` says of what kind, instants and ids are text."""

_PARTS: Final = ("recipient", "run", "signal")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of a person's traces; it holds once the caller's transaction commits.

    `known`: anything was there. `on_their_way`: messages for which a provider was being asked; they may
    arrive. `rows_erased`: rows that are gone, or bear nothing of the person any more.
    """

    known: bool
    runs_cancelled: int
    deliveries_cancelled: int
    on_their_way: int
    rows_erased: int


@dataclass(frozen=True, slots=True)
class Exported:
    """Some of the documents, and how to ask for those behind them; None: there are none."""

    documents: tuple[Document, ...]
    further: "Call[Exported] | None"


def forget(tenant: str, recipient: str) -> Call[Forgotten]:
    """Ask for a person to be forgotten."""
    call = one(statement(SQL["forget_recipient"], tenant, recipient), lambda found: Forgotten(**found[0]))
    return replace(call, read_committed=True)


def export(tenant: str, recipient: str, part: str = _PARTS[0], after: str | None = None) -> Call[Exported]:
    """Ask for the first documents of a part, behind a place in it; each answer says how to go on."""

    def read(found: Sequence[Row]) -> Exported:
        documents = tuple({"part": part, **row["document"]} for row in found)
        if part != _PARTS[0] and len(found) == EXPORTED_AT_ONCE:
            return Exported(documents, export(tenant, recipient, part, found[-1]["place"]))
        later = _PARTS[_PARTS.index(part) + 1 :]
        return Exported(documents, export(tenant, recipient, later[0]) if later else None)

    asked = statement(SQL["export_recipient"], tenant, recipient, part, after, EXPORTED_AT_ONCE)
    return one(asked, read)

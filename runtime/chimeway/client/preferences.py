"""Parts of a preferences document as Python values; a dict of the same keys is the same. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, Literal

from chimeway.limits import MAX_PAGE
from chimeway.workflow.calendar import DAYS
from chimeway.workflow.durations import iso_duration


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours in which nothing is sent: `QuietHours("22:00", "07:00", days=["fri", "sat"])`.

    `days` are those on which they begin (without: every day), `channels` those for which they hold (without:
    all that are not the inbox). What is wrong is told where they are given.
    """

    start: str
    end: str
    days: Iterable[str] | None = None
    channels: Iterable[str] | None = None

    def document(self) -> dict[str, Any]:
        """Return them as a preferences document has them."""
        more = {"days": _listed(self.days), "channels": _listed(self.channels)}
        return {"from": self.start, "to": self.end} | {
            key: some for key, some in more.items() if some is not None
        }


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many messages on a channel within a span: `Cap("email", 3, per="PT24H", then="drop")`.

    `per` is an ISO 8601 duration or a timedelta, counted back from now; `then` says what becomes of one more.
    """

    channel: str
    limit: int
    per: str | timedelta
    then: Literal["delay", "drop"] = "delay"

    def document(self) -> dict[str, Any]:
        """Return it as a preferences document has it."""
        per = iso_duration(self.per) if isinstance(self.per, timedelta) else self.per
        return {"channel": self.channel, "limit": self.limit, "per": per, "then": self.then}


def written_out(document: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a document with these values as the objects that they stand for; all else as it is."""
    return {key: _plain(value) for key, value in document.items()}


def _plain(value: Any) -> Any:
    match value:
        case QuietHours() | Cap():
            return value.document()
        case list() | tuple():
            return [_plain(one) for one in value]
        case _:
            return value


def _listed(words: Iterable[str] | None) -> Any:
    """Return words as a list, days in the order of the week; what is none is refused where it is read."""
    if words is None or isinstance(words, str | bytes | Mapping) or not isinstance(words, Iterable):
        return words
    some = islice(words, MAX_PAGE)  # what is iterated may have no end
    return sorted(some, key=lambda word: (DAYS.index(word) if word in DAYS else len(DAYS), str(word)))

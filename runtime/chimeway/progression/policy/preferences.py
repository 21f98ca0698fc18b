"""What recipients and tenants prefer, as frozen values: the parsed form of a preferences document.

Nothing here judges: `reading` makes these values, `judging` asks them. Every statement remembers where it
stood and whose it was, so that a verdict can name it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, TypeVar

from chimeway.workflow.calendar import WeeklyWindow
from chimeway.workflow.durations import BeyondCalendar, Duration

Whose: TypeAlias = Literal["tenant", "recipient"]
_Owned = TypeVar("_Owned", "Statement", "QuietHours", "Cap")
INBOX: Final = "in_app"
"""The channel that lies in wait and disturbs nobody: no hours hold for it, and no delay."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One yes or no: `path` is its place in the document, such as `categories.mentions.email`."""

    says: bool
    path: str
    whose: Whose = "recipient"


@dataclass(frozen=True, slots=True)
class Topic:
    """What is said of one category or workflow: in one word, and for single channels."""

    word: Statement | None = None
    channels: Mapping[str, Statement] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours in which nothing is sent, on some channels or (None) on all that are not the inbox."""

    window: WeeklyWindow
    channels: frozenset[str] | None
    path: str
    whose: Whose = "recipient"

    def concern(self, channel: str) -> bool:
        """Tell whether they hold for this channel."""
        return self.channels is None or channel in self.channels


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `limit` sends on `channel` within any span `per`; one more is delayed, or dropped."""

    channel: str
    limit: int
    per: Duration
    text: str
    then: Literal["delay", "drop"]
    path: str
    whose: Whose = "recipient"

    def leaves(self, sent: datetime, zone: str) -> datetime:
        """Return when a send counts no more: `per` after it, so that clocks that change need no care."""
        try:
            return self.per.after(sent, zone)
        except BeyondCalendar:
            return datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Preferences:
    """A document, or two that were merged. None for quiet hours or caps: the document is silent on them."""

    channels: Mapping[str, Statement] = field(default_factory=dict)
    categories: Mapping[str, Topic] = field(default_factory=dict)
    workflows: Mapping[str, Topic] = field(default_factory=dict)
    quiet_hours: tuple[QuietHours, ...] | None = None
    caps: tuple[Cap, ...] | None = None


NONE: Final = Preferences()
"""Nothing set, which means: send."""


def merged(tenant: Preferences, recipient: Preferences) -> Preferences:
    """Lay the recipient's document over the tenant's.

    Args:
        tenant: the defaults below.
        recipient: what replaces them. A yes or no replaces the one of the same place; a word on a category
            or workflow also replaces what the tenant says against it of single channels there; quiet hours
            and caps replace the tenant's as a whole, an empty list too.

    Returns:
        Both in one, each statement bearing whose it is.
    """
    below, above = _owned(tenant, "tenant"), _owned(recipient, "recipient")
    return Preferences(
        channels={**below.channels, **above.channels},
        categories=_topics(below.categories, above.categories),
        workflows=_topics(below.workflows, above.workflows),
        quiet_hours=below.quiet_hours if above.quiet_hours is None else above.quiet_hours,
        caps=below.caps if above.caps is None else above.caps,
    )


def _topics(below: Mapping[str, Topic], above: Mapping[str, Topic]) -> dict[str, Topic]:
    return {**below, **{name: _topic(below.get(name), topic) for name, topic in above.items()}}


def _topic(below: Topic | None, above: Topic) -> Topic:
    if below is None:
        return above
    # What agrees with the recipient's word stays: else a yes of his could take a yes away.
    kept = {
        name: each
        for name, each in below.channels.items()
        if above.word is None or each.says == above.word.says
    }
    return Topic(above.word or below.word, {**kept, **above.channels})


def _owned(document: Preferences, whose: Whose) -> Preferences:
    hours, caps = document.quiet_hours, document.caps
    return Preferences(
        channels=_each(document.channels, whose),
        categories=_each_topic(document.categories, whose),
        workflows=_each_topic(document.workflows, whose),
        quiet_hours=None if hours is None else tuple(_own(each, whose) for each in hours),
        caps=None if caps is None else tuple(_own(each, whose) for each in caps),
    )


def _each(statements: Mapping[str, Statement], whose: Whose) -> dict[str, Statement]:
    return {name: _own(each, whose) for name, each in statements.items()}


def _each_topic(topics: Mapping[str, Topic], whose: Whose) -> dict[str, Topic]:
    return {
        name: Topic(None if topic.word is None else _own(topic.word, whose), _each(topic.channels, whose))
        for name, topic in topics.items()
    }


def _own(one: _Owned, whose: Whose) -> _Owned:
    return one if one.whose == whose else replace(one, whose=whose)

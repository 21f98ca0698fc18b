"""From a preferences document to `Preferences`: strictly where people write, leniently where rows are read.

One walk does both. It leaves out what it cannot read and notes why; at the border any note is a refusal,
at run time none matters: a stored document may be older than this program, and what cannot be read of it
counts as silent. How long a document may be is asked at the border alone: one that is stored may be longer,
by what an older program let in or by what its recipient has unsubscribed from, and each no in it is heard.
"""

import json
from typing import Final

from chimeway.errors import InvalidInput
from chimeway.limits import MAX_PREFERENCE_BYTES, MAX_PREFERENCE_STATEMENTS
from chimeway.progression.policy.preferences import NONE, Preferences, Statement, Topic
from chimeway.progression.policy.reading_rules import read_caps, read_quiet_hours
from chimeway.progression.policy.spot import Fault, Spot

ANY_CHANNEL: Final = "*"
"""Within a category or workflow: every channel that is not named beside it."""
PARTS: Final = ("channels", "categories", "workflows", "quiet_hours", "caps")
_TOLD: Final = 20
"""Faults that one message tells; `details["faults"]` has all."""

_WORD: Final = "give true or false"
_CHANNELS: Final = 'give true or false for each channel, such as {"email": false}'
_TOPICS: Final = 'give true or false for each name, such as {"marketing": false}'
_TOPIC: Final = "give true or false, or an object of these by channel"
_REMOVE: Final = ", or null to remove it"


def parse_preferences(document: object, place: str = "preferences", *, partial: bool = False) -> Preferences:
    """Read what somebody wrote.

    Args:
        document: JSON as Python has it.
        place: what it is called in messages.
        partial: whether it changes a document that is there (`identify`): null then removes.

    Returns:
        What it says; of a partial one without what it removes.

    Raises:
        InvalidInput: with every fault; `details` have `field` and `hint` of the first, `faults` of all.
    """
    walk = _Walk(place, partial=partial)
    found = walk.bounded(document)
    if walk.faults:
        raise _refusal(walk.faults)
    return found


def read_preferences(document: object) -> Preferences:
    """Read a stored document; what cannot be read is silent. Never raises."""
    return (
        NONE if document is None or document == {} else _Walk("preferences", partial=True).document(document)
    )


def _refusal(faults: list[Fault]) -> InvalidInput:
    first = faults[0]
    more = "".join(f"\n  {fault}" for fault in faults[1:_TOLD])
    more += f"\n  and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
    return InvalidInput(
        f"{first}{more}",
        field=first.path,
        hint=first.hint,
        faults=[str(fault) for fault in faults],
    )


class _Walk:
    def __init__(self, place: str, *, partial: bool) -> None:
        self.faults: list[Fault] = []
        self._place, self._removable = place, _REMOVE if partial else ""
        self._cut = len(place) + 1
        self._statements = 0

    def bounded(self, document: object) -> Preferences:
        """Read a document that must keep the bounds; of one that is too long nothing else is said."""
        spot = Spot(document, self._place, self.faults)
        size = _bytes_of(document) if isinstance(document, dict) else 0
        if size > MAX_PREFERENCE_BYTES:
            spot.fault(f"is {size} bytes of JSON", f"give at most {MAX_PREFERENCE_BYTES} bytes")
            return NONE
        found = self.document(document)
        if self._statements > MAX_PREFERENCE_STATEMENTS:
            spot.fault(
                f"has {self._statements} statements",
                f"give at most {MAX_PREFERENCE_STATEMENTS} of true and false",
            )
        return found

    def document(self, document: object) -> Preferences:
        spot = Spot(document, self._place, self.faults)
        if not isinstance(document, dict):
            spot.refuse(f"give an object with {', '.join(PARTS)}")
            return NONE
        channels, categories, workflows, hours, caps = (
            None if part is None or self._removed(part) else part for part in spot.members(PARTS)
        )
        return Preferences(
            channels={} if channels is None else self._channels(channels),
            categories={} if categories is None else self._topics(categories),
            workflows={} if workflows is None else self._topics(workflows),
            quiet_hours=None if hours is None else read_quiet_hours(hours, self._cut, self._removable),
            caps=None if caps is None else read_caps(caps, self._cut, self._removable),
        )

    def _removed(self, spot: Spot) -> bool:
        return spot.value is None and bool(self._removable)

    def _statement(self, spot: Spot) -> Statement | None:
        if isinstance(spot.value, bool):
            self._statements += 1
            return Statement(spot.value, spot.path[self._cut :])
        if not self._removed(spot):
            spot.refuse(_WORD + self._removable)
        return None

    def _channels(self, spot: Spot) -> dict[str, Statement]:
        if not isinstance(spot.value, dict):
            spot.refuse(_CHANNELS + self._removable)
            return {}
        if ANY_CHANNEL in spot.value:
            spot.fault(f'has the key "{ANY_CHANNEL}"', "name each channel")
        found = {name: self._statement(each) for name, each in spot.named() if name != ANY_CHANNEL}
        return {name: statement for name, statement in found.items() if statement is not None}

    def _topics(self, spot: Spot) -> dict[str, Topic]:
        if not isinstance(spot.value, dict):
            spot.refuse(_TOPICS + self._removable)
            return {}
        found = {name: self._topic(each) for name, each in spot.named()}
        return {name: topic for name, topic in found.items() if topic.word or topic.channels}

    def _topic(self, spot: Spot) -> Topic:
        if isinstance(spot.value, bool):
            return Topic(self._statement(spot))
        if not isinstance(spot.value, dict):
            if not self._removed(spot):
                spot.refuse(_TOPIC + self._removable)
            return Topic()
        found = {name: self._statement(each) for name, each in spot.named()}
        said = {name: statement for name, statement in found.items() if statement is not None}
        word = said.pop(ANY_CHANNEL, None)
        return Topic(word, said)


def _bytes_of(document: object) -> int:
    return len(json.dumps(document, ensure_ascii=False, default=str).encode(errors="replace"))

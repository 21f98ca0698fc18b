"""What is known of one journey from outside: its producer's log, the provider's log, its person's inbox."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from faults.journal import Entry
from faults.plan import Plan, from_json


@dataclass(slots=True)
class Said:
    """An act of the producer, with all its tries.

    `begun`: before the first try. `known`: when the answer had been heard; None: never. `answer`: of the
    last try. `before`: what tries answered whose commit was lost.
    """

    begun: float
    known: float | None = None
    answer: Any = None
    before: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Call:
    """A call of the provider. `answer` is None when the provider died before it gave one."""

    number: int
    at: float
    node: str
    key: str
    step: str
    about: Entry
    answered: float | None = None
    answer: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the provider said yes."""
        return self.answer == "ok"


@dataclass(frozen=True, slots=True)
class Item:
    """An in-app item, as the public client lists it."""

    id: str
    run: str
    mention: str
    tenant: str
    recipient: str
    at: float


@dataclass(slots=True)
class Story:
    """One journey. `runs`: the ids that triggers answered with; `held`: when somebody sat on its run."""

    plan: Plan
    trigger: Said
    runs: set[str] = field(default_factory=set)
    rolled_back: bool = False
    read: Said | None = None
    cancel: Said | None = None
    held: tuple[float, float] | None = None
    calls: list[Call] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    @property
    def committed(self) -> bool:
        """Whether its trigger is known to be committed."""
        return self.trigger.known is not None

    def calls_of(self, step: str) -> list[Call]:
        """Return the calls for one message, in order of time."""
        return [call for call in self.calls if call.step == step]


@dataclass(slots=True)
class Told:
    """All journeys, and what nobody asked for: calls and items that belong to none."""

    stories: dict[str, Story]
    strays: list[str] = field(default_factory=list)


def told(producers: Iterable[Iterable[Entry]], provider: Iterable[Entry], items: Iterable[Item]) -> Told:
    """Put the logs together."""
    found = Told({})
    for log in producers:
        for entry in log:
            _hear(found.stories, entry)
    _call(found, provider)
    for item in items:
        story = found.stories.get(item.mention)
        if story is None:
            found.strays.append(f"an item of no journey: {item}")
        else:
            story.items.append(item)
    return found


def _hear(stories: dict[str, Story], entry: Entry) -> None:
    """Take one line of a producer."""
    act, j, at = entry.get("act"), entry.get("j"), entry["t"]
    if j is None:
        return
    if act == "trigger" and entry["w"] == "intent" and j not in stories:
        stories[j] = Story(from_json(entry["plan"]), Said(at))
        return
    story = stories[j]
    match act, entry["w"]:
        case "trigger", "committed":
            story.trigger.known = at if story.trigger.known is None else story.trigger.known
            story.runs.add(entry["run"])
            if story.plan.act == "read_at_once":
                story.read = Said(story.trigger.begun, at)
        case "trigger", "rolled_back":
            story.rolled_back = True
        case "read", "intent":
            story.read = story.read or Said(at)
        case "read", "committed" if story.read is not None and story.read.known is None:
            story.read.known = at
        case "cancel", "intent":
            story.cancel = story.cancel or Said(at)
        case "cancel", "answer" if story.cancel is not None:
            story.cancel.before.append(entry["answer"])
        case "cancel", "committed" if story.cancel is not None and story.cancel.known is None:
            story.cancel.known, story.cancel.answer = at, entry["answer"]
        case "hold", "held":
            story.held = (at, at)
        case "hold", "released" if story.held is not None:
            story.held = (story.held[0], entry["until"])


def _call(found: Told, provider: Iterable[Entry]) -> None:
    """Take the provider's lines."""
    calls: dict[int, Call] = {}
    for entry in provider:
        match entry:
            case {"w": "call", "c": number, "t": at, "node": node, "key": key, "j": j, "step": step}:
                call = calls[number] = Call(number, at, node, key, step, entry)
                if j in found.stories:
                    found.stories[j].calls.append(call)
                else:
                    found.strays.append(f"a call of no journey: {entry}")
            case {"w": "answer", "c": number, "t": at, "answer": answer}:
                calls[number].answered, calls[number].answer = at, answer

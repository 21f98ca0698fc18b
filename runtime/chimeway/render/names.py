"""Whether the names that templates use will be there, as far as workflows say what their data holds. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chimeway.render.closure import Closure
from chimeway.render.findings import Finding
from chimeway.render.reading import Path
from chimeway.render.schema import names_in, verdict_on
from chimeway.spelling import did_you_mean

_ANYTHING: Final = None
_OURS: Final[Mapping[str, Any]] = {
    "recipient": {"id": "", "locale": "", "timezone": "", "addresses": _ANYTHING, "data": _ANYTHING},
    "tenant": "",
    "run": {"id": "", "workflow": "", "version": 0},
    "step": {"id": ""},
    "unsubscribe_url": "",
}
"""What every template has, whatever the data, in the form of an example."""
_VERY_NEAR: Final = 0.85
"""How alike to be taken for it, where nobody knows that it is wrong."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a step's message has for data, as far as it is known."""

    names: frozenset[str]
    """That are surely there: the step's own data, and what the definition refers to."""
    schema: Mapping[str, Any] | None
    """Of the trigger's data, where the workflow declares one."""


def needed(closure: Closure) -> list[str]:
    """Return the names of the data that a message's templates read."""
    own = _assigned(closure)
    found = {use.path[0] for piece in closure.pieces if piece.in_context for use in piece.uses()}
    return sorted(found - own - _OURS.keys())


def misused(closure: Closure, given: Given) -> Iterator[Finding]:
    """Yield what is wrong with the names in a message's templates."""
    own = _assigned(closure)
    guarded = {path for piece in closure.pieces for path in piece.reading.guarded}
    for piece in closure.pieces:
        for use in piece.uses():
            name = use.path[0]
            if any(use.path[: len(path)] == path for path in guarded):
                continue
            if not piece.in_context:
                local = piece.reading.assigned
                found = None if name in local else ("unknown_name", _without_context(name))
            else:
                found = None if name in own else _fault(use.path, given)
            if found is not None:
                yield Finding(found[0], found[1], piece.name, use.line)


def _assigned(closure: Closure) -> set[str]:
    return {name for piece in closure.pieces for name in piece.reading.assigned}


def _fault(path: Path, given: Given) -> tuple[str, str] | None:
    """Return code and sentence of what is wrong with a name and its attributes, or None."""
    name = path[0]
    if name in _OURS:
        return _of_ours(path)
    if name in given.names:
        return None
    if given.schema is None:
        return _nearly(name, given)
    verdict, place = verdict_on(given.schema, path)
    told = ".".join(path[: place + 1])
    match verdict:
        case "there" | "anything":
            return None
        case "optional":
            return "may_be_missing", f"{told!r} is optional in the data's schema: give it a default"
        case "unknown":
            known = names_in(given.schema, path[:place])
            known = known if place else [*known, *given.names, *_OURS]
            return "unknown_name", f"{told!r} is not in the data's schema{did_you_mean(path[place], known)}"


def _of_ours(path: Path) -> tuple[str, str] | None:
    here: Any = _OURS[path[0]]
    for place, attribute in enumerate(path[1:], start=1):
        if here is _ANYTHING or attribute in dir(type(here)):
            return None
        if not isinstance(here, Mapping) or attribute not in here:
            known = here if isinstance(here, Mapping) else ()
            hint = did_you_mean(attribute, known)
            if not hint and path[0] == "recipient" and place == 1:
                hint = "; what else the profile holds is in recipient.data"
            return "unknown_attribute", f"{'.'.join(path[:place])} has no attribute {attribute!r}{hint}"
        here = here[attribute]
    return None


def _nearly(name: str, given: Given) -> tuple[str, str] | None:
    hint = did_you_mean(name, [*given.names, *_OURS], alike=_VERY_NEAR)
    return ("doubtful_name", f"{name!r} may not be there{hint}") if hint else None


def _without_context(name: str) -> str:
    return f"{name!r} is not there: what is imported sees no data, unless it is imported `with context`"

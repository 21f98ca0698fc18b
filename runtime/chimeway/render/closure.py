"""One message's template with all that it is made of: what it extends, includes and imports. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from chimeway.render.findings import Finding
from chimeway.render.locales import Variants, tag_of, tags_of
from chimeway.render.reading import Reading, Reference, Use

_DEEPEST: Final = 100
BLOCKS: Final = ("subject", "body", "text")
"""What a message is made of."""
_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Piece:
    """A template in its place: which of its blocks somebody else fills, and whether it sees the context."""

    name: str
    reading: Reading
    filled: frozenset[str]
    in_context: bool
    chained: bool
    """Its blocks are the message's."""

    def uses(self) -> Iterator[Use]:
        """Yield the names that are read where nobody has filled the block."""
        return (use for use in self.reading.uses if not use.blocks & self.filled)


@dataclass(slots=True)
class Closure:
    """All pieces, and what is wrong with how they hang together."""

    pieces: list[Piece] = field(default_factory=list)
    seen: set[tuple[str, frozenset[str], bool]] = field(default_factory=set)
    blocks: set[str] = field(default_factory=set)
    """Of the message's template and of what it extends."""
    guessed: bool = False
    """Something is malformed, or its name is made of data: what is missing may be there."""
    findings: list[Finding] = field(default_factory=list)

    def unwritten(self) -> Iterator[tuple[str, str, int]]:
        """Yield template, block and line where nothing writes the block: only three are asked for."""
        written = set(BLOCKS).union(*(piece.reading.written for piece in self.pieces))
        for piece in self.pieces:
            for block, line in piece.reading.outer.items() if piece.chained else ():
                if block not in written and not self.guessed:
                    yield piece.name, block, line


@dataclass(frozen=True, slots=True)
class _Link:
    """One step on the way to a piece."""

    name: str
    sure: bool


class Closures:
    """Follows references from a message's template, for all readers that may get it."""

    def __init__(
        self, variants: Variants, reading_of: Callable[[str], Reading | None], channels: Iterable[str]
    ) -> None:
        """Take the names, what was read in each (None: it is malformed), and what are no locales."""
        self._no_locales = frozenset(map(tag_of, channels))
        self._variants = variants
        self._reading_of = reading_of

    def of(self, name: str, locale: str | None) -> Closure:
        """Return what a message's template is made of; without a locale it is the plain one."""
        found = Closure()
        self._walk(found, name, tag_of(locale), (_Link(name, sure=True),), _NOTHING, chained=True)
        return found

    def _walk(
        self,
        found: Closure,
        name: str,
        tag: str | None,
        way: tuple[_Link, ...],
        filled: frozenset[str],
        *,
        chained: bool = False,
        in_context: bool = True,
    ) -> None:
        """Add a piece and what hangs on it; `chained`: its blocks are the message's."""
        reading = self._reading_of(name)
        if reading is None:
            found.guessed = True
            return
        piece = Piece(name, reading, filled, in_context, chained)
        if (name, filled, in_context) in found.seen:
            return
        found.seen.add((name, filled, in_context))
        found.pieces.append(piece)
        if chained:
            found.blocks |= reading.blocks - reading.required
        for reference in reading.references:
            if reference.blocks & filled:
                continue
            extends = reference.kind == "extends"
            passed = filled | (reading.blocks - reading.extending - reading.required) if extends else _NOTHING
            for target in self._targets(found, name, tag, reference):
                if self._comes_back(found, name, target, reference, way):
                    continue
                link = _Link(target, reference.sure)
                sees = in_context and reference.with_context
                self._walk(
                    found, target, tag, (*way, link), passed, chained=chained and extends, in_context=sees
                )

    def _targets(self, found: Closure, asker: str, tag: str | None, reference: Reference) -> list[str]:
        """Return the templates that may be meant: of a part all variants that such a reader may get."""
        if not reference.names:
            found.guessed = True
        for name in reference.names:
            if targets := self._candidates(name, asker, tag):
                return targets
        if reference.names and not reference.optional:
            missing = " or ".join(reference.names)
            told = f"it needs {missing}, which is not there"
            found.findings.append(Finding("unknown_part", told, asker, reference.line))
            found.guessed = found.guessed or reference.kind == "extends"
        return []

    def _candidates(self, name: str, asker: str, tag: str | None) -> list[str]:
        variants = self._variants.of(name)
        if asker == name or asker in variants.values():
            behind = self._variants.find(name, tags_of(self._variants.locale_of(asker)), asker)
            return [] if behind is None else [behind]
        found = [
            each
            for other, each in variants.items()
            if (other not in self._no_locales if tag is None else _may_both_be(tag, other))
        ]
        return [name, *found] if name in self._variants.names else found

    def _comes_back(
        self, found: Closure, asker: str, target: str, reference: Reference, way: tuple[_Link, ...]
    ) -> bool:
        """Say whether this leads back to where we come from; a fault where nothing can stop it."""
        names = [link.name for link in way]
        if target in names:
            round_trip = way[names.index(target) + 1 :]
            if reference.sure and all(link.sure for link in round_trip):
                through = " > ".join([*names[names.index(target) :], target])
                found.findings.append(
                    Finding("endless", f"it comes to itself again: {through}", asker, reference.line)
                )
            return True
        return len(way) > _DEEPEST


def _may_both_be(tag: str, other: str) -> bool:
    """Say whether a reader who gets the one may get the other: `de` and `de-at`."""
    return f"{tag}-".startswith(f"{other}-") or f"{other}-".startswith(f"{tag}-")

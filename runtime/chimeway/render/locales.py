"""Which variant of a template a reader's locale asks for. Pure.

A template `NAME.j2` may have variants `NAME.<locale>.j2`: `mention.email.de.j2`, `layouts/base.pt-BR.j2`.
A locale is a BCP 47 tag, in any case, `_` as good as `-`. It is looked up as RFC 4647 says: pt-BR, then
pt, then the plain one. What is no tag is no locale, and gets the plain one.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

SUFFIX: Final = ".j2"
_TAG: Final = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,8})*")
_LONGEST: Final = 64
_REMEMBERED: Final = 1_000
"""Of how many locales the tags are kept: readers have few, and each message asks."""
Tags: TypeAlias = tuple[str, ...]
"""What is looked for, the most particular first; none: the plain one alone."""


def tag_of(locale: object) -> str | None:
    """Return a locale's tag in small letters; None for what is none. de_DE.UTF-8 is one, too."""
    if not isinstance(locale, str) or len(locale) > _LONGEST:
        return None
    tag = re.split(r"[.@]", locale, maxsplit=1)[0].replace("_", "-").lower()
    return tag if _TAG.fullmatch(tag) and tag not in {"posix", "und"} else None


def tags_of(locale: object) -> Tags:
    """Return the tags to look for, for a reader of this locale: `zh-hant-tw`, `zh-hant`, `zh`."""
    return _tags(locale) if isinstance(locale, str) and len(locale) <= _LONGEST else ()


@lru_cache(_REMEMBERED)
def _tags(locale: str) -> Tags:
    tag = tag_of(locale)
    found: list[str] = []
    while tag:
        found.append(tag)
        tag = re.sub(r"(?:-[a-z0-9])?-[a-z0-9]+$", "", tag) if "-" in tag else ""
    return tuple(found)


class Variants:
    """The names of templates, and which of them are variants of which for what locale."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take all names; of two variants for one locale the first by name is taken."""
        self.names: Final = frozenset(names)
        self.twice: Final[list[tuple[str, str]]] = []
        self._of: dict[str, dict[str, str]] = {}
        for name in sorted(self.names):
            stem, tag = _split(name)
            if tag is None:
                continue
            first = self._of.setdefault(f"{stem}{SUFFIX}", {}).setdefault(tag, name)
            if first != name:
                self.twice.append((first, name))

    def of(self, name: str) -> Mapping[str, str]:
        """Return a template's variants by tag, without the plain one."""
        return self._of.get(name, {})

    def all(self, name: str) -> list[str]:
        """Return a template and its variants, as far as they are there."""
        return [*([name] if name in self.names else []), *self.of(name).values()]

    def find(self, name: str, tags: Tags, asker: str | None = None) -> str | None:
        """Return the variant of a template for these tags, or the plain one; None where there is neither.

        A variant that asks for its own plain name (`{% extends "mention.email.j2" %}` in
        `mention.email.de.j2`) gets the next less particular one, and never itself.
        """
        variants = self._of.get(name)
        if variants is None:
            return name if name in self.names else None
        found = [variants[tag] for tag in tags if tag in variants]
        if asker in variants.values():
            found = found[found.index(asker) + 1 :] if asker in found else []
        return next(iter(found), name if name in self.names else None)

    def locale_of(self, name: str) -> str | None:
        """Return for which locale this template is, as its name has it."""
        return None if _split(name)[1] is None else name.removesuffix(SUFFIX).rpartition(".")[2]


def _split(name: str) -> tuple[str, str | None]:
    """Return a name's stem and its last part as a tag, where it may be one."""
    stem, dot, last = name.removesuffix(SUFFIX).rpartition(".")
    return stem, tag_of(last) if dot and stem and name.endswith(SUFFIX) else None

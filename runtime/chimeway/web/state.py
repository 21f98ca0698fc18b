"""How a node is, as its web door tells it. It needs no package that a node may lack."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Ready:
    """It can do its work: a word for its state, and what else is worth knowing."""

    status: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotReady:
    """It cannot: a stable code, and a sentence for people."""

    code: str
    detail: str


Asked: TypeAlias = Callable[[], Awaitable[Ready | NotReady]]
"""Answers how the node is now, within a few seconds."""

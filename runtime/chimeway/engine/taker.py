"""Who takes what was found to be due: the wires from those who look to those who work."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Taker:
    """Takes runs, or deliveries; with each it is told whose it is (None: not known)."""

    offer: Callable[[UUID, str | None], None]
    """Takes it at once, or not at all."""

    admit: Callable[[UUID, str | None], Awaitable[None]]
    """Takes it as soon as there is room for its tenant."""

    at_work: Callable[[UUID], bool]
    """Says what need not be handed on, for it is being looked at already."""

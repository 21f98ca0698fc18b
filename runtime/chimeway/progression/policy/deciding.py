"""Which yes or no counts for a message: the most specific, and never a tenant's yes over a recipient's no."""

from collections.abc import Sequence
from dataclasses import dataclass

from chimeway.progression.policy.preferences import Preferences, Statement, Topic
from chimeway.progression.policy.verdict import Asked

_SILENT = Topic()


@dataclass(frozen=True, slots=True)
class Decided:
    """What was said: `by` are the statements that decided, `overruled` the others on this message."""

    says: bool
    by: tuple[Statement, ...]
    overruled: tuple[Statement, ...]


def decide(preferences: Preferences, asked: Asked) -> Decided:
    """Return what the statements on this message come to; nothing said is a yes."""
    ranks = _by_rank(preferences, asked)
    own = _strongest([[each for each in rank if each.whose == "recipient"] for rank in ranks])
    by = own if own and not own[0].says else _strongest(ranks)
    overruled = tuple(each for rank in ranks for each in rank if each not in by)
    return Decided(by[0].says if by else True, tuple(by), overruled)


def _by_rank(preferences: Preferences, asked: Asked) -> list[list[Statement]]:
    workflow = preferences.workflows.get(asked.workflow, _SILENT)
    category = _SILENT if asked.category is None else preferences.categories.get(asked.category, _SILENT)
    ranks = (
        [workflow.channels.get(asked.channel)],
        [category.channels.get(asked.channel)],
        [workflow.word, category.word, preferences.channels.get(asked.channel)],
    )
    return [[each for each in rank if each is not None] for rank in ranks]


def _strongest(ranks: Sequence[Sequence[Statement]]) -> list[Statement]:
    """Return the statements of the first rank that has any: those that say no, if one does."""
    rank = next((rank for rank in ranks if rank), ())
    return [each for each in rank if not each.says] or list(rank)

"""One thing that a provider told of one delivery."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args
from uuid import UUID

FeedbackKind: TypeAlias = Literal["delivered", "bounced", "failed", "complained", "deferred"]
"""delivered: a server took it; bounced: the address is wrong; failed: given up for another reason;
complained: the recipient calls it spam; deferred: not yet. The last two move no delivery."""
KINDS: Final[tuple[FeedbackKind, ...]] = get_args(FeedbackKind)


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """What was told, of which delivery.

    `id` is the source's own name for the event: the same again is the same event. The delivery is named by
    our id, or by `references`: what the provider may have answered when it took the message, as
    `Sent.provider_reference` bears it. `at` is when it happened, as the source says; None: now.
    """

    id: str
    kind: FeedbackKind
    delivery_id: UUID | None = None
    references: tuple[str, ...] = ()
    at: datetime | None = None
    detail: str | None = None

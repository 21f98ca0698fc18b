"""The half of the client without an event loop for what providers tell later of deliveries."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from chimeway.client import feedback
from chimeway.client.feedback import FeedbackReceipt
from chimeway.feedback.event import FeedbackEvent, FeedbackKind
from chimeway.store import sync_callers as callers
from chimeway.sync.forgetting import Forgetting


class Recording(Forgetting):
    """Records what providers told. With `connection=`, in the caller's transaction."""

    def record_feedback(  # noqa: PLR0913  (all but the first two by name)
        self,
        delivery_id: UUID | str,
        kind: FeedbackKind,
        *,
        source: str,
        event_id: str,
        at: datetime | None = None,
        detail: str | None = None,
        tenant: str | None = None,
        connection: object | None = None,
    ) -> FeedbackReceipt:
        """Record what a provider told of a delivery after it had taken the message.

        `delivered` makes it succeeded, `failed` and `bounced` end it as such, whatever it was before; of
        several the gravest holds, in whichever order they come. `complained` and `deferred` move nothing.
        Its run hears of it (`chimeway.delivery.succeeded`, `.failed`, `.bounced`, `.complained`).

        Args:
            delivery_id: which, as `Message.delivery_id` had it.
            kind: what was told.
            source: who told it, such as "postmark".
            event_id: the source's own name for the event: the same again changes nothing.
            at: when it happened, as the source says; without it, now.
            detail: free text for people, cut after 1,000 characters.
            tenant: if it is given or bound, deliveries of others are unknown.
            connection: as for `trigger`.
        """
        call = feedback.record_one(
            self._tenant if tenant is None else tenant, delivery_id, kind,
            source=source, event_id=event_id, at=at, detail=detail,
        )  # fmt: skip
        return callers.run(self._database, call, connection)

    def record_feedback_many(
        self,
        source: str,
        events: Iterable[FeedbackEvent | Mapping[str, Any]],
        *,
        tenant: str | None = None,
        connection: object | None = None,
    ) -> tuple[FeedbackReceipt, ...]:
        """Record many things that a provider told, all or none, in one statement.

        Args:
            source: who told them.
            events: as the sources of `chimeway.feedback` read them; or mappings with `id`, `type`,
                `delivery_id` or `provider_reference`, and optionally `at`, `detail`. At most 1,000.
            tenant: as for `record_feedback`.
            connection: as for `record_feedback`.

        Returns:
            a receipt for each, in their order.
        """
        call = feedback.record_many(self._tenant if tenant is None else tenant, source, events)
        return callers.run(self._database, call, connection)

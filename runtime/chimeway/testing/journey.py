"""What a test does with a journey: start it, say what happens, let time pass, and look.

Every verb plays at once what follows from it, and returns when the journey rests. What other code of the
test wrote, on connections of its own, is played by `settle`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.client.chimeway import Chimeway
from chimeway.client.explanation import Explanation
from chimeway.client.recipient import Recipients, Text
from chimeway.client.registry import AnyWorkflow
from chimeway.client.results import Cancellation, Receipt
from chimeway.errors import InvalidInput
from chimeway.store.pool import Database
from chimeway.store.views import RunView
from chimeway.testing.forms import Repertoire, channels_of, placeholder_data
from chimeway.testing.inbox import SettlingInbox
from chimeway.testing.player import Player
from chimeway.testing.recording import Recorders
from chimeway.testing.sightings import Sightings
from chimeway.testing.times import Instant, JourneyTime, Span, end_of, instant_of
from chimeway.workflow.build import Workflow
from chimeway.workflow.definition import Definition

RECIPIENT: Final = "recipient"
"""Whom a trigger is for that names nobody."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a journey is played with."""

    database: Database
    client: Chimeway
    player: Player
    recorders: Recorders
    repertoire: Repertoire
    time: JourneyTime
    tenant: str
    strict: bool


class Journey(Sightings):
    """One or several runs on a database of their own; `Harness` makes it."""

    def __init__(self, stage: Stage) -> None:
        """Take the stage."""
        super().__init__(stage.database, stage.recorders)
        self._stage = stage
        self._turn = asyncio.Lock()
        self._player_task: asyncio.Task[Any] | None = None
        self._channels = set(channels_of(stage.repertoire.definitions))
        self._closed = False

    @property
    def url(self) -> str:
        """The database's URL, for the code under test."""
        return self._database.url

    @property
    def client(self) -> Chimeway:
        """A client on the database, as a producer has one; `settle` plays what it wrote."""
        return self._stage.client

    @property
    def now(self) -> datetime:
        """The present instant, which stands until `advance` moves it."""
        return self._stage.time.clock.now()

    async def trigger(  # noqa: PLR0913  (as of the client)
        self,
        workflow: AnyWorkflow | None = None,
        data: object = None,
        *,
        recipients: Recipients | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        workflow_version: int | None = None,
        cancellation_key: str | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Trigger as `Chimeway.trigger` does.

        Args:
            workflow: may be left out where the harness has one only.
            data: left out (and not strict), each name to which the workflow refers has a placeholder.
            recipients: "recipient" if left out, unless the data names an `actor_id`.
            tenant: the harness's if left out.
            idempotency_key, workflow_version, cancellation_key, at: as there.
        """
        self._open()
        form = self._stage.repertoire.only() if workflow is None else workflow
        definition = self._known(form)
        if data is None and definition is not None and not self._stage.strict:
            data = placeholder_data(definition)
        if recipients is None and not (isinstance(data, Mapping) and "actor_id" in data):
            recipients = RECIPIENT
        receipt = await self.client.trigger(
            form,
            data,
            recipients=recipients,
            tenant=tenant,
            idempotency_key=idempotency_key,
            workflow_version=workflow_version,
            cancellation_key=cancellation_key,
            at=at,
        )
        await self.settle()
        return receipt

    async def signal(
        self,
        signal_type: str,
        *,
        actor: str | None = None,
        tenant: str | None = None,
        payload: Mapping[str, Any] | None = None,
        dedupe_key: str | None = None,
    ) -> UUID:
        """Signal as `Chimeway.signal` does; actor and tenant may be left out where there is one only."""
        self._open()
        actor, tenant = self._who(actor, tenant)
        signal_id = await self.client.signal(
            signal_type, actor=actor, tenant=tenant, payload=payload, dedupe_key=dedupe_key
        )
        await self.settle()
        return signal_id

    async def identify(  # noqa: PLR0913  (as of the client)
        self,
        recipient: str = RECIPIENT,
        *,
        tenant: str | None = None,
        email: Text = ...,
        phone: Text = ...,
        timezone: Text = ...,
        locale: Text = ...,
        addresses: Mapping[str, str | None] | None = None,
        preferences: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a recipient's profile, as `Chimeway.identify` does."""
        self._open()
        await self.client.identify(
            recipient,
            tenant=tenant,
            email=email,
            phone=phone,
            timezone=timezone,
            locale=locale,
            addresses=addresses,
            preferences=preferences,
            data=data,
        )

    async def cancel(
        self,
        run_id: UUID | str | None = None,
        *,
        cancellation_key: str | None = None,
        tenant: str | None = None,
        note: str | None = None,
    ) -> Cancellation:
        """Cancel as `Chimeway.cancel` does; the one run where neither id nor key is given."""
        self._open()
        if run_id is None and cancellation_key is None:
            run_id = self.run.id
        if run_id is not None:
            tenant = tenant or self._tenant_of(run_id)
        done = await self.client.cancel(run_id, cancellation_key=cancellation_key, tenant=tenant, note=note)
        await self.settle()
        return done

    async def explain(self, run_id: UUID | str | None = None, *, tenant: str | None = None) -> Explanation:
        """Explain a run as `Chimeway.explain` does; the one run where no id is given."""
        self._open()
        run_id = self.run.id if run_id is None else run_id
        return await self.client.explain(run_id, tenant=tenant or self._tenant_of(run_id))

    def inbox(self, recipient: str | None = None, *, tenant: str | None = None) -> SettlingInbox:
        """Return an inbox, as `Chimeway.inbox` does; what follows from its marks is played at once."""
        self._open()
        recipient, tenant = self._who(recipient, tenant)
        return SettlingInbox(self._database, tenant, recipient, self.settle)

    async def settle(self) -> None:
        """Play what is due now, and look at what came of it.

        Inside a channel's `send` it does nothing: the send is part of what is being played.

        Raises:
            RunBusy: a transaction that is still open holds a run locked.
        """
        self._open()
        if self._inside():
            return
        async with self._playing():
            pass

    async def advance(self, by: Span, *, zone: str = "UTC") -> datetime:
        """Let time pass, stop by stop: what happens on the way happens at its own instant.

        Args:
            by: an ISO 8601 duration such as "PT1H59M", a timedelta, or seconds.
            zone: in which the calendar part of a duration (P1D) counts.

        Returns:
            the instant that was reached.

        Raises:
            InvalidInput: `by` is none of these, or leads back.
            RunBusy: as `settle`.
        """
        return await self._go(end_of(by, self.now, zone))

    async def advance_to(self, instant: Instant) -> datetime:
        """Let time pass until an instant, as `advance` does.

        Raises:
            InvalidInput: it is none, or is past.
        """
        end = instant_of("instant", instant)
        if end < self.now:
            raise InvalidInput(
                f"instant: {end.isoformat()} is before {self.now.isoformat()}; time goes forward only",
                field="instant",
            )
        return await self._go(end)

    async def advance_to_next(self) -> datetime | None:
        """Let time pass until something is due, and play it; None, at the same instant, if nothing is."""
        self._may_move()
        await self.settle()
        stop = await self._stage.player.next_stop()
        return None if stop is None else await self._go(stop)

    def fail_next(
        self, channel: str, *failures: BaseException | type[BaseException], after_send: bool = False
    ) -> None:
        """Have the next sends on a channel fail, one by each failure, in order.

        Args:
            channel: the channel's name.
            failures: such as `PermanentFailure()`, `TransientFailure()`, `RateLimited(30)`, `Bounced()`,
                `TimeoutError()`; any other exception is one whose outcome is unknown.
            after_send: the message arrives, and the answer is lost.

        Raises:
            InvalidInput: no workflow here sends on this channel.
        """
        self._sends_on(channel)
        if not failures:
            raise InvalidInput("name at least one failure, such as PermanentFailure()", field="failures")
        self._stage.recorders[channel].fail_next(*failures, after_send=after_send)

    @asynccontextmanager
    async def hold_sends(self, channel: str) -> AsyncIterator[None]:
        """Begin no attempt on a channel while the block lasts: the moment between plan and send.

        Raises:
            InvalidInput: no workflow here sends on this channel.
        """
        self._sends_on(channel)
        self._stage.player.held_channels.add(channel)
        try:
            yield
        finally:
            self._stage.player.held_channels.discard(channel)
        await self.settle()

    def close(self) -> None:
        """Refuse all further verbs; what was seen stays."""
        self._closed = True

    async def _go(self, end: datetime) -> datetime:
        self._may_move()
        player = self._stage.player
        async with self._playing():
            while (stop := await player.next_stop()) is not None and stop <= end:
                await self._stage.time.move(self._database, stop)
                await player.settle()
            await self._stage.time.move(self._database, end)
        return end

    @asynccontextmanager
    async def _playing(self) -> AsyncIterator[None]:
        """Play what is due, then what the block wants, then look."""
        async with self._turn:
            self._player_task = asyncio.current_task()
            try:
                await self._stage.player.settle()
                yield
                await self._look()
            finally:
                self._player_task = None

    def _inside(self) -> bool:
        return self._player_task is not None and self._player_task is asyncio.current_task()

    def _may_move(self) -> None:
        self._open()
        if self._inside():
            raise InvalidInput("time cannot move inside a send: move it before or after", field="by")

    def _open(self) -> None:
        if self._closed:
            raise InvalidInput("the harness is closed: use the journey inside its `async with` block")

    def _known(self, form: object) -> Definition | None:
        """Return the definition that is triggered, where it can be told; remember its channels."""
        definitions = self._stage.repertoire.definitions
        match form:
            case Workflow():
                found: Definition | None = form.definition
            case Definition():
                found = form
            case str():
                found = max((d for d in definitions if d.key == form), key=lambda d: d.version, default=None)
            case _:
                found = None
        if found is not None:
            self._channels |= channels_of([found])
        return found

    def _sends_on(self, channel: str) -> None:
        self._open()
        known = self._channels | set(self._stage.recorders)
        if channel not in known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidInput(
                f'no workflow here sends on "{channel}"; channels are: {names}', field="channel"
            )

    def _who(self, actor: str | None, tenant: str | None) -> tuple[str, str]:
        """Return whom an actor and a tenant mean that may have been left out."""
        found = {
            (run.recipient_id, run.tenant_id)
            for run in self.runs
            if actor in {None, run.recipient_id} and tenant in {None, run.tenant_id}
        }
        if len(found) == 1:
            return found.pop()
        if len(found) > 1:
            names = ", ".join(sorted(f"{one} of {where}" for one, where in found))
            raise InvalidInput(f"say who: actor= and tenant= could be {names}", field="actor")
        return actor or RECIPIENT, tenant or self._stage.tenant

    def _tenant_of(self, run_id: UUID | str) -> str | None:
        run: RunView | None = next((run for run in self.runs if str(run.id) == str(run_id)), None)
        return None if run is None else run.tenant_id

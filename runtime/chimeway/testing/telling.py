"""What a test tells a journey: the producers' verbs, each followed by all that follows from it.

What may be left out in a test is filled in: the workflow, the recipient, the data, the actor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.client.chimeway import Chimeway
from chimeway.client.explanation import Explanation
from chimeway.client.profile_calls import Days, Holidays
from chimeway.client.recipient import Recipients, Text
from chimeway.client.registry import AnyWorkflow
from chimeway.client.results import Cancellation, Receipt
from chimeway.errors import InvalidInput
from chimeway.store.pool import Database
from chimeway.testing.forms import Repertoire, channels_of, placeholder_data
from chimeway.testing.inbox import SettlingInbox
from chimeway.testing.player import Player
from chimeway.testing.recording import Recorders
from chimeway.testing.sightings import Sightings
from chimeway.testing.times import JourneyTime
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


class Telling(Sightings):
    """Verbs and what is seen; how a journey is played is `Journey`'s."""

    def __init__(self, stage: Stage) -> None:
        """Take the stage."""
        super().__init__(stage.database, stage.recorders)
        self._stage = stage
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

    async def settle(self) -> None:
        """Play what follows, and look at what came of it."""
        raise NotImplementedError

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
            idempotency_key: as there.
            workflow_version: as there.
            cancellation_key: as there.
            at: as there.
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
        """Write a recipient's profile, as `Chimeway.identify` does; what it moves is played."""
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
        await self.settle()

    async def configure_tenant(
        self,
        *,
        tenant: str | None = None,
        timezone: Text = ...,
        locale: Text = ...,
        working_days: Days = ...,
        holidays: Holidays = ...,
        preferences: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what holds for a tenant, as `Chimeway.configure_tenant` does; what it moves is played."""
        self._open()
        await self.client.configure_tenant(
            tenant=tenant,
            timezone=timezone,
            locale=locale,
            working_days=working_days,
            holidays=holidays,
            preferences=preferences,
        )
        await self.settle()

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

    def close(self) -> None:
        """Refuse all further verbs; what was seen stays."""
        self._closed = True

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
        return next((run.tenant_id for run in self.runs if str(run.id) == str(run_id)), None)

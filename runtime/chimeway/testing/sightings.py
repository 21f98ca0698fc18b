"""What a test looks at: runs and deliveries as they were when the journey last came to rest."""

from chimeway.errors import InvalidInput
from chimeway.store.pool import Database
from chimeway.store.views import DeliveryView, RunView
from chimeway.store.watching import Sight, look
from chimeway.testing.recording import Recorders, SentMessage


class Sightings:
    """Plain values, read after each verb, so that looking at them needs no `await`."""

    def __init__(self, database: Database, recorders: Recorders) -> None:
        """Begin with nothing seen."""
        self._database = database
        self._recorders = recorders
        self._sight = Sight()

    @property
    def runs(self) -> tuple[RunView, ...]:
        """All runs, in the order of their triggers."""
        return self._sight.runs

    @property
    def run(self) -> RunView:
        """The run, where there is one.

        Raises:
            InvalidInput: there is none yet, or there are several.
        """
        if len(self.runs) == 1:
            return self.runs[0]
        if not self.runs:
            hint = "trigger first; after your own code triggered, await journey.settle()"
            raise InvalidInput(f"there is no run yet: {hint}", field="run")
        hint = "use journey.runs, or journey.run_of(recipient)"
        raise InvalidInput(f"there are {len(self.runs)} runs: {hint}", field="run")

    def run_of(self, recipient: str, *, tenant: str | None = None, workflow: str | None = None) -> RunView:
        """Return the run of a recipient (in a tenant, of a workflow); of several, the latest.

        Raises:
            InvalidInput: there is none.
        """
        for run in reversed(self.runs):
            if (
                run.recipient_id == recipient
                and tenant in {None, run.tenant_id}
                and workflow in {None, run.workflow_key}
            ):
                return run
        known = ", ".join(dict.fromkeys(run.recipient_id for run in self.runs)) or "nobody"
        raise InvalidInput(f'"{recipient}" has no such run; there are runs of: {known}', field="recipient")

    @property
    def deliveries(self) -> tuple[DeliveryView, ...]:
        """All deliveries with their attempts, in the order of their planning."""
        return self._sight.deliveries

    def deliveries_of(self, recipient: str, *, tenant: str | None = None) -> tuple[DeliveryView, ...]:
        """Return the deliveries of a recipient's runs, run by run."""
        return tuple(
            delivery
            for run in self.runs
            if run.recipient_id == recipient and tenant in {None, run.tenant_id}
            for delivery in self._sight.by_run.get(run.id, ())
        )

    @property
    def sent(self) -> list[SentMessage]:
        """The messages that channels took, in the order of time. In-app items are in `inbox`."""
        return self._recorders.sent

    async def _look(self) -> None:
        self._sight = await look(self._database, self._sight)

"""The half of the client by which people say that they want no more of these."""

from chimeway.client import unsubscribe_calls
from chimeway.client.profiles import Profiles
from chimeway.store import callers


class Unsubscribing(Profiles):
    """Writes what a person says no to, and takes it back. With `connection=`, in the caller's transaction."""

    async def unsubscribe(
        self,
        recipient: str,
        *,
        workflow: str,
        channel: str,
        tenant: str | None = None,
        connection: object | None = None,
    ) -> None:
        """Write into a recipient's preferences that they want no more of a workflow on a channel.

        Nor of its category on this channel, where its current definition has one. What is not on its way
        yet is not sent. Twice is as once.

        Args:
            recipient: who; need not have been identified.
            workflow: the key of a registered workflow. Critical ones are sent nevertheless.
            channel: such as "email".
            tenant: as for `trigger`.
            connection: as for `trigger`.

        Raises:
            UnknownWorkflow: no workflow of this key is registered.
        """
        call = unsubscribe_calls.unsubscribe(self._of(tenant), recipient, workflow, channel)
        await callers.run(self._database, call, connection)

    async def resubscribe(
        self,
        recipient: str,
        *,
        workflow: str,
        channel: str,
        tenant: str | None = None,
        connection: object | None = None,
    ) -> None:
        """Take back what `unsubscribe`, or a link, has written for this workflow and channel.

        What was there before holds again; what was said since stays. Where nothing was written, nothing is.

        Args:
            recipient: as for `unsubscribe`.
            workflow: as for `unsubscribe`.
            channel: as for `unsubscribe`.
            tenant: as for `trigger`.
            connection: as for `trigger`.
        """
        call = unsubscribe_calls.resubscribe(self._of(tenant), recipient, workflow, channel)
        await callers.run(self._database, call, connection)

"""That the workflow of a trigger is registered; the twin of the registry with an event loop."""

from chimeway.client.registry import Registrable, Remembered
from chimeway.store import definitions
from chimeway.store import sync_callers as callers
from chimeway.store.sync_pool import SyncDatabase


class Registry:
    """Registers definitions on a connection of its own, committed, each once while it lives.

    Two threads may register the same at once: the second changes nothing.
    """

    def __init__(self, database: SyncDatabase) -> None:
        """Begin with nothing known."""
        self._database = database
        self._remembered = Remembered()

    def register(self, declared: Registrable) -> bool:
        """Register a definition and say whether it was new.

        Raises:
            WorkflowDefinitionVersionConflict: the version is registered with another content.
        """
        if self._remembered.knows(declared):
            return False
        call = definitions.registration(declared.definition, declared.data_schema())
        with definitions.or_may_not():
            new = callers.run(self._database, call)
        self._remembered.know(declared)
        return new

    def ensure(self, declared: Registrable) -> bool:
        """Register a definition, or leave it to the deploy step where this role may not (False).

        If that step has not been done, the trigger that follows says so.
        """
        if self._remembered.leaves(declared):
            return False
        try:
            self.register(declared)
        except definitions.MayNotRegister:
            self._remembered.leave(declared)
            return False
        return True

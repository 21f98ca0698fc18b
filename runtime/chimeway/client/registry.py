"""Which workflow a trigger means, in whatever form it is given, and that it is registered."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel

from chimeway.client import checks
from chimeway.errors import InvalidInput
from chimeway.store import definitions
from chimeway.store.pool import Database
from chimeway.workflow.build import Workflow
from chimeway.workflow.coerce import coerce
from chimeway.workflow.definition import Definition


class Author(Protocol):
    """The seed's form: a class that writes its workflow, as definition or dict, from a trigger's data."""

    def workflow(self, args: Any, /) -> Any:
        """Return the workflow."""


AnyWorkflow: TypeAlias = str | Workflow | Definition | Mapping[str, Any] | Author | type[Author]
"""A key of what is registered, or a definition in one of its forms."""


class Meant(NamedTuple):
    """What a trigger starts (version None: the current one) and its data, checked."""

    key: str
    version: int | None
    definition: Definition | None
    data: dict[str, Any]


def meant(workflow: AnyWorkflow, data: object, version: int | None) -> Meant:
    """Return what a trigger means.

    Raises:
        InvalidDefinition: a definition has faults.
        InvalidInput: the data is at fault, or a definition stands beside another `version`.
        TypeError: `workflow` is in none of the known forms.
    """
    given = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    found = checks.json_object("data", given)
    if isinstance(workflow, str):
        return Meant(checks.identifier("workflow", workflow), _version(version), None, found)
    written = _written(workflow, found)
    if isinstance(written, Workflow):
        written.check_data(found)
    definition = coerce(dict(written) if isinstance(written, Mapping) else written)
    if version not in (None, definition.version):
        raise InvalidInput(
            f"workflow_version is {version} beside a definition of version {definition.version}: "
            "give the key to start another version",
            field="workflow_version",
        )
    return Meant(definition.key, definition.version, definition, found)


class Registry:
    """Registers definitions on a connection of its own, committed, each once while it lives."""

    def __init__(self, database: Database) -> None:
        """Begin with nothing known."""
        self._database = database
        self._known: dict[tuple[str, int], Definition] = {}
        self._left_to_deploy: dict[tuple[str, int], Definition] = {}

    async def register(self, definition: Definition) -> bool:
        """Register a definition and say whether it was new.

        Raises:
            WorkflowDefinitionVersionConflict: the version is registered with another content.
        """
        name = (definition.key, definition.version)
        if self._known.get(name) == definition:
            return False
        new = await definitions.register(self._database, definition)
        self._known[name] = definition
        return new

    async def ensure(self, definition: Definition) -> None:
        """Register a definition, or leave it to the deploy step where this role may not.

        If that step has not been done, the trigger that follows says so.
        """
        name = (definition.key, definition.version)
        if self._left_to_deploy.get(name) == definition:
            return
        try:
            await self.register(definition)
        except definitions.MayNotRegister:
            self._left_to_deploy[name] = definition


def _version(version: object) -> int | None:
    if version is None:
        return None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidInput(
            f"workflow_version is {version!r}: give a whole number from 1", field="workflow_version"
        )
    return version


def _written(workflow: Any, args: Mapping[str, Any]) -> Any:
    if isinstance(workflow, Workflow | Definition | Mapping):
        return workflow
    if not callable(getattr(workflow, "workflow", None)):
        return workflow
    author = workflow() if isinstance(workflow, type) else workflow
    return author.workflow(dict(args))

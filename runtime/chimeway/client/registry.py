"""Which workflow a trigger means, in whatever form it is given, and that it is registered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel

from chimeway.client import checks
from chimeway.errors import InvalidInput, UnknownWorkflow
from chimeway.store import definitions
from chimeway.store.pool import Database
from chimeway.workflow.build import Workflow, schema_of
from chimeway.workflow.coerce import coerce
from chimeway.workflow.definition import Definition


class Author(Protocol):
    """The seed's form: a class that writes its workflow, as definition or dict, from a trigger's data."""

    def workflow(self, args: Any, /) -> Any:
        """Return the workflow."""


AnyWorkflow: TypeAlias = str | Workflow | Definition | Mapping[str, Any] | Author | type[Author]
"""A key of what is registered, or a definition in one of its forms."""


class Registrable(NamedTuple):
    """A definition to register, and the model of its data, whose JSON Schema is kept with it."""

    definition: Definition
    model: type[BaseModel] | None = None

    @property
    def name(self) -> tuple[str, int]:
        """Return its key and version."""
        return self.definition.key, self.definition.version

    def data_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the data.

        Raises:
            InvalidDefinition: there is none for the model.
        """
        return None if self.model is None else schema_of(self.model)


class Meant(NamedTuple):
    """What a trigger starts (version None: the current one) and its data, checked."""

    key: str
    version: int | None
    declared: Registrable | None
    data: dict[str, Any]


def meant(workflow: AnyWorkflow, data: object, version: int | None) -> Meant:
    """Return what a trigger means.

    Raises:
        InvalidDefinition: a definition has faults.
        InvalidInput: the data is at fault, or a definition stands beside another `version`.
        TypeError: `workflow` is in none of the known forms.
    """
    found = checks.json_object("data", _dumped(data) if isinstance(data, BaseModel) else data)
    version = checks.version("workflow_version", version)
    if isinstance(workflow, str):
        return Meant(checks.identifier("workflow", workflow), version, None, found)
    written = _written(workflow, found)
    if isinstance(written, Workflow) and not written.has_judged(data):
        written.check_data(found)
    declared = _registrable(written)
    definition = declared.definition
    if version not in (None, definition.version):
        raise InvalidInput(
            f"workflow_version is {version} beside a definition of version {definition.version}: "
            "give the key to start another version",
            field="workflow_version",
        )
    return Meant(definition.key, definition.version, declared, found)


def registrable(workflow: AnyWorkflow) -> Registrable:
    """Return what is to be registered of a workflow in any of its forms.

    Raises:
        InvalidDefinition: it has faults.
        TypeError: it is in none of the known forms; a key alone is none.
    """
    return _registrable(_written(workflow, {}))


def settled(workflow: AnyWorkflow) -> Workflow | Definition:
    """Return what many events share: an author is asked once, without the data of any.

    Raises:
        InvalidDefinition, TypeError: as `registrable`.
    """
    written = _written(workflow, {})
    return written if isinstance(written, Workflow) else _registrable(written).definition


def _registrable(written: Any) -> Registrable:
    if isinstance(written, Workflow):
        return Registrable(written.definition, written.data_model)
    return Registrable(coerce(dict(written) if isinstance(written, Mapping) else written))


class Remembered:
    """Which definitions a client knows to be registered, or has left to the deploy step."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._known: dict[tuple[str, int], Registrable] = {}
        self._left_to_deploy: dict[tuple[str, int], Registrable] = {}

    def knows(self, declared: Registrable) -> bool:
        """Say whether this very definition was registered through here."""
        return self._known.get(declared.name) == declared

    def leaves(self, declared: Registrable) -> bool:
        """Say whether this very definition is left to the deploy step."""
        return self._left_to_deploy.get(declared.name) == declared

    def know(self, declared: Registrable) -> None:
        """Remember that a definition is registered."""
        self._known[declared.name] = declared

    def leave(self, declared: Registrable) -> None:
        """Remember that this role may not register it."""
        self._left_to_deploy[declared.name] = declared


@contextmanager
def told_of_the_view(*, known: bool) -> Iterator[None]:
    """Say of a workflow that is `known` to be registered why the caller's connection does not see it."""
    try:
        yield
    except UnknownWorkflow as refused:
        if not known:
            raise
        hint = "register it where the program starts, or do the transaction again"
        told = (
            f"{refused.message}, as this connection sees it, but it is: the transaction (REPEATABLE READ or "
            f"stricter) began before, or it is another database's: {hint}"
        )
        raise UnknownWorkflow(told, hint=hint) from refused.__cause__


class Registry:
    """Registers definitions on a connection of its own, committed, each once while it lives."""

    def __init__(self, database: Database) -> None:
        """Begin with nothing known."""
        self._database = database
        self._remembered = Remembered()

    async def register(self, declared: Registrable) -> bool:
        """Register a definition and say whether it was new.

        Raises:
            WorkflowDefinitionVersionConflict: the version is registered with another content.
        """
        if self._remembered.knows(declared):
            return False
        new = await definitions.register(self._database, declared.definition, declared.data_schema())
        self._remembered.know(declared)
        return new

    async def ensure(self, declared: Registrable) -> bool:
        """Register a definition, or leave it to the deploy step where this role may not (False).

        If that step has not been done, the trigger that follows says so.
        """
        if self._remembered.leaves(declared):
            return False
        try:
            await self.register(declared)
        except definitions.MayNotRegister:
            self._remembered.leave(declared)
            return False
        return True


def _dumped(data: BaseModel) -> Any:
    try:
        return data.model_dump(mode="json", by_alias=True)
    except ValueError:  # pydantic's: it quotes what it could not write
        kind = type(data).__name__
        raise checks.refused("data", f"a {kind} that cannot be written as JSON", "give JSON values") from None


def _written(workflow: Any, args: Mapping[str, Any]) -> Any:
    if isinstance(workflow, Workflow | Definition | Mapping):
        return workflow
    if not callable(getattr(workflow, "workflow", None)):
        return workflow
    author = workflow() if isinstance(workflow, type) else workflow
    return author.workflow(dict(args))

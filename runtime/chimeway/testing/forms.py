"""What a harness may be given to play: workflows in any form, files of them, what an app declares."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from chimeway.app import App
from chimeway.client.registry import AnyWorkflow, Author
from chimeway.delivery.declared import Declared, Offer
from chimeway.errors import InvalidInput
from chimeway.render.functions import Renderer, RendererKey
from chimeway.workflow.build import Workflow
from chimeway.workflow.coerce import coerce
from chimeway.workflow.definition import Definition, NotifyAction
from chimeway.workflow.encode import required_data
from chimeway.workflow.parse import parse
from chimeway.workflow.text import TextFormat, loads

Playable: TypeAlias = AnyWorkflow | Path
"""A workflow in any of its forms, or a YAML or JSON file (or a folder) of them."""
_FORMATS: Final[dict[str, TextFormat]] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}


@dataclass(frozen=True, slots=True)
class Repertoire:
    """What can be played: `written` as the user's own forms, in the order given."""

    written: tuple[AnyWorkflow, ...]
    definitions: tuple[Definition, ...]
    offers: tuple[Offer, ...]
    renderers: Mapping[RendererKey, Renderer]

    @property
    def has_authors(self) -> bool:
        """Whether some workflow is written only when it is triggered."""
        return len(self.written) > len(self.definitions)

    def only(self) -> AnyWorkflow:
        """Return the one workflow that a trigger without a name means.

        Raises:
            InvalidInput: there is none, or more than one.
        """
        if len(self.written) == 1:
            return self.written[0]
        keys = ", ".join(definition.key for definition in self.definitions) or "none"
        raise InvalidInput(f"name the workflow to trigger; this harness has: {keys}", field="workflow")


def repertoire(given: Iterable[object]) -> Repertoire:
    """Read what a harness was given.

    Raises:
        InvalidDefinition: a definition has faults.
        InvalidInput: a file cannot be read, or a bare key was given.
        TypeError: something is no workflow in any form.
    """
    written: list[AnyWorkflow] = []
    offers: list[Offer] = []
    renderers: dict[RendererKey, Renderer] = {}
    for one in given:
        declared = one.declared if isinstance(one, App) else one
        if isinstance(declared, Declared):
            written += declared.workflows
            offers += declared.offers
            renderers |= declared.renderers
        elif isinstance(one, Path):
            written += _of_path(one)
        elif isinstance(one, str):
            hint = "give the workflow itself, or pathlib.Path of its file"
            raise InvalidInput(f'"{one}" is a key, and nothing is registered yet: {hint}', field="workflows")
        else:
            written.append(_checked(one))
    return Repertoire(tuple(written), tuple(_definitions(written)), tuple(offers), renderers)


def channels_of(definitions: Iterable[Definition]) -> frozenset[str]:
    """Return the channels on which these definitions send, in-app items aside."""
    actions = (step.action for definition in definitions for step in definition.steps)
    return frozenset(one.channel for one in actions if isinstance(one, NotifyAction)) - {"in_app"}


def placeholder_data(definition: Definition) -> dict[str, str]:
    """Return data that lacks nothing to which a definition refers, but for instants."""
    return {name: f"{name}_1" for name, kind in required_data(definition).items() if kind == "any"}


def _checked(one: object) -> AnyWorkflow:
    """Return a form that is understood; a class that writes its workflow is asked at each trigger."""
    if isinstance(one, Workflow | Definition):
        return one
    if isinstance(one, Mapping) or not callable(getattr(one, "workflow", None)):
        return coerce(dict(one) if isinstance(one, Mapping) else one)
    author: Author = one  # type: ignore[assignment]  # it has the method, as was asked
    return author


def _definitions(written: Iterable[AnyWorkflow]) -> Iterator[Definition]:
    for one in written:
        if isinstance(one, Workflow):
            yield one.definition
        elif isinstance(one, Definition):
            yield one


def _of_path(path: Path) -> list[Definition]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found: list[Definition] = []
    for file in files:
        text_format = _FORMATS.get(file.suffix)
        if text_format is None and not path.is_dir():
            raise InvalidInput(f"{file}: give a .yaml or .json file, or a folder", field="workflows")
        if text_format is not None:
            found += [parse(raw) for raw in loads(_text(file), format=text_format, source=str(file))]
    if not found:
        raise InvalidInput(f"{path.absolute()} holds no workflow", field="workflows")
    return found


def _text(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as fault:
        raise InvalidInput(f"{file} cannot be read ({fault.strerror})", field="workflows") from None

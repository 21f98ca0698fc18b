"""What an operator keeps in folders: workflows to register, templates to render by."""

from pathlib import Path
from typing import Final

from chimeway.daemon.template_folder import read_sources
from chimeway.delivery.declared import NOTHING_DECLARED, Declared
from chimeway.errors import InvalidDefinition, InvalidSettings
from chimeway.log import Events
from chimeway.render.templates import Templates
from chimeway.store import definitions
from chimeway.store.pool import Database
from chimeway.workflow.build import schema_of
from chimeway.workflow.definition import Definition
from chimeway.workflow.encode import digest
from chimeway.workflow.text import TextFormat, read_definitions

_log = Events()
_FORMATS: Final[dict[str, TextFormat]] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}


def read_templates(folder: Path | None) -> Templates:
    """Read all `*.j2` of a folder and those below it. What is wrong with them `check_templates` finds.

    Raises:
        InvalidSettings: the folder or a file in it cannot be read.
    """
    return Templates(read_sources(folder))


async def register_workflows(
    database: Database, folder: Path | None, declared: Declared = NOTHING_DECLARED
) -> None:
    """Register what is declared, then every definition in a folder's YAML and JSON files, by name.

    Raises:
        InvalidDefinition: a file has faults; all are logged first.
        WorkflowDefinitionVersionConflict: a version is registered with another content.
        InvalidSettings: the folder or a file in it cannot be read.
    """
    found = list(declared.workflows)
    for path in _files(folder, "CHIMEWAY_WORKFLOWS_DIR"):
        if path.suffix in _FORMATS:
            found += _definitions(path)
    for definition in found:
        model = declared.models.get((definition.key, definition.version))
        schema = None if model is None else schema_of(model)
        new = await definitions.register(database, definition, schema)
        _log.info(
            "workflow.registered", workflow=definition.key, version=definition.version,
            digest=digest(definition), known=not new,
        )  # fmt: skip


def _definitions(path: Path) -> tuple[Definition, ...]:
    try:
        return read_definitions(_text(path), format=_FORMATS[path.suffix], source=str(path))
    except InvalidDefinition as error:
        faults = [problem.printed(str(path)) for problem in error.details["problems"]]
        _log.error("workflow.rejected", file=str(path), faults=faults)
        raise


def _files(folder: Path | None, variable: str) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise InvalidSettings(f"{variable}: {folder} is no folder; name one that exists", variable=variable)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read ({error})", path=str(path)) from None

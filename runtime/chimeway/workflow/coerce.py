"""The forms in which a workflow may be given, in one place: all become a definition."""

from collections.abc import Mapping
from typing import Any

from chimeway.workflow.build import Workflow
from chimeway.workflow.definition import Definition, Json
from chimeway.workflow.parse import parse

_FORMS = (
    "a chimeway.Workflow, a dict in the definition format, a parsed Definition, or a class (or an "
    "instance of one) with a method workflow(self, args) that returns one of these"
)


def coerce(workflow: object, args: Mapping[str, Json] | None = None) -> Definition:
    """Return the definition that `workflow` is, whichever form it has.

    `args` are handed to `workflow(args)` of the seed's form. A Definition is taken as it is: who
    has one got it from `parse`. Raises InvalidDefinition for a faulty definition, TypeError (with
    the list of forms) for anything else.
    """
    found = _plain(workflow)
    if found is None:
        found = _plain(_asked(workflow, {} if args is None else args))
    if found is None:
        raise TypeError(f"{type(workflow).__name__} is no workflow; wanted {_FORMS}")
    return found


def _plain(workflow: object) -> Definition | None:
    match workflow:
        case Definition():
            return workflow
        case Workflow():
            return workflow.definition
        case dict():
            return parse(workflow)
        case _:
            return None


def _asked(workflow: object, args: Mapping[str, Json]) -> object:
    if not callable(getattr(workflow, "workflow", None)):
        return None
    author: Any = workflow() if isinstance(workflow, type) else workflow
    return author.workflow(args)

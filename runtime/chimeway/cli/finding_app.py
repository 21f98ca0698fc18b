"""From `--app module:attribute` to the App that is meant, or to what is wrong with that."""

import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from chimeway.app import App
from chimeway.errors import ChimewayError, InvalidSettings
from chimeway.spelling import did_you_mean


def find_app(target: str) -> App:
    """Import a module and return the App in it. The current directory is looked in first.

    Args:
        target: `module:attribute`, either with dots.

    Raises:
        InvalidSettings: there is no such module or attribute, it is no App, or the module's own code
            fails.
        ChimewayError: the module declares something that is at fault.
    """
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise _refused(f"{target!r} names no app; give module:attribute, like shop.notifications:app")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # a console script's path begins where the script lies
    found: Any = _imported(module)
    for name in attribute.split("."):
        found = _attribute(found, name)
    if not isinstance(found, App):
        raise _refused(f"{target} is a {type(found).__name__}, not a chimeway.App")
    return found


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ChimewayError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_part_of(error.name, name):
            raise _refused(f"there is no module {error.name} in {Path.cwd()} or on Python's path") from None
        raise _refused(f"{name} cannot be imported: {_told(error)}") from error


def _is_part_of(missing: str | None, name: str) -> bool:
    """Tell a module that is not there from one whose own imports are not."""
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _told(error: Exception) -> str:
    """Say what was raised, and where: the last line that is neither Python's nor ours to mend."""
    what = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return what
    return f"{what} ({frames[-1].filename} line {frames[-1].lineno})"


def _attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        apps = [known for known in dir(owner) if isinstance(getattr(owner, known, None), App)]
        hint = did_you_mean(name, [*apps, *dir(owner)], said=str) or did_you_mean(
            name, apps[:1], alike=0, said=str
        )
        kind = getattr(owner, "__name__", type(owner).__name__)
        raise _refused(f"{kind} has no attribute {name}{hint}") from None


def _refused(reason: str) -> InvalidSettings:
    return InvalidSettings(f"--app: {reason}", option="--app")

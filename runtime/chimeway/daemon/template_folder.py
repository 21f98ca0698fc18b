"""Templates as files: a folder, the folders below it, and what is wrong with what lies there.

Read once, at the start. All `*.j2` count; names that begin with a dot do not (editors and mounted
volumes leave such). Links are followed, to files and to folders.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chimeway.errors import InvalidSettings
from chimeway.limits import MAX_TEMPLATE_BYTES, MAX_TEMPLATE_DEPTH, MAX_TEMPLATES
from chimeway.render.locales import SUFFIX

_ODD: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


def read_sources(folder: Path | None, named: str = "CHIMEWAY_TEMPLATES_DIR") -> dict[str, str]:
    """Return the texts of all templates, by their path below the folder.

    Args:
        folder: None: there are none.
        named: what to call the setting or option that names it.

    Raises:
        InvalidSettings: the folder or a file in it cannot be read, or is not what it must be.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InvalidSettings(f"{named}: {folder} is no folder; name one that exists", variable=named)
    found: dict[str, str] = {}
    for name, path in _files(folder, "", 0):
        found[name] = _text(path)
        if len(found) > MAX_TEMPLATES:
            raise _refused(folder, f"holds more than {MAX_TEMPLATES} templates: is it the right folder?")
    return found


def _files(folder: Path, below: str, depth: int) -> Iterator[tuple[str, Path]]:
    if depth > MAX_TEMPLATE_DEPTH:
        told = f"lies more than {MAX_TEMPLATE_DEPTH} folders deep: is there a link back into itself?"
        raise _refused(folder, told)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _refused(folder, f"cannot be read ({error.strerror})") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name, path = f"{below}{entry.name}", Path(entry.path)
        if path.is_dir():
            yield from _files(path, f"{name}/", depth + 1)
        elif entry.name.endswith(SUFFIX):
            if _ODD.search(name):
                shown = name.encode("utf-8", "replace").decode()
                raise _refused(repr(shown)[1:-1], "has a name of characters that nobody can type; rename it")
            yield name, path


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to read a pipe is to wait for its writer
            raise _refused(path, "is no file")
        if status.st_size > MAX_TEMPLATE_BYTES:
            raise _refused(path, f"is longer than {MAX_TEMPLATE_BYTES} bytes: is it a template?")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _refused(path, f"is not UTF-8 (line {line}); save it as UTF-8") from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None


def _refused(path: Path | str, told: str) -> InvalidSettings:
    return InvalidSettings(f"{path} {told}", path=str(path))

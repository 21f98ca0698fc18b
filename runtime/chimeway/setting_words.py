"""How a fault in a setting is said: what was given, as far as it may be shown, and what would be right.

One voice for all settings, flat ones (`settings`) and tables (`setting_tables`). Reading a file that a
setting names stands here too: what is wrong with it is said in the same way.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pydantic_core import ErrorDetails

from chimeway.errors import InvalidSettings
from chimeway.spelling import did_you_mean

_CONTENT_BYTES: Final = 65_536
"""A file of settings, or of a secret: more is some other file, or no end."""
_SHOWN_CHARS: Final = 60
_MUCH_ALIKE: Final = 0.75
"""Names of settings have much in common: with less, each would propose three."""
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,20}://")


def content(path: Path, variable: str) -> str:
    """Read a file without the line's end that editors leave."""
    try:
        with path.open("rb") as file:
            found = file.read(_CONTENT_BYTES + 1)
        if len(found) > _CONTENT_BYTES:
            raise OSError(0, f"it is longer than {_CONTENT_BYTES} bytes")
        return found.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        told = error.strerror or type(error).__name__
    except ValueError:  # UnicodeDecodeError quotes bytes of a secret
        told = "it is not UTF-8"
    raise InvalidSettings(f"{variable}: {path} cannot be read ({told})", variable=variable)


def near(name: str, known: Iterable[str]) -> str:
    """Say which settings may have been meant: several have long beginnings in common."""
    return did_you_mean(name, known, alike=_MUCH_ALIKE, most=3, said=str)


def quoted(value: Any) -> str:
    """Return what was given, short and printable."""
    if isinstance(value, int) and value.bit_length() > 64:  # Python itself refuses to write long ones
        return f"an integer of {value.bit_length()} bits"
    text = repr(value[: _SHOWN_CHARS + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_CHARS + 2 else f"{text[:_SHOWN_CHARS]}..."


def bare(name: str) -> str:
    """Return a name as it was written, where it is one."""
    return name if name.isidentifier() and len(name) <= _SHOWN_CHARS else quoted(name)


def unshown(value: Any) -> str:
    """Say of what may hold a password how it begins, and no more."""
    if not isinstance(value, str):
        return "no text"
    scheme = _SCHEME.match(value)
    return f"'{scheme[0]}...'" if scheme else f"a text of {len(value)} characters, not shown for its password"


def right(fault: ErrorDetails) -> str:
    """Turn pydantic's words, or our own, into what would be right."""
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] in {"string_type", "path_type"}:
        return "a text"
    return fault["msg"].removeprefix("Input should be ")

"""Golden texts: a file of sections, each under `=== name`. CHIMEWAY_WRITE_GOLDEN=1 writes them anew.

Who writes them reads the difference before it is committed: that is the point of them.
"""

import os
from pathlib import Path

_OPENING = "=== "


def sections(path: Path) -> dict[str, str]:
    """Return the golden texts of a file by name."""
    if not path.exists():
        return {}
    parts = ("\n" + path.read_text(encoding="utf-8")).split(f"\n{_OPENING}")[1:]
    return {name: text.strip("\n") for name, _, text in (part.partition("\n") for part in parts)}


def agrees(path: Path, name: str, text: str) -> None:
    """Compare a text with the golden one of this name."""
    known, found = sections(path), text.strip("\n")
    if "CHIMEWAY_WRITE_GOLDEN" in os.environ and known.get(name) != found:
        known[name] = found
        written = "\n\n".join(f"{_OPENING}{each}\n{known[each]}" for each in known)
        path.write_text(written + "\n", encoding="utf-8")
    assert found == known.get(name, "(there is no golden text of this name)")

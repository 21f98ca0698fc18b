"""Logs that only grow: a line each, on the disk before what follows it is done.

Whoever writes one may be killed at any byte. A line that lacks its end was never finished, and counts as
not written: what it would have said had not been done yet, or was not acted upon.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Entry: TypeAlias = dict[str, Any]
"""One line: `t` is when it was written, in seconds of the machine's wall clock."""


class Journal:
    """Appends to one file."""

    def __init__(self, path: Path) -> None:
        """Open the file; the end of a line that was never finished is marked off."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, *entries: Entry) -> float:
        """Write lines, have them on the disk, and return the time that they bear."""
        now = time.time()
        text = "".join(json.dumps({"t": round(now, 6), **each}) + "\n" for each in entries)
        os.write(self._file, text.encode())
        os.fdatasync(self._file)
        return now

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(path: Path) -> Iterator[Entry]:
    """Yield the lines that were finished, in the order in which they were written."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry

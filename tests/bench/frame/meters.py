"""What a process and all that it started use: CPU seconds and memory, as Linux counts them.

A server's backends come and go. What an ended child used is added to its parent's account (`cutime`,
`cstime`) when the parent takes note of its end; so the tree's use is that of all who live, with the root's
account of the dead. Elsewhere than on Linux nothing is counted, and whoever asks gets no meter.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Used:
    """The account of one process: its parent, its own CPU seconds, and those of its children that ended."""

    parent: int
    own_s: float
    ended_s: float


class Meter:
    """Counts what the tree of a process uses from now on."""

    def __init__(self, pid: int) -> None:
        """Begin to count."""
        self.pid = pid
        self._began_s = _tree_s(pid)

    @property
    def cpu_s(self) -> float:
        """CPU seconds used since the meter was made, by the process and all that it started."""
        return _tree_s(self.pid) - self._began_s

    @property
    def peak_mib(self) -> float:
        """The most memory that the process itself ever held, in MiB."""
        return _field(self.pid, "VmHWM") / 1024

    @property
    def now_mib(self) -> float:
        """The memory that the process itself holds now, in MiB."""
        return _field(self.pid, "VmRSS") / 1024


def metered(pid: int | None) -> Meter | None:
    """Return a meter of a process; None where there is none that can be counted here."""
    return Meter(pid) if pid is not None and read_used(pid) is not None else None


def parse_stat(line: str) -> Used:
    """Read a line of /proc/<pid>/stat; the second field is a name, with whatever in it."""
    fields = line.rpartition(")")[2].split()
    utime, stime, cutime, cstime = (int(ticks) / _TICKS for ticks in fields[11:15])
    return Used(int(fields[1]), utime + stime, cutime + cstime)


def read_used(pid: int) -> Used | None:
    """Return the account of a process; None where it is gone, or nobody counts."""
    with suppress(OSError):
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    return None


def tree_of(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """Yield a process and all below it, by a table of parents."""
    yield pid
    for child in [each for each, parent in parents.items() if parent == pid]:
        yield from tree_of(child, parents)


def _tree_s(root: int) -> float:
    """Add up a tree. Should a child end meanwhile, it would be counted twice or not at all: look again."""
    total = 0.0
    for _ in range(_TRIES):
        before = read_used(root)
        used = {pid: found for pid in _pids() if (found := read_used(pid)) is not None}
        after = read_used(root)
        if before is None or after is None:
            break
        live = tree_of(root, {pid: found.parent for pid, found in used.items()})
        total = after.ended_s + sum(used[pid].own_s for pid in live if pid in used)
        if before.ended_s == after.ended_s:
            break
    return total


def _pids() -> list[int]:
    return [int(each.name) for each in _PROC.iterdir() if each.name.isdigit()]


def _field(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0

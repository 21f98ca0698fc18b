"""Tasks begun in a group that may be ending: no fault of whoever begins one.

A group ends when one of its tasks fails (the lease was lost) or it is cancelled. From then on it takes no
task any more, while the others still run up to their next await; what they wanted to begin is left to the
next node.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


def begin(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> bool:
    """Begin a task in a group; False: the group is ending, and the work was closed unbegun."""
    try:
        group.create_task(work, name=name)
    except RuntimeError:
        work.close()
        return False
    return True

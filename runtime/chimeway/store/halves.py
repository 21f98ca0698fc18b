"""Many in one call, and each bears only its own fault.

A call that fails because of what one item holds is split until that item stands alone; only it gets
the error; so too where the server failed by itself, which may be for one item's rows alone. Faults of the
connection are retried with the same items, so a call must recognise what it has done before.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, repeat
from typing import TypeAlias, TypeVar

from chimeway.log import Events
from chimeway.store.faults import LeaseLost
from chimeway.store.pool import unless_broken

Item = TypeVar("Item")
Result = TypeVar("Result")
Call: TypeAlias = Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]
_log = Events()


async def each_in_call(
    call: Call[Item, Result], items: Sequence[Item], *, told: str, again: Call[Item, Result] | None = None
) -> Sequence[Result | Exception]:
    """Do a call of many; return the result of each, in order, or what was raised for it alone.

    Args:
        call: does a batch and returns its results in order.
        items: what it is about; for none nothing is called.
        told: what the log calls it.
        again: called instead where a call has failed for a moment and is made again: it may know of items
            for which that came too late.

    Raises:
        LeaseLost: another node has taken over.
    """
    if not items:
        return ()
    try:
        return await unless_broken(_named(call, call if again is None else again, told), items)
    except LeaseLost:
        raise
    except Exception as error:  # noqa: BLE001  (an item's own fault; it is handed to its caller)
        if len(items) == 1:
            return (error,)
        _log.warning("ledger.batch_split", operation=told, decisions=len(items), error=str(error))
    middle = len(items) // 2
    return [
        *await each_in_call(call, items[:middle], told=told, again=again),
        *await each_in_call(call, items[middle:], told=told, again=again),
    ]


def _named(call: Call[Item, Result], again: Call[Item, Result], told: str) -> Call[Item, Result]:
    """Return what makes a call, and what makes it again from the second time on."""
    calls = chain([call], repeat(again))

    async def named(items: Sequence[Item]) -> Sequence[Result]:
        return await next(calls)(items)

    named.__qualname__ = told  # what the log calls it when the database is lost
    return named

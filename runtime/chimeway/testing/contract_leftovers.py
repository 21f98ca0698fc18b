"""What only the end of the contract shows: what a channel left behind, and what it told of secrets."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, Self, TextIO

from chimeway.testing.contract_trial import Broken, Trial

_LOOK_AGAIN_S: Final = 0.01
_GRACE_S: Final = 0.5
"""How long what ends by itself may take for it, beyond the longest send."""
_OF_THE_LOOP: Final = ("asyncio_", "AnyIO worker")
"""Threads of pools that keep them until the loop ends: looking up a name starts one."""
_LEAST_CHARS: Final = 4
"""A shorter text stands in others by chance."""


class Leftovers:
    """Watches, while its block lasts, for what nobody has closed, awaited or ended."""

    def __init__(self) -> None:
        """Note what is there already."""
        self._told: list[str] = []
        self._tasks: set[Any] = set()
        self._threads: set[threading.Thread] = set()
        self._warned = warnings.catch_warnings()

    def __enter__(self) -> Self:
        """Begin; what earlier tests forgot is swept up before."""
        gc.collect()
        loop = asyncio.get_running_loop()
        self._tasks, self._threads = asyncio.all_tasks(), set(threading.enumerate())
        self._of_loop = loop.get_exception_handler()
        loop.set_exception_handler(lambda _loop, context: self._told.append(str(context.get("message"))))
        self._warned.__enter__()
        warnings.simplefilter("always", ResourceWarning)
        self._show = warnings.showwarning
        warnings.showwarning = self._note
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no more."""
        self._warned.__exit__(None, None, None)
        asyncio.get_running_loop().set_exception_handler(self._of_loop)

    async def check(self, trial: Trial) -> str:
        """Say that nothing is left, once it has had a moment to go.

        Raises:
            Broken: something is.
        """
        gc.collect()
        await _soon(lambda: not self._left(trial), trial.timeout_s + _GRACE_S)
        if left := self._left(trial):
            raise Broken(f"there is still {', '.join(left)}; right is to close and await all of it")
        if self._told:
            raise Broken(f"it was said of it: {'; '.join(sorted(set(self._told)))}")
        return ""

    def _left(self, trial: Trial) -> list[str]:
        tasks = asyncio.all_tasks() - self._tasks
        threads = {one for one in threading.enumerate() if not one.name.startswith(_OF_THE_LOOP)}
        connections = trial.provider.connections if trial.provider else 0
        left = [f"the task {task.get_name()}" for task in tasks] if not connections else []
        left += [f"the thread {thread.name}" for thread in threads - self._threads]
        return [*left, f"{connections} open connections"] if connections else left

    def _note(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ResourceWarning):
            self._told.append(f"ResourceWarning: {message}")
        else:
            self._show(message, category, filename, lineno, file, line)


async def _soon(condition: Callable[[], bool], within_s: float) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + within_s
    while not condition() and loop.time() < ends:  # noqa: ASYNC110  (threads set no event)
        await asyncio.sleep(_LOOK_AGAIN_S)


async def check_texts(trial: Trial) -> str:
    """Look for secrets, addresses and contents in the errors: their texts become notes beside attempts.

    Raises:
        Broken: one is there.
    """
    for message, error in trial.errors:
        name = type(error).__name__
        for text in _texts(error):
            if any(secret in text for secret in trial.secrets if secret):
                raise Broken(f"a {name}, or what caused it, holds a secret")
        own = f"{error} {error!r}"
        if _tells(own, message.address):
            raise Broken(f"a {name} holds the recipient's address")
        if trial.words[message.delivery_id] in own:
            raise Broken(f"a {name} holds what was to be sent")
    return f"{len(trial.errors)} errors"


def _tells(text: str, address: str | None) -> bool:
    return address is not None and len(address) >= _LEAST_CHARS and address in text


def _texts(error: BaseException | None) -> Iterator[str]:
    """Return all that could be read of an error: a log may print what caused it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{error} {error!r} {getattr(error, 'details', '')} {getattr(error, '__notes__', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


async def check_lines(trial: Trial) -> str:
    """Look for the same in what was logged.

    Raises:
        Broken: one is there.
    """
    address = trial.address()
    for line in trial.lines:
        if any(secret in line for secret in trial.secrets if secret):
            raise Broken("a log line holds a secret")
        if _tells(line, address):
            raise Broken("a log line holds the recipient's address")
        if any(word in line for word in trial.words.values()):
            raise Broken("a log line holds what was sent")
    return f"{len(trial.lines)} lines"

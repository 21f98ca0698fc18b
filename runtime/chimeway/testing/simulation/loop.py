"""An event loop without sockets and without a clock: it runs what is ready, and then it stands still.

What waits for time waits in `timers`; what waits for the world waits for a future that somebody outside
resolves. So after `settle` the loop is quiescent, and that is not guessed from pauses: nothing is ready,
and nothing but its driver can make anything ready. The order in which it runs what is ready is asyncio's
own, first come, first served.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_MOST: Final = 100_000
"""Turns without rest: more is a circle, of the code under test or of ours."""

OWNER: ContextVar[str] = ContextVar("owner", default="")
"""Whose task this is; tasks and timers inherit it from whoever made them."""


class Timer(asyncio.TimerHandle):
    """Something to be called at an instant, and whose it is."""

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        """Note whose it is."""
        super().__init__(when, callback, args, loop, context)
        self.owner = OWNER.get() if context is None else context.get(OWNER, "")


class SteppedLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, futures, timeouts and task groups need."""

    def __init__(self) -> None:
        """Stand at zero seconds."""
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._running = False
        self.timers: list[Timer] = []
        """What waits for time, in the order in which it came; cancelled ones may be among it."""
        self.tasks: dict[asyncio.Task[Any], str] = {}
        """What is not done yet, and whose it is."""
        self.faults: list[dict[str, Any]] = []
        """What nobody caught."""

    # ── the driver's side ──

    def settle(self) -> None:
        """Run until nothing is ready."""
        with self._current():
            for _ in range(_MOST):
                if not self._ready:
                    return
                ready = self._ready.popleft()
                if not ready.cancelled():
                    ready._run()  # noqa: SLF001  (what every event loop does)
        raise AssertionError(f"no rest after {_MOST} turns: {list(self._ready)[:3]}")

    def call(self, what: Callable[[], _T]) -> _T:
        """Call something as if it ran in the loop, and settle."""
        with self._current():
            result = what()
        self.settle()
        return result

    def move_to(self, now: float) -> None:
        """Move the clock; what is due by then is for the driver to fire."""
        assert now >= self._now, (now, self._now)
        self._now = now

    def due(self) -> list[Timer]:
        """Return the timers whose time has come, the earliest first."""
        self.timers = [timer for timer in self.timers if not timer.cancelled()]
        due = [timer for timer in self.timers if timer.when() <= self._now]
        return sorted(due, key=lambda timer: timer.when())

    def next_timer(self) -> float | None:
        """Return when the next timer is due."""
        return min((timer.when() for timer in self.timers if not timer.cancelled()), default=None)

    def fire(self, timer: Timer) -> None:
        """Let one timer go off, and settle."""
        self.timers.remove(timer)
        self._ready.append(timer)
        self.settle()

    def forget(self, owner: str) -> None:
        """Drop the timers of somebody who has died."""
        self.timers = [timer for timer in self.timers if timer.owner != owner]

    @contextmanager
    def _current(self) -> Iterator[None]:
        assert not self._running, "the loop runs already"
        self._running = True
        asyncio._set_running_loop(self)  # noqa: SLF001  (made for those who make loops)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001  (the same)
            self._running = False

    # ── the tasks' side ──

    def time(self) -> float:
        """Return the seconds since the start."""
        return self._now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call in the next turn."""
        ready = asyncio.Handle(callback, args, self, context)
        self._ready.append(ready)
        return ready

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at an instant of `time()`."""
        timer = Timer(when, callback, args, self, context)
        self.timers.append(timer)
        return timer

    def create_future(self) -> "asyncio.Future[Any]":
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> "asyncio.Task[Any]":
        """Begin a task; its owner is that of whoever begins it."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks[task] = OWNER.get() if context is None else context.get(OWNER, "")
        task.add_done_callback(self._ended)
        return task

    def begin(self, owner: str, coro: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Begin a task of an owner, from outside of the loop; it runs when the loop next settles."""
        context = Context()
        context.run(OWNER.set, owner)
        return self.create_task(coro, name=owner, context=context)

    def get_debug(self) -> bool:
        """Return False."""
        return False

    def is_running(self) -> bool:
        """Say whether something runs."""
        return self._running

    def is_closed(self) -> bool:
        """Return False."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught."""
        self.faults.append(context)

    def _timer_handle_cancelled(self, _timer: asyncio.TimerHandle) -> None:
        """Take note that a timer was cancelled: it is dropped when timers are looked at."""

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.pop(task, None)

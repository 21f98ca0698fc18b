"""`SyncHarness`: the same journey for tests without an event loop. A thread of its own has one.

It works wherever a function can be called, also on a thread that runs another loop, which then stands
still meanwhile.
"""

import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.extras import imported
from chimeway.progression.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from chimeway.store.views import DeliveryView, RunView
from chimeway.testing.databases import databases
from chimeway.testing.forms import Playable
from chimeway.testing.harness import ChannelChoice, Harness
from chimeway.testing.inbox import SettlingInbox
from chimeway.testing.journey import Journey
from chimeway.testing.recording import SentMessage
from chimeway.testing.rendering import TemplateSource
from chimeway.testing.threads import LoopThread
from chimeway.testing.times import START, Instant

if TYPE_CHECKING:
    from chimeway.sync import Chimeway

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _waiting(
    verb: Callable[Concatenate[Journey, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate["SyncJourney", _P], _T]:
    """Return a verb that returns when it is done."""

    def wait(self: "SyncJourney", /, *args: _P.args, **named: _P.kwargs) -> _T:
        return self._thread.run(verb(self._journey, *args, **named))

    return functools.update_wrapper(wait, verb)


def _of_inbox(
    verb: Callable[Concatenate[SettlingInbox, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate["SyncInbox", _P], _T]:
    """Return a verb of an inbox that returns when it is done."""

    def wait(self: "SyncInbox", /, *args: _P.args, **named: _P.kwargs) -> _T:
        return self._thread.run(verb(self._inbox, *args, **named))

    return functools.update_wrapper(wait, verb)


class SyncInbox:
    """An inbox, as of a journey; what follows from a mark is played at once."""

    def __init__(self, thread: LoopThread, inbox: SettlingInbox) -> None:
        """Take the inbox, and the thread of its loop."""
        self._thread = thread
        self._inbox = inbox

    list = _of_inbox(SettlingInbox.list)
    unseen_count = _of_inbox(SettlingInbox.unseen_count)
    unread_count = _of_inbox(SettlingInbox.unread_count)
    counts = _of_inbox(SettlingInbox.counts)
    mark_seen = _of_inbox(SettlingInbox.mark_seen)
    mark_read = _of_inbox(SettlingInbox.mark_read)
    mark_interacted = _of_inbox(SettlingInbox.mark_interacted)
    mark_archived = _of_inbox(SettlingInbox.mark_archived)
    mark_unseen = _of_inbox(SettlingInbox.mark_unseen)
    mark_unread = _of_inbox(SettlingInbox.mark_unread)
    mark_unarchived = _of_inbox(SettlingInbox.mark_unarchived)
    mark_all_seen = _of_inbox(SettlingInbox.mark_all_seen)
    mark_all_read = _of_inbox(SettlingInbox.mark_all_read)
    mark_all_archived = _of_inbox(SettlingInbox.mark_all_archived)


class SyncJourney:
    """A `Journey` whose verbs need no `await`."""

    def __init__(self, journey: Journey, thread: LoopThread, tenant: str, stack: ExitStack) -> None:
        """Take the journey, the thread of its loop, its tenant, and what is closed with it."""
        self._journey = journey
        self._thread = thread
        self._tenant = tenant
        self._stack = stack
        self._client: Chimeway | None = None

    trigger = _waiting(Journey.trigger)
    signal = _waiting(Journey.signal)
    identify = _waiting(Journey.identify)
    configure_tenant = _waiting(Journey.configure_tenant)
    cancel = _waiting(Journey.cancel)
    explain = _waiting(Journey.explain)
    settle = _waiting(Journey.settle)
    advance = _waiting(Journey.advance)
    advance_to = _waiting(Journey.advance_to)
    advance_to_next = _waiting(Journey.advance_to_next)

    @property
    def url(self) -> str:
        """The database's URL, for the code under test and its own client."""
        return self._journey.url

    @property
    def client(self) -> "Chimeway":
        """A client without an event loop on the database (the extra `sync`); `settle` plays what it wrote."""
        with imported():
            from chimeway.sync import Chimeway  # noqa: PLC0415  (an extra that not every test needs)
        if self._client is None:
            self._client = self._stack.enter_context(Chimeway.connect(self.url, tenant=self._tenant))
        return self._client

    @property
    def now(self) -> datetime:
        """The present instant, which stands until `advance` moves it."""
        return self._journey.now

    @property
    def run(self) -> RunView:
        """The run, where there is one; see `Journey.run`."""
        return self._journey.run

    @property
    def runs(self) -> tuple[RunView, ...]:
        """All runs, in the order of their triggers."""
        return self._journey.runs

    def run_of(self, recipient: str, *, tenant: str | None = None, workflow: str | None = None) -> RunView:
        """Return the run of a recipient; see `Journey.run_of`."""
        return self._journey.run_of(recipient, tenant=tenant, workflow=workflow)

    @property
    def deliveries(self) -> tuple[DeliveryView, ...]:
        """All deliveries with their attempts, in the order of their planning."""
        return self._journey.deliveries

    def deliveries_of(self, recipient: str, *, tenant: str | None = None) -> tuple[DeliveryView, ...]:
        """Return the deliveries of a recipient's runs, run by run."""
        return self._journey.deliveries_of(recipient, tenant=tenant)

    @property
    def sent(self) -> list[SentMessage]:
        """The messages that channels took, in the order of time."""
        return self._journey.sent

    def inbox(self, recipient: str | None = None, *, tenant: str | None = None) -> SyncInbox:
        """Return an inbox; what follows from its marks is played at once."""
        return SyncInbox(self._thread, self._journey.inbox(recipient, tenant=tenant))

    def fail_next(
        self, channel: str, *failures: BaseException | type[BaseException], after_send: bool = False
    ) -> None:
        """Have the next sends on a channel fail; see `Journey.fail_next`."""
        self._journey.fail_next(channel, *failures, after_send=after_send)

    @contextmanager
    def hold_sends(self, channel: str) -> Iterator[None]:
        """Begin no attempt on a channel while the block lasts; see `Journey.hold_sends`."""
        with _entered(self._thread, self._journey.hold_sends(channel)):
            yield


class SyncHarness:
    """Plays workflows in a test without an event loop; takes what `Harness` takes.

    with SyncHarness(mention_escalation) as journey:
        journey.trigger(recipients=["ada"], data={"document_id": "doc_789"})
        journey.advance("PT2H")
        assert [message.channel for message in journey.sent] == ["email"]
    """

    def __init__(
        self,
        *workflows: Playable | object,
        templates: TemplateSource | None = None,
        channels: ChannelChoice = "recording",
        strict: bool = False,
        tenant: str = DEFAULT_TENANT,
        start: Instant = START,
        seed: int = 0,
        retry: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        """Say what is played, and how; as `Harness`."""
        self._harness = Harness(
            *workflows,
            templates=templates,
            channels=channels,
            strict=strict,
            tenant=tenant,
            start=start,
            seed=seed,
            retry=retry,
        )
        self._tenant = tenant
        self._stack = ExitStack()

    def __enter__(self) -> SyncJourney:
        """Set the stage; as `Harness`."""
        with ExitStack() as stack:
            databases()  # not from the thread: who waits for a server can be interrupted
            thread = LoopThread("chimeway-sync-harness")
            stack.callback(thread.close)
            journey = stack.enter_context(_entered(thread, self._harness))
            self._stack = stack.pop_all()
        return SyncJourney(journey, thread, self._tenant, self._stack)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything away."""
        self._stack.__exit__(kind, error, trace)


@contextmanager
def _entered(thread: LoopThread, manager: AbstractAsyncContextManager[_T]) -> Iterator[_T]:
    """Enter and leave a manager on another thread's loop; an error in the block passes by it."""
    value = thread.run(_enter(manager))
    try:
        yield value
    finally:
        thread.run(_leave(manager))


async def _enter(manager: AbstractAsyncContextManager[_T]) -> _T:
    return await manager.__aenter__()


async def _leave(manager: AbstractAsyncContextManager[Any]) -> None:
    await manager.__aexit__(None, None, None)

"""What the rules of the contract are tried with: a channel, its provider, and messages to send.

A send goes as on a node: within a time limit, its answer checked, whatever it raises classified. What
was raised and logged is kept, for the rules that look at texts.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

from chimeway.delivery.channel import Channel, Message, Sent, checked, classify, opened
from chimeway.testing.contract_answers import Answer
from chimeway.testing.faults import AnyFault, FaultKind, Received

GRACE_S: Final = 2.0
"""How long something may take that should be at once, on a slow machine."""
EVIL: Final = "evil@example.org"

_T = TypeVar("_T")


class Provider(Protocol):
    """What the contract asks of a fault server: `FaultyHttp` and `FaultySmtp` are such."""

    received: list[Received]

    @property
    def faults(self) -> frozenset[FaultKind]:
        """What it can do."""
        ...

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        ...

    def failing(self, fault: AnyFault, /) -> AbstractAsyncContextManager[None]:
        """Do this to every call while the block lasts."""
        ...

    async def restart(self) -> None:
        """End all connections, and be there again at the same place."""
        ...

    async def wait_until(self, condition: Callable[[], bool], /) -> None:
        """Wait until something is so of what was received."""
        ...


class Broken(Exception):  # noqa: N818  (a finding, and no error of ours)
    """A rule does not hold."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one send."""

    answer: Answer
    sent: Sent | None = None
    error: Exception | None = None

    def __str__(self) -> str:
        """Say it shortly, without what the error says of others."""
        return self.answer if self.error is None else f"{self.answer} ({type(self.error).__name__})"


@dataclass(slots=True)
class Trial:
    """One run of the contract."""

    make: Callable[[], Channel]
    provider: Provider | None
    address: Callable[[], str | None]
    timeout_s: float
    answers: Mapping[FaultKind, Collection[Answer]]
    secrets: Collection[str]
    name: str = ""
    errors: list[tuple[Message, Exception]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    """Delivery → a word that stands in its message, and nowhere else."""

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        """Make a channel, open it as a node does, and close it.

        Raises:
            Broken: one of both takes too long.
        """
        opening = opened(self.make())
        channel = await self._within(opening.__aenter__(), "opened")
        try:
            yield channel
        finally:
            await self._within(opening.__aexit__(None, None, None), "closed")

    async def _within(self, work: Awaitable[_T], what: str) -> _T:
        within_s = self.timeout_s + GRACE_S
        limit = asyncio.timeout(within_s)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise Broken(f"it was not {what} within {within_s:g} s") from None
            raise

    def message(self, values: Mapping[str, Any] | None = None) -> Message:
        """Make a message like no other, to the address of the contract, with other values in it.

        In a value `{word}` stands for the message's word, and `{address}` for the address.
        """
        word = f"w{uuid4().hex}"
        address = self.address()
        known = {"word": word, "address": address or ""}
        changes: dict[str, Any] = {
            name: value.format_map(known) if isinstance(value, str) and "{" in value else value
            for name, value in (values or {}).items()
        }
        made = Message(
            delivery_id=str(uuid4()),
            run_id=str(uuid4()),
            tenant_id="org_456",
            recipient_id="user_123",
            channel=self.name,
            address=address,
            subject=f"Subject {word}",
            body=f"<p>Body {word}</p>",
            text=f"Text {word}",
            workflow="mention_escalation",
            step="step_email_escalation",
            render_key="mention_email",
        )
        self.words[made.delivery_id] = word
        return replace(made, **changes)

    async def send(self, channel: Channel, message: Message) -> Answered:
        """Send as a node does, and say what came of it.

        Raises:
            Broken: what no send may do.
        """
        sending = asyncio.get_running_loop().create_task(self._sent(channel, message), name="contract-send")
        try:
            await asyncio.wait({sending}, timeout=self.timeout_s + GRACE_S)
        finally:
            sending.cancel()
        if not sending.done():
            raise Broken(
                f"it had not ended {GRACE_S:g} s after its time was over; right is to let it be cancelled"
            )
        return sending.result()

    async def _sent(self, channel: Channel, message: Message) -> Answered:
        try:
            async with asyncio.timeout(self.timeout_s):
                sent = checked(await channel.send(message))
        except Exception as error:  # noqa: BLE001  (a channel may raise anything; the table says what it means)
            _let_go(error)
            self.errors.append((message, error))
            return Answered(classify(error), error=error)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise Broken("it cancelled its own send; right would be an answer or an error") from None
        except BaseException as error:
            raise Broken(f"it raised {type(error).__name__}, which ends the whole program") from error
        return Answered("sent", sent=sent)

    async def send_well(self, channel: Channel, when: str) -> None:
        """Send to a provider that takes everything.

        Raises:
            Broken: it is not sent.
        """
        answered = await self.send(channel, self.message())
        if answered.answer != "sent":
            raise Broken(f"{when} a send answered {answered}; right would be Sent")

    def arrived(self, message: Message, since: int) -> list[Received]:
        """Return what of one message the provider was given since it had so many."""
        assert self.provider is not None
        word = self.words[message.delivery_id]
        return [one for one in self.provider.received[since:] if one.says(word)]

    @property
    def count(self) -> int:
        """How many messages the provider was given so far."""
        return len(self.provider.received) if self.provider else 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what is logged meanwhile and would be heard on a node."""
        listener, ours = _Listener(self.lines), logging.getLogger("chimeway")
        root, level = logging.getLogger(), ours.level
        root.addHandler(listener)
        ours.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            ours.setLevel(level)
            root.removeHandler(listener)


def _let_go(error: BaseException | None) -> None:
    """Take the frames from an error and what caused it: they hold what its send has forgotten to close."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class _Listener(logging.Handler):
    """Keeps lines: all of ours, warnings and worse of others, as a node does."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        if record.name.startswith("chimeway") or record.levelno >= logging.WARNING:
            self._lines.append(f"{self.format(record)} {getattr(record, 'chimeway', '')}")

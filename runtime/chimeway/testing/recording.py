"""Channels that keep what they were given, and fail when they are told to."""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from chimeway.clock import Clock, SystemClock
from chimeway.delivery.channel import Channel, Message, Sent, needs_address
from chimeway.delivery.declared import Offer
from chimeway.delivery.pacing import limits_of
from chimeway.errors import InvalidInput

_ADDRESSLESS: Final = frozenset({"log"})


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that a provider took: what, whom to, when, and in which attempt of its delivery."""

    channel: str
    recipient_id: str
    tenant_id: str
    address: str | None
    subject: str
    body: str
    text: str | None
    at: datetime
    delivery_id: str
    run_id: str
    attempt: int
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException
    after_send: bool


class RecordingChannel:
    """A channel that keeps messages instead of sending them, or beside it.

    Works wherever a channel does: in a `Harness`, which makes one for each channel, or in an `App` with
    a real node.
    """

    def __init__(
        self,
        name: str,
        *,
        channel: Channel | None = None,
        needs_address: bool | None = None,
        clock: Clock | None = None,
        sent: list[SentMessage] | None = None,
        calls: Counter[str] | None = None,
    ) -> None:
        """Take the channel's name in definitions.

        Args:
            name: such as "email".
            channel: a channel to send by as well; without one, every message counts as taken.
            needs_address: whether a recipient must have an address; as `channel` says, else True
                (but for `log`).
            clock: tells when; the machine's if left out.
            sent: the list to keep messages in, for several channels in one; else one of its own.
            calls: counts the attempts of deliveries, likewise.
        """
        self.name = name
        self.needs_address = _needs_address(name, channel) if needs_address is None else needs_address
        self.sent: list[SentMessage] = [] if sent is None else sent
        self._channel = channel
        self._clock = clock or SystemClock()
        self._failures: deque[_Failure] = deque()
        self._calls: Counter[str] = Counter() if calls is None else calls

    def fail_next(self, *failures: BaseException | type[BaseException], after_send: bool = False) -> None:
        """Have the next sends fail, one by each failure, in order; later ones go well again.

        Args:
            failures: what `send` raises, such as `PermanentFailure()`.
            after_send: the message arrives (and stands in `sent`), and the answer is lost.

        Raises:
            InvalidInput: what is given is no exception, nor a class of them.
        """
        self._failures.extend([_Failure(_raisable(failure), after_send) for failure in failures])

    async def send(self, message: Message) -> Sent:
        """Take a message, or fail as was said."""
        self._calls[message.delivery_id] += 1
        failure = self._failures.popleft() if self._failures else None
        if failure is not None and not failure.after_send:
            raise failure.error
        at = self._clock.now()
        answer = await self._channel.send(message) if self._channel is not None else Sent()
        self.sent.append(_sent(message, at, self._calls[message.delivery_id]))
        if failure is not None:
            raise failure.error
        return answer


def _raisable(failure: object) -> BaseException:
    made = failure() if isinstance(failure, type) and issubclass(failure, BaseException) else failure
    if not isinstance(made, BaseException):
        hint = "give exceptions, such as PermanentFailure()"
        raise InvalidInput(f"failures: given {failure!r}; {hint}", field="failures", hint=hint)
    return made


class Recorders(Mapping[str, RecordingChannel]):
    """A recording channel for each name, or for each provider of it, made when it is first asked for."""

    def __init__(
        self,
        clock: Clock,
        called: Collection[Offer],
        declared: Collection[Offer],
        addressless: Collection[str],
    ) -> None:
        """Take what is sent by as well, what only records, and the channels that need no address."""
        self.sent: list[SentMessage] = []
        self._clock = clock
        self._addressless = addressless
        self._calls: Counter[str] = Counter()
        self._made: dict[str, list[Offer]] = {}
        real = {offer.channel.name for offer in called}
        for offer in called:
            self._make(offer, offer.channel)
        for offer in declared:
            if offer.channel.name not in real:
                self._make(offer, None)

    def ways(self, name: str) -> Sequence[Offer]:
        """Return the providers of a channel, each with what records for it, in order."""
        if name not in self._made:
            self._make(Offer(RecordingChannel(name), name), None)
        return self._made[name]

    def __getitem__(self, name: str) -> RecordingChannel:
        """Return the channel of a name: its first provider."""
        first = self.ways(name)[0].channel
        assert isinstance(first, RecordingChannel)
        return first

    def __iter__(self) -> Iterator[str]:
        """Go through the names that were asked for."""
        return iter(self._made)

    def __len__(self) -> int:
        """Count them."""
        return len(self._made)

    def _make(self, offer: Offer, channel: Channel | None) -> None:
        name = offer.channel.name
        made = RecordingChannel(
            name,
            channel=channel,
            needs_address=name not in self._addressless,
            clock=self._clock,
            sent=self.sent,
            calls=self._calls,
        )
        limits = offer.limits or limits_of(offer.channel)
        self._made.setdefault(name, []).append(Offer(made, offer.provider, limits))


def _needs_address(name: str, channel: Channel | None) -> bool:
    return name not in _ADDRESSLESS if channel is None else needs_address(channel)


def _sent(message: Message, at: datetime, attempt: int) -> SentMessage:
    return SentMessage(
        channel=message.channel,
        recipient_id=message.recipient_id,
        tenant_id=message.tenant_id,
        address=message.address,
        subject=message.subject,
        body=message.body,
        text=message.text,
        at=at,
        delivery_id=message.delivery_id,
        run_id=message.run_id,
        attempt=attempt,
        data=message.data,
    )

"""The rules of the channel contract that are tried on an open channel, each a function of its own.

A rule returns a note on what the channel did, or raises `Broken` with what was wrong and what would be
right. `RULES` has them by name, with what each is tried with.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, cast

from chimeway.delivery.channel import RETRIED, Channel, Message, RateLimited, Sent, TransientFailure
from chimeway.limits import MAX_IDENTIFIER_CHARS
from chimeway.testing.contract_trial import GRACE_S, Answered, Broken, Trial
from chimeway.testing.contract_values import FINAL_ANSWERS, VALUES, check_harmless, check_whole
from chimeway.testing.faults import AnyFault, FaultKind, as_fault, rate_limit

_AT_ONCE: Final = 8
_RETRY_AFTER_S: Final = 7.0
_PATIENCE: Final = 3

_T = TypeVar("_T")
Rule: TypeAlias = Callable[[Trial, Channel, str], Awaitable[str]]


async def has_a_name(_trial: Trial, channel: Channel, _: str) -> str:
    """A channel has the name that definitions call it by."""
    name: object = channel.name
    if not isinstance(name, str) or not 0 < len(name) <= MAX_IDENTIFIER_CHARS:
        raise Broken(f"name is {name!r}; right would be 1 to {MAX_IDENTIFIER_CHARS} characters")
    if name == "in_app":
        raise Broken("name is in_app, which is the inbox, and sent by no channel")
    return name


async def sends(trial: Trial, channel: Channel, _: str) -> str:
    """A message is sent: the provider has it once, and the answer is a `Sent`."""
    message = trial.message()
    answered = await trial.send(channel, message)
    if answered.sent is None:
        raise Broken(f"it answered {answered}; right would be Sent")
    reference: object = answered.sent.provider_reference
    if reference is not None and not isinstance(reference, str):
        raise Broken(f"provider_reference is a {type(reference).__name__}; right would be a string or None")
    if trial.provider is not None:
        arrived = len(trial.arrived(message, 0))
        if arrived != 1 or trial.count != 1:
            raise Broken(
                f"the provider has the message {arrived} times, of {trial.count} calls; right is once"
            )
    return str(answered)


async def answers(trial: Trial, channel: Channel, fault: str) -> str:
    """What the provider does has the answer that the table allows, and the channel works on after it."""
    assert trial.provider is not None
    kind = as_fault(cast("FaultKind", fault)).kind
    said: AnyFault = rate_limit(_RETRY_AFTER_S) if kind == "rate_limit" else kind
    message, before = trial.message(), trial.count
    async with trial.provider.failing(said):
        answered = await trial.send(channel, message)
    if answered.answer not in trial.answers[kind]:
        right = " or ".join(sorted(trial.answers[kind]))
        raise Broken(f"it answered {answered}; right would be {right}")
    if (calls := trial.count - before) > 1:
        raise Broken(f"one send asked the provider {calls} times; right is once, retries are the engine's")
    if kind == "rate_limit" and getattr(trial.provider, "tells_pause", True):
        _check_retry_after(answered)
    await trial.send_well(channel, "afterwards")
    return answered.answer


def _check_retry_after(answered: Answered) -> None:
    if answered.answer != "rate_limited":
        return
    error = answered.error
    told = error.retry_after if isinstance(error, RateLimited | TransientFailure) else None
    if told is None or abs(told - _RETRY_AFTER_S) > 1:
        raise Broken(f"retry_after is {told}; the provider said {_RETRY_AFTER_S:g} seconds")


async def gives_its_key(trial: Trial, channel: Channel, _: str) -> str:
    """The delivery's id reaches the provider as idempotency key, the same each time."""
    assert trial.provider is not None
    first, second = trial.message(), trial.message()
    before = trial.count
    for message in (first, first, second):
        await trial.send(channel, message)
    keys = [one.key or "" for one in trial.provider.received[before:]]
    wanted = [first.delivery_id, first.delivery_id, second.delivery_id]
    if len(keys) != len(wanted) or not all(want in key for want, key in zip(wanted, keys, strict=True)):
        raise Broken(f"the provider saw the keys {keys}; right would be the delivery ids {wanted}")
    if keys[0] != keys[1]:
        raise Broken("the key of one delivery differs between its sends")
    return ""


async def sends_several_at_once(trial: Trial, channel: Channel, _: str) -> str:
    """Several sends at the same time each go well, and do not mix."""
    messages = [trial.message() for _ in range(_AT_ONCE)]
    before = trial.count
    answered = await asyncio.gather(*(trial.send(channel, message) for message in messages))
    if wrong := [str(one) for one in answered if one.answer != "sent"]:
        raise Broken(f"of {_AT_ONCE} sends at once {len(wrong)} answered {', '.join(sorted(set(wrong)))}")
    if trial.provider is not None:
        counts = [len(trial.arrived(message, before)) for message in messages]
        if counts != [1] * _AT_ONCE:
            raise Broken(f"of {_AT_ONCE} messages sent at once the provider has {counts}; right is each once")
    return ""


async def can_be_cancelled(trial: Trial, channel: Channel, _: str) -> str:
    """A send that waits for its provider ends when it is cancelled, and the channel works on."""
    sending = await _hanging(trial, _send(channel, trial.message()))
    try:
        sending.cancel()
        await asyncio.wait({sending}, timeout=GRACE_S)
        if not sending.done():
            raise Broken(f"it had not ended {GRACE_S:g} s after it was cancelled")
        if not sending.cancelled():
            ended = type(sending.exception() or sending.result()).__name__
            raise Broken(f"it was cancelled, and ended with {ended}; right is to let CancelledError pass")
    finally:
        sending.cancel()
    await trial.send_well(channel, "after a send was cancelled")
    return ""


async def lets_interrupts_pass(trial: Trial, channel: Channel, _: str) -> str:
    """KeyboardInterrupt and its like go through a send as they are."""
    interrupted = _Interrupted(channel.send(trial.message()))
    sending = await _hanging(trial, interrupted.run())
    interrupted.interrupt(sending)
    await asyncio.wait({sending}, timeout=GRACE_S)
    if not sending.done():
        sending.cancel()
        raise Broken(f"it had not ended {GRACE_S:g} s after a KeyboardInterrupt")
    if interrupted.ended is not KeyboardInterrupt:
        ended = "an answer" if interrupted.ended is None else interrupted.ended.__name__
        raise Broken(f"a KeyboardInterrupt became {ended}; right is to let it pass")
    await trial.send_well(channel, "after an interrupt")
    return ""


async def _hanging(trial: Trial, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
    """Begin something that sends, and return when the provider has the message and says nothing."""
    assert trial.provider is not None
    before = trial.count
    async with trial.provider.failing("hang"):
        sending = asyncio.get_running_loop().create_task(work, name="contract-send")
        try:
            async with asyncio.timeout(trial.timeout_s + GRACE_S):
                await trial.provider.wait_until(lambda: trial.count > before)
        except TimeoutError:
            sending.cancel()
            raise Broken("the message did not reach the provider in time") from None
    return sending


async def _send(channel: Channel, message: Message) -> Sent:
    return await channel.send(message)


class _Interrupted:
    """Runs a coroutine, and puts a KeyboardInterrupt in the place of its first cancellation from outside."""

    def __init__(self, work: Coroutine[Any, Any, object]) -> None:
        self._work = work
        self._wanted = False
        self.ended: type[BaseException] | None = None

    def interrupt(self, task: "asyncio.Task[None]") -> None:
        """Interrupt the task that runs it."""
        self._wanted = True
        task.cancel()

    async def run(self) -> None:
        """Run it; keep what ended it."""
        try:
            await self
        except BaseExceptionGroup as group:
            self.ended = KeyboardInterrupt if group.subgroup(KeyboardInterrupt) else type(group)
        except BaseException as error:  # noqa: BLE001  (which one it is, is the question)
            self.ended = type(error)

    def __await__(self) -> Generator[Any, Any, None]:
        thrown: BaseException | None = None
        while True:
            try:
                waited_for = self._work.send(None) if thrown is None else self._work.throw(thrown)
            except StopIteration:
                return
            thrown = None
            try:
                yield waited_for
            except asyncio.CancelledError as error:  # libraries cancel within themselves, too
                thrown = KeyboardInterrupt() if self._wanted else error
                self._wanted = False


async def survives_a_restart(trial: Trial, channel: Channel, _: str) -> str:
    """After the provider was restarted the channel sends again, by itself."""
    assert trial.provider is not None
    await trial.send_well(channel, "before a restart")
    await trial.provider.restart()
    seen: list[str] = []
    for _attempt in range(_PATIENCE):
        answered = await trial.send(channel, trial.message())
        if answered.answer == "sent":
            return f"after {len(seen)} failures"
        seen.append(str(answered))
        if answered.answer not in RETRIED:
            raise Broken(f"after a restart it answered {answered}, which ends the delivery")
    raise Broken(f"after a restart it answered {', '.join(seen)}; right is to send again")


async def takes_any_value(trial: Trial, channel: Channel, value: str) -> str:
    """Whatever stands in a message, it is sent whole or refused for good; nothing else comes of it."""
    message, before = trial.message(VALUES[value]), trial.count
    answered = await trial.send(channel, message)
    if answered.answer not in FINAL_ANSWERS:
        raise Broken(
            f"it answered {answered}; right would be Sent, or a refusal for good: it is never sendable"
        )
    if trial.provider is not None:
        received = trial.provider.received[before:]
        check_harmless(received)
        if answered.sent is not None:
            if len(received) != 1:
                raise Broken(f"one send gave the provider {len(received)} messages")
            check_whole(message, received)
    await trial.send_well(channel, "afterwards")
    return str(answered)


ALONE: Final[Mapping[str, Rule]] = MappingProxyType(
    {"has a name": has_a_name, "sends": sends, "sends several at once": sends_several_at_once}
)
"""Tried with every channel."""
WITH_A_PROVIDER: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "gives its key": gives_its_key,
        "can be cancelled": can_be_cancelled,
        "lets interrupts pass": lets_interrupts_pass,
        "survives a restart": survives_a_restart,
    }
)
"""Tried where there is a provider that can fail."""

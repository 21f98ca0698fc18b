"""What a channel is: it takes one message, and answers that it was sent or why it was not.

A channel has a `name` and `async def send(message) -> Sent`. That is all it must have. It may be an
async context manager: then it is entered before its first send and left after its last. It may say
`needs_address = False`, when it can send to a recipient of whom only the id is known.

`send` is called at least once for a delivery that is due, always with the same `delivery_id`, which
the provider should be given as its idempotency key. Several sends run at the same time. A channel
may be cancelled while it sends. What it raises becomes the attempt's error class:

| raised                                  | error class   | and then                              |
|-----------------------------------------|---------------|---------------------------------------|
| `TransientFailure`, any other OSError   | transient     | tried again, later and later          |
| TimeoutError                            | timeout       | the same                              |
| `RateLimited`                           | rate_limited  | the same, however often               |
| `UnknownOutcome`, a connection that     | unknown       | the same: it may have been sent       |
| broke (`ConnectionResetError`,          |               |                                       |
| `BrokenPipeError`,                      |               |                                       |
| `ConnectionAbortedError`), any other    |               |                                       |
| exception, something returned that is   |               |                                       |
| not a `Sent`                            |               |                                       |
| `PermanentFailure`                      | permanent     | not tried again                       |
| `Bounced`                               | bounced       | not tried again: the address is wrong |
| `ConfigurationFailure`                  | configuration | not tried again: we are set up wrong  |

Where a `TransientFailure` or a `RateLimited` says `retry_after`, it is not tried again before. Another
provider of the channel may be asked meanwhile; what keeps other messages from this one is a `RateLimited`.

An exception nobody foresaw is `unknown`, not `transient`: it says nothing of whether the provider
has the message, and the trace should not claim that it does.
"""

import math
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias

from chimeway.errors import ChimewayError

ErrorClass: TypeAlias = Literal[
    "transient", "timeout", "rate_limited", "unknown", "permanent", "configuration", "bounced"
]
RETRIED: Final[frozenset[ErrorClass]] = frozenset({"transient", "timeout", "rate_limited", "unknown"})
"""After these the delivery is `failed` and tried again; after the others it is cancelled."""
BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "in_app": "in_app is the inbox, which the engine writes itself",
        "log": "log is built in; take another name for the channel",
    }
)
"""Names of channels that an app cannot declare, nor settings give providers to, and why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message to one recipient; the same for every attempt of its delivery."""

    delivery_id: str
    """The idempotency key."""
    run_id: str
    tenant_id: str
    recipient_id: str
    channel: str
    address: str | None
    """Where to, in the channel's terms; None only for channels that need none."""
    subject: str
    body: str
    """HTML for e-mail."""
    text: str | None = None
    """The plain alternative to an HTML body."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The trigger's data."""
    workflow: str = ""
    """The workflow's key."""
    step: str = ""
    """The id of the step that sends it."""
    render_key: str = ""
    """By what it was rendered."""
    unsubscribe_url: str | None = None
    """Where the recipient says that they want no more of these; None where nothing is set up."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider has taken the message over."""

    provider_reference: str | None = None
    """The provider's own name for it, for support and feedback."""


class SendFailure(ChimewayError):  # noqa: N818  (the name is the answer, as in the docs)
    """The message was not sent."""

    code = "send_failure"
    error_class: ClassVar[ErrorClass] = "unknown"


class TransientFailure(SendFailure):
    """It did not work this time; it may work the next."""

    code = "transient_failure"
    error_class = "transient"

    def __init__(
        self, message: str | None = None, /, *, retry_after: float | None = None, **details: Any
    ) -> None:
        """Take the seconds to wait, where the provider named them."""
        super().__init__(message, **details)
        self.retry_after = retry_after


class UnknownOutcome(SendFailure):
    """The provider may have taken the message; its answer was lost."""

    code = "unknown_outcome"
    error_class = "unknown"


class RateLimited(SendFailure):
    """The provider asks for fewer messages."""

    code = "rate_limited"
    error_class = "rate_limited"

    def __init__(
        self, retry_after: float | None = None, message: str | None = None, /, **details: Any
    ) -> None:
        """Take the seconds to wait, where the provider named them."""
        super().__init__(message, retry_after=retry_after, **details)
        self.retry_after = retry_after


class PermanentFailure(SendFailure):
    """The provider refuses this message, and will again."""

    code = "permanent_failure"
    error_class = "permanent"


class Bounced(SendFailure):
    """There is nobody at this address."""

    code = "bounced"
    error_class = "bounced"


class ConfigurationFailure(SendFailure):
    """The channel is set up wrong: no message will go out by it."""

    code = "configuration_failure"
    error_class = "configuration"


class Channel(Protocol):
    """What the dispatcher sends by; see the module."""

    @property
    def name(self) -> str:
        """The channel's name in definitions."""
        ...

    async def send(self, message: Message) -> Sent:
        """Give the message to the provider; raise a `SendFailure` when it does not take it."""
        ...


def classify(error: Exception) -> ErrorClass:
    """Return the error class of whatever a send raised."""
    match error:
        case SendFailure():
            return error.error_class
        case TimeoutError():
            return "timeout"
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return "unknown"  # there was a connection: nobody knows what had gone over it
        case OSError():
            return "transient"
        case _:
            return "unknown"


def retry_after(error: Exception) -> float | None:
    """Return the seconds that the provider asked to wait, if it did; rubbish is as if it had not."""
    asked: object = error.retry_after if isinstance(error, RateLimited | TransientFailure) else None
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked >= 0:
        return None
    return asked if asked <= sys.float_info.max else math.inf


def checked(answer: object) -> Sent:
    """Return the answer of a send; anything but a `Sent` raises `UnknownOutcome`."""
    if not isinstance(answer, Sent):
        kind = type(answer).__name__
        raise UnknownOutcome(f"the channel returned {kind}, where Sent was to be", returned=kind)
    return answer


def needs_address(channel: Channel) -> bool:
    """Say whether a recipient without an address on this channel can be sent nothing by it."""
    return bool(getattr(channel, "needs_address", True))


@asynccontextmanager
async def opened(channel: Channel) -> AsyncIterator[Channel]:
    """Enter a channel that wants to be entered; others are used as they are."""
    if isinstance(channel, AbstractAsyncContextManager):
        async with channel:
            yield channel
    else:
        yield channel

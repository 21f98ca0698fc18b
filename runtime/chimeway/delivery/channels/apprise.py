"""The channel that sends by the apprise library: one URL, one of some two hundred services.

The library blocks, so each send has a thread of its own (`daemon_threads`), of which there are `threads`: a
call that hangs holds one of them for `timeout_s` at most, because its connections are cut then. While all
are held a further send waits for half of its time, and then says that nothing was sent.

`apprise_url` says which URLs may be used, `apprise_watch` what a call may do and how it is seen,
`apprise_call` what its outcome means. Nothing the library logs is heard: its lines may hold tokens.
"""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr

from chimeway.clock import Clock, SystemClock
from chimeway.delivery.channel import Message, Sent, TransientFailure
from chimeway.delivery.channels.apprise_call import Format, Verdict, call, meaning
from chimeway.delivery.channels.apprise_url import (
    PLACEHOLDER,
    check_template,
    endpoint_of,
    filled,
    own,
    scheme_of,
)
from chimeway.delivery.channels.apprise_watch import Watch, install
from chimeway.delivery.daemon_threads import DaemonThreads
from chimeway.delivery.outward.networks import Networks, read_networks
from chimeway.delivery.pacing import ChannelLimits
from chimeway.errors import InvalidInput, InvalidSettings
from chimeway.setting_kinds import Duration
from chimeway.setting_tables import Options as TableOptions

_FAREWELL_S: Final = 1.0
"""How long a channel that closes waits for its threads: their connections are cut, so they end or hang."""


class AppriseChannel:
    """Sends by the apprise library. Use as an async context manager, so that calls under way are cut."""

    def __init__(  # noqa: PLR0913  (each is one setting)
        self,
        name: str = "apprise",
        *,
        url: str | None = None,
        schemes: Collection[str] = (),
        allow_networks: Collection[str] | None = (),
        files: bool = False,
        threads: int = 8,
        timeout_s: float = 20,
        format: Format = "text",  # noqa: A002  (the library's own word)
        clock: Clock | None = None,
    ) -> None:
        """Say where to, and what is allowed.

        Args:
            name: the channel's name in definitions.
            url: an apprise URL for all, with `{address}` where the recipient's address goes; without one,
                the recipient's address is the URL.
            schemes: kinds of URL that may be used besides the hosted services.
            allow_networks: networks inside that may be called, such as 10.1.0.0/16; None: any address.
            files: whether plugins may read files and start programs.
            threads: calls at once.
            timeout_s: of one call.
            format: what the rendered message is: plain text (its `text`, where there is one), HTML, Markdown.
            clock: for a Retry-After that is a date.

        Raises:
            InvalidSettings: the URL or a network is none.
            InvalidInput: a number cannot be.
        """
        if threads < 1 or not timeout_s > 0:
            raise InvalidInput("threads, timeout_s: must be more than 0")
        self.name = name
        self.needs_address = url is None or PLACEHOLDER in url
        self.limits = ChannelLimits(concurrency=threads, timeout_s=2 * timeout_s)
        self._url = url
        self._allowed = _allowed(url, schemes)
        self._networks = _networks(allow_networks)
        self._files = files
        self._format: Format = format
        self._timeout_s = timeout_s
        self._clock: Clock = clock or SystemClock()
        self._threads = DaemonThreads(threads, f"apprise-{name}")
        self._size = threads
        self._under_way: set[Watch] = set()

    async def __aenter__(self) -> Self:
        """Load the library, which takes a second, on a thread."""
        await self._threads.take()
        await self._threads.run(install)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut what is under way; a thread that hangs all the same is left behind, and keeps nobody."""
        for watch in self._under_way:
            watch.cut()
        await self._threads.leave(_FAREWELL_S)

    def endpoint(self, address: str) -> str | None:
        """Return whose outage it would be: of recipients' URLs each service answers for itself."""
        return endpoint_of(address) if self._url is None else None

    async def send(self, message: Message) -> Sent:
        """Send by what the URL names."""
        url = own(message.address) if self._url is None else filled(self._url, message.address)
        watch = Watch(message.delivery_id, self._timeout_s, self._networks, self._files)
        verdict = await self._called(url, message, watch)
        answer = meaning(verdict, watch, ours=self._url is not None, now=self._clock.now())
        if isinstance(answer, Sent):
            return answer
        raise answer

    async def _called(self, url: str, message: Message, watch: Watch) -> Verdict:
        ends = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s / 2):
                await self._threads.take()
        except TimeoutError:
            said = f"all {self._size} threads are held by calls that hang; nothing was sent"
            raise TransientFailure(said) from None
        self._under_way.add(watch)
        try:
            async with asyncio.timeout_at(ends):
                work = partial(call, url, self._allowed, message, self._format, watch)
                return await self._threads.run(work)
        except TimeoutError:
            raise TimeoutError(f"no answer within {self._timeout_s:g} s") from None
        finally:
            watch.cut()
            self._under_way.discard(watch)


def _allowed(url: str | None, schemes: Collection[str]) -> frozenset[str]:
    """Return the schemes that are said by name, that of the settings' URL among them."""
    found = {scheme.lower().removesuffix("://") for scheme in schemes}
    if url is not None:
        check_template(url)
        found.add(scheme_of(url) or "")
    return frozenset(found)


def _networks(networks: Collection[str] | None) -> Networks | None:
    try:
        return None if networks is None else Networks(allowed=read_networks(tuple(networks)))
    except ValueError as fault:
        raise InvalidSettings(f"allow_networks: right would be {fault}") from None


class Options(TableOptions):
    """`kind = "apprise"`."""

    url: SecretStr | None = None
    schemes: Annotated[list[str], Field(default_factory=list)]
    allow_networks: Annotated[list[str], Field(default_factory=list)]
    files: bool = False
    threads: Annotated[int, Field(ge=1, le=256)] = 8
    answer_within: Duration = timedelta(seconds=20)
    format: Format = "text"


def build(options: Options, name: str, clock: Clock) -> AppriseChannel:
    """Make the channel."""
    return AppriseChannel(
        name,
        url=None if options.url is None else options.url.get_secret_value(),
        schemes=options.schemes,
        allow_networks=options.allow_networks,
        files=options.files,
        threads=options.threads,
        timeout_s=options.answer_within.total_seconds(),
        format=options.format,
        clock=clock,
    )

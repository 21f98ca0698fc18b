"""`Harness`: a journey in a test, on the real engine, a real PostgreSQL and a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, NoReturn, TypeAlias

from chimeway.client.checks import identifier
from chimeway.client.chimeway import Chimeway
from chimeway.client.opening import as_newest
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.delivery.channel import Channel, needs_address, opened
from chimeway.delivery.declared import Offer
from chimeway.errors import InvalidInput
from chimeway.progression.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from chimeway.store.pool import open_database
from chimeway.testing.databases import databases
from chimeway.testing.forms import Playable, Repertoire, repertoire
from chimeway.testing.journey import Journey
from chimeway.testing.player import Cast, Player
from chimeway.testing.recording import Recorders
from chimeway.testing.rendering import TemplateSource, renderers_of
from chimeway.testing.telling import Stage
from chimeway.testing.times import START, Instant, JourneyTime, instant_of

ChannelChoice: TypeAlias = Literal["recording", "real"] | Iterable[Channel]
_CONNECTIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Options:
    """How a journey is played; see `Harness`."""

    templates: TemplateSource | None = None
    channels: ChannelChoice = "recording"
    strict: bool = False
    tenant: str = DEFAULT_TENANT
    start: Instant = START
    seed: int = 0
    retry: RetryPolicy = field(default=DEFAULT_RETRY_POLICY)


class Harness:
    """Plays workflows in a test.

        async with Harness(mention_escalation) as journey:
            await journey.trigger(recipients=["ada"], data={"document_id": "doc_789"})
            await journey.advance("PT2H")
            assert [message.channel for message in journey.sent] == ["email"]

    The database is one of this harness alone, and gone at the end of the block. Unless `strict`, a
    missing template is a placeholder, and every recipient has an address on every channel.
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
        """Say what is played, and how.

        Args:
            workflows: each a Workflow, a dict, a Definition, a class with `workflow(self, args)`, an
                `App` (its workflows, renderers and channels), or the pathlib.Path of a file or folder.
            templates: a folder, or texts by name: {"mention_email.email.j2": "..."}.
            channels: "recording": every channel only records. "real": the app's channels are called,
                and recorded; or channels to be called. Others record.
            strict: as on a node: no placeholder for a template, no address but those identified.
            tenant: of verbs that name none.
            start: where time stands at first, 2026-01-05T09:00:00Z if left out.
            seed: of the jitter of retries: the same seed, the same instants.
            retry: the limits of retrying.

        Raises:
            InvalidDefinition, InvalidInput, TypeError: what was given cannot be played.
        """
        self._repertoire = repertoire(workflows)
        self._options = Options(templates, channels, strict, identifier("tenant", tenant), start, seed, retry)
        self._called = _chosen(channels, self._repertoire)
        self._renderers = renderers_of(self._repertoire.renderers, templates, strict=strict)
        self._start = instant_of("start", start)
        self._stack: AsyncExitStack | None = None

    def __getattr__(self, name: str) -> NoReturn:
        """Say of a journey's verb where it is found."""
        if hasattr(Journey, name) and not name.startswith("_"):
            raise AttributeError(f"{name} is the journey's: async with Harness(...) as journey")
        raise AttributeError(f"a Harness has no {name}")

    async def __aenter__(self) -> Journey:
        """Set the stage.

        Raises:
            DatabaseUnavailable: there is no PostgreSQL to play on; the message says what to do.
            InvalidInput: it is in use, or no loop of asyncio runs here.
        """
        _on_asyncio()
        if self._stack is not None:
            raise InvalidInput("this harness is in use: make another one")
        async with AsyncExitStack() as stack:
            journey = await stack.enter_async_context(self._played())
            self._stack = stack.pop_all()
        return journey

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything away."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _played(self) -> AsyncIterator[Journey]:
        time, options = JourneyTime(self._start), self._options
        async with (
            _lent_database() as url,
            open_database(url, name="chimeway-harness", size=_CONNECTIONS) as database,
            AsyncExitStack() as stack,
        ):
            await time.begin(database)
            client = Chimeway(database, tenant=options.tenant)
            stack.enter_context(as_newest(client))
            for definition in self._repertoire.definitions:
                await client.register(definition)
            for offer in self._called:
                await stack.enter_async_context(opened(offer.channel))
            addressless = self._addressless()
            recorders = Recorders(time.clock, self._called, self._repertoire.offers, addressless)
            player = Player(
                Cast(
                    database=database,
                    time=time,
                    renderers=self._renderers,
                    channels=recorders,
                    addressless=addressless,
                    addresses=not options.strict,
                    retry=options.retry,
                    seed=options.seed,
                )
            )
            stage = Stage(
                database, client, player, recorders, self._repertoire, time, options.tenant, options.strict
            )
            journey = Journey(stage)
            stack.callback(journey.close)
            yield journey

    def _addressless(self) -> frozenset[str]:
        """Return the channels that need no address: as those say that are called, else as the app does."""
        by_name = {o.channel.name: o.channel for o in (*self._repertoire.offers, *self._called)}
        return frozenset({"log"} - set(by_name) | {n for n, one in by_name.items() if not needs_address(one)})


@asynccontextmanager
async def _lent_database() -> AsyncIterator[str]:
    """Lend a database; the first one of a process may take a second or two, beside the loop."""
    maker = await asyncio.to_thread(databases)
    url = await asyncio.wrap_future(maker.lend(test_clock=True))
    try:
        yield url
    finally:
        maker.give_back(url)


def _on_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        hint = "use SyncHarness there, or anyio's backend asyncio"
        told = f"a Harness is played in a loop of asyncio, and none runs here (trio?): {hint}"
        raise InvalidInput(told, hint=hint) from None


def _chosen(channels: object, given: Repertoire) -> tuple[Offer, ...]:
    """Return what is called."""
    if channels == "recording":
        return ()
    if channels == "real":
        return given.offers
    found: tuple[Channel, ...] = (channels,)  # type: ignore[assignment]  # judged below
    if isinstance(channels, Iterable) and not isinstance(channels, str):
        found = tuple(channels)
    for one in found:
        if not (hasattr(one, "name") and hasattr(one, "send")):
            hint = 'give "recording", "real", or channels, each with `name` and `send`'
            raise InvalidInput(f"channels: given {one!r}; {hint}", field="channels")
    return tuple(Offer(one, one.name) for one in found)

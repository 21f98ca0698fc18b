"""What an application declares for a node to serve by: a plain value, which connects to nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from chimeway.delivery.channel import Channel, Message, Sent
from chimeway.delivery.pacing import ChannelLimits
from chimeway.render.functions import NO_FUNCTIONS, Renderer, RendererKey
from chimeway.workflow.definition import Definition

NO_MODELS: Final[Mapping[tuple[str, int], type[BaseModel]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Offer:
    """One way out of a channel: the channel's name is that of the object, `provider` tells it from others."""

    channel: Channel
    provider: str
    limits: ChannelLimits | None = None
    """None: those that the object carries, else the usual ones."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Workflows to register, channels to send by, functions to render by; each name once.

    Offers of one channel are its providers, in the order of failover.
    """

    workflows: tuple[Definition, ...] = ()
    offers: tuple[Offer, ...] = ()
    renderers: Mapping[RendererKey, Renderer] = field(default_factory=lambda: NO_FUNCTIONS)
    models: Mapping[tuple[str, int], type[BaseModel]] = field(default_factory=lambda: NO_MODELS)
    """Key and version → the model of its data, whose JSON Schema is stored beside the definition."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is sent by, provider after provider."""
        return tuple(offer.channel for offer in self.offers)


NOTHING_DECLARED = Declared()


@dataclass(frozen=True, slots=True)
class FunctionChannel:
    """A channel that is one function. Where it returns None, the message is as sent as it gets."""

    name: str
    function: Callable[[Message], Awaitable[Sent | None]]
    needs_address: bool = True

    async def send(self, message: Message) -> Sent:
        """Call the function."""
        answer = await self.function(message)
        return Sent() if answer is None else answer

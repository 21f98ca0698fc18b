"""`App`: what an application declares, in its own code, for a node to serve by.

Declaring connects to nothing and needs no extra: a module that declares can be imported anywhere, by
the web process, by `chimeway serve --app`, by a test. Each fault is raised where it is written.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from chimeway.client.checks import identifier
from chimeway.client.chimeway import Chimeway
from chimeway.delivery.channel import BUILT_IN, Channel, Message, Sent
from chimeway.delivery.declared import Declared, FunctionChannel, Offer
from chimeway.delivery.pacing import ChannelLimits
from chimeway.errors import InvalidInput, WorkflowDefinitionVersionConflict
from chimeway.extras import imported
from chimeway.render.functions import Renderer, RendererKey
from chimeway.workflow.build import Workflow
from chimeway.workflow.coerce import coerce
from chimeway.workflow.definition import Definition

SendFunction: TypeAlias = Callable[[Message], Awaitable[Sent | None]]
_Sends = TypeVar("_Sends", bound=SendFunction | Channel | type[Channel])
_Renders = TypeVar("_Renders", bound=Renderer)


class App:
    """Workflows, channels and renderers, by name. What is declared once cannot be declared again."""

    def __init__(self, *, workflows: Iterable[object] = ()) -> None:
        """Take workflows, each in any of its forms; see `add`.

        Raises:
            TypeError: it is one workflow, and no list of them; and as `add`.
        """
        if isinstance(workflows, str | Mapping) or not isinstance(workflows, Iterable):
            raise TypeError(f"workflows: given {type(workflows).__name__}, wanted a list of workflows")
        self._workflows: dict[tuple[str, int], Definition] = {}
        self._models: dict[tuple[str, int], type[BaseModel]] = {}
        self._offers: dict[tuple[str, str], Offer] = {}
        self._renderers: dict[RendererKey, Renderer] = {}
        for workflow in workflows:
            self.add(workflow)

    def __repr__(self) -> str:
        """Name what is declared."""
        workflows = ", ".join(f"{key} version {version}" for key, version in self._workflows)
        channels = ", ".join(dict.fromkeys(channel for channel, _ in self._offers))
        return f"<chimeway.App: {workflows or 'no workflow'}; channels: {channels or 'none'}>"

    @property
    def declared(self) -> Declared:
        """What is declared so far, as a value."""
        return Declared(
            tuple(self._workflows.values()),
            tuple(self._offers.values()),
            dict(self._renderers),
            dict(self._models),
        )

    def add(self, workflow: object) -> None:
        """Declare a workflow: it is registered whenever a node starts, before the node is ready.

        Args:
            workflow: a `Workflow` (the JSON Schema of its data's model is stored with it), a
                `Definition` or a dict in the definition format. (A class with a
                method `workflow(self, args)` writes its definition of a trigger's data; it is registered
                by the trigger.)

        Raises:
            InvalidDefinition: it has faults.
            WorkflowDefinitionVersionConflict: this version is declared with another content.
            TypeError: it is in none of these forms.
        """
        if callable(getattr(workflow, "workflow", None)):
            raise TypeError(
                f"{_called(workflow)} writes its workflow of a trigger's data: give it to trigger, which "
                "registers what it writes"
            )
        definition = coerce(workflow)
        name = (definition.key, definition.version)
        if self._workflows.setdefault(name, definition) != definition:
            raise WorkflowDefinitionVersionConflict(
                f"{definition.key} version {definition.version} is declared twice, with different content: "
                "give the changed one a new version",
                key=definition.key,
                version=definition.version,
            )
        if isinstance(workflow, Workflow) and workflow.data_model is not None:
            self._models[name] = workflow.data_model

    def channel(
        self,
        name: str,
        /,
        *,
        needs_address: bool | None = None,
        provider: str | None = None,
        limits: ChannelLimits | None = None,
    ) -> Callable[[_Sends], _Sends]:
        """Declare the channel `name`: an async function, or a class or an object with `name` and `send`.

            @app.channel("sms")
            async def send_sms(message: Message) -> Sent:
                reference = await provider.send(message.address, message.body, key=message.delivery_id)
                return Sent(reference)

        See `chimeway.Channel` for what it may raise. A function that returns None has sent the message.
        A class is called without arguments, here; what must be opened, it opens as an async context
        manager, which a node enters at its start and leaves at its end. A send may take 60 seconds,
        where its limits say nothing else.

        The same channel may be declared again with another provider, which is asked when those before
        it fail: in the order of declaration, by the rules of failover.

        Args:
            name: the channel's name in definitions.
            provider: what attempts and logs call this way out of the channel; if left out, its name.
            limits: how fast, how often and how long; those that a class or an object carries as `limits`, if
                left out. What holds for the whole channel (concurrency, attempts, age) is said by the first.
            needs_address: whether a recipient must have an address on this channel, which is so where
                nothing is said; False for one that needs only the recipient's id. A class or an object
                says it by an attribute of this name instead.

        Raises:
            InvalidInput: a name is no name, is taken, or is another than the object's own.
            TypeError: what is decorated is none of these.
        """
        taken = identifier("channel", name)
        way = taken if provider is None else identifier("provider", provider)
        if limits is not None and not isinstance(limits, ChannelLimits):
            raise TypeError(f"limits: given {_called(limits)}, wanted a ChannelLimits")
        if taken in BUILT_IN:
            raise InvalidInput(f"no channel can be called {taken}: {BUILT_IN[taken]}", field="channel")

        def declare(thing: _Sends) -> _Sends:
            channel = _channel_of(taken, thing, needs_address)
            if (other := self._offers.get((taken, way))) is not None:
                raise InvalidInput(
                    f"the channel {taken} is declared twice: by {_source(other.channel)} and by "
                    f"{_source(channel)}; for failover give each a provider= of its own",
                    field="channel",
                )
            self._offers[taken, way] = Offer(channel, way, limits)
            return thing

        return declare

    def render(self, render_key: str, /, *, channel: str | None = None) -> Callable[[_Renders], _Renders]:
        """Declare what makes the messages of a render key: a plain function of a `RenderContext`.

            @app.render("mention_email", channel="email")
            def mention_email(context: RenderContext) -> Content:
                return Content(subject="You were mentioned", body=f"<p>{escape(context.data['title'])}</p>")

        It returns the body as a text, a `Content`, or a dict with `subject`, `body` and `text`. It must be
        synchronous, quick and without effects: an in_app message is rendered inside the decision that
        plans it, which may be made again, and nothing else runs meanwhile. What it raises ends the
        delivery (cancelled, permanent failure, error class configuration) and nothing more.

        A function for this key and channel goes before a template of the same name (the node warns of
        it), a template before a function for every channel.

        Args:
            render_key: as steps name it.
            channel: for this channel alone; for every channel, if left out.

        Raises:
            InvalidInput: a name is no name, or is taken.
            TypeError: what is decorated is no plain function of one argument.
        """
        name = (
            identifier("render_key", render_key),
            None if channel is None else identifier("channel", channel),
        )

        def declare(renderer: _Renders) -> _Renders:
            if name in self._renderers:
                raise InvalidInput(
                    f"{_message(*name)} is rendered twice: by {_called(self._renderers[name])} and by "
                    f"{_called(renderer)}",
                    field="render_key",
                )
            self._renderers[name] = _checked_renderer(renderer)
            return renderer

        return declare

    @asynccontextmanager
    async def running(self, dsn: str | None = None, **settings: Any) -> AsyncIterator[Chimeway]:
        """Run a node in this event loop while the block lasts, and give a client of its database.

            async with app.running("postgresql://...") as chimeway:
                await chimeway.trigger(...)

        It is the same node that `chimeway serve --app` runs. When the block begins, all is registered,
        and this node works or, where another does already, stands by to take over. When the block ends,
        by itself or by an error, the node takes nothing new and waits up to 20 seconds for what is under
        way. If the node dies, the block is cancelled and the node's error is raised at its end.

        The process stays the caller's: no signal is caught, and logging is not set up; what the node says
        goes where the host's structlog, or else the logger "chimeway" of `logging`, sends it.

        Args:
            dsn: the database; if left out, what the settings say.
            settings: settings by their names in small letters, such as `smtp_url=` or `templates_dir=`;
                they go before the environment and chimeway.toml.

        Yields:
            An open client, closed with the block.

        Raises:
            InvalidSettings: a setting is missing or wrong.
            SchemaMismatch: the database has no schema, one too new, or one for tests.
            DatabaseUnavailable: nothing answers there.
            MissingExtra: the daemon's packages are not installed.
            ExceptionGroup: a part of the node failed.
        """
        with imported():
            # Not at the top: the light install declares, and has no daemon.
            from chimeway.daemon.inside import inside  # noqa: PLC0415
            from chimeway.settings import Settings  # noqa: PLC0415
        chosen = Settings(database_url=dsn, **settings)
        direct = chosen.direct_database_url
        past = None if direct is None else direct.get_secret_value()
        async with (
            inside(chosen, self.declared) as node,
            Chimeway.connect(node.database.url, direct_dsn=past) as chimeway,
        ):
            yield chimeway


def _channel_of(name: str, thing: object, address: bool | None) -> Channel:  # noqa: FBT001  (internal)
    """Return the channel that is declared, or raise what is wrong with it."""
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        if not inspect.iscoroutinefunction(thing):
            raise TypeError(f"{_called(thing)} is no channel: make it async def {name}(message) -> Sent")
        _takes_one(thing, "message")
        return FunctionChannel(name, thing, needs_address=address is not False)
    channel: Any = _made(name, thing) if isinstance(thing, type) else thing
    kind, own = type(channel).__name__, getattr(channel, "name", None)
    if address is not None:
        raise TypeError(f"say it in the class: {kind}.needs_address = {address}")
    if not inspect.iscoroutinefunction(getattr(channel, "send", None)):
        raise TypeError(f"{kind} is no channel: it has no async def send(self, message) -> Sent")
    if own != name:
        raise InvalidInput(f"{kind}.name is {own!r}, and it is declared as {name!r}", field="channel")
    declared: Channel = channel
    return declared


def _made(name: str, kind: type) -> object:
    try:
        inspect.signature(kind).bind()
    except TypeError:
        example = f'app.channel("{name}")({kind.__name__}(...))'
        raise TypeError(f"{_called(kind)} wants arguments: declare an object of it, {example}") from None
    return kind()


def _checked_renderer(renderer: object) -> Renderer:
    """Return a function that can be called where nothing can be awaited."""
    called = _called(renderer)
    if isinstance(renderer, type) or not callable(renderer):
        raise TypeError(f"{called} is no renderer: give a function of one argument, the context")
    if inspect.iscoroutinefunction(renderer) or inspect.iscoroutinefunction(type(renderer).__call__):
        raise TypeError(
            f"{called} is async, and a message is rendered where nothing can be awaited: make it a plain "
            "function; what must be fetched belongs into the trigger's data"
        )
    if inspect.isgeneratorfunction(renderer) or inspect.isasyncgenfunction(renderer):
        raise TypeError(f"{called} yields: a renderer returns its message whole")
    _takes_one(renderer, "context")
    return renderer


def _takes_one(function: Callable[..., object], what: str) -> None:
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # written in C: nothing can be known of it
        return
    except TypeError:
        raise TypeError(f"{_called(function)} must take one argument, the {what}") from None


def _message(render_key: str, channel: str | None) -> str:
    return render_key if channel is None else f"{render_key} on {channel}"


def _source(channel: Channel) -> str:
    return _called(channel.function if isinstance(channel, FunctionChannel) else channel)


def _called(thing: object) -> str:
    """Return what to call a function, a class or an object in a message."""
    named: Any = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"

"""Declaring: what an App takes, and what it refuses where it is written."""

import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from chimeway import (
    App,
    Content,
    InvalidDefinition,
    InvalidInput,
    Message,
    Notify,
    RenderContext,
    Sent,
    Workflow,
    WorkflowDefinitionVersionConflict,
)
from chimeway.delivery.channel import needs_address

WORKFLOW = Workflow(key="mention", version=1, steps=[Notify("a", channel="in_app", render_key="m")])
MESSAGE = Message("d", "r", "t", "ada", "sms", "+1", "", "B")


async def send_sms(message: Message) -> Sent:
    """Send, and say by which reference."""
    return Sent(f"to {message.address}")


async def send_quietly(message: Message) -> None:
    """Send, and say nothing."""


def mention(context: RenderContext) -> str:
    """Make a body."""
    return f"For {context.recipient.id}"


class Sms:
    """A channel as a class."""

    name = "sms"
    needs_address = False

    async def send(self, message: Message) -> Sent:
        """Send."""
        return Sent()


class Gateway:
    """A channel that wants to be made by hand."""

    def __init__(self, name: str) -> None:
        """Take a name."""
        self.name = name

    async def send(self, message: Message) -> Sent:
        """Send."""
        return Sent(self.name)


def test_what_is_declared_is_a_value() -> None:
    """Workflows in all finished forms, channels and renderers come out in the order of declaration."""
    app = App(workflows=[WORKFLOW])
    app.add(WORKFLOW.as_dict() | {"version": 2})
    app.add(WORKFLOW.definition)
    assert app.channel("sms")(send_sms) is send_sms
    assert app.render("m")(mention) is mention
    assert app.render("m", channel="email")(mention) is mention
    declared = app.declared
    assert [(one.key, one.version) for one in declared.workflows] == [("mention", 1), ("mention", 2)]
    assert [channel.name for channel in declared.channels] == ["sms"]
    assert dict(declared.renderers) == {("m", None): mention, ("m", "email"): mention}
    assert repr(app) == "<chimeway.App: mention version 1, mention version 2; channels: sms>"
    app.channel("push")(send_sms)
    assert len(declared.channels) == 1, "what was taken before does not change"


async def test_a_function_is_a_channel() -> None:
    """An async function sends; one that returns nothing has sent; it needs an address unless it says no."""
    app = App()
    app.channel("sms")(send_sms)
    app.channel("push", needs_address=False)(send_quietly)
    app.channel("voice")(functools.partial(send_sms))
    sms, push, voice = app.declared.channels
    assert await sms.send(MESSAGE) == Sent("to +1")
    assert await push.send(MESSAGE) == Sent()
    assert await voice.send(MESSAGE) == Sent("to +1")
    assert [needs_address(one) for one in (sms, push, voice)] == [True, False, True]


async def test_classes_and_objects_are_channels() -> None:
    """A class is made at its declaration, an object is taken as it is; both speak for themselves."""
    app = App()
    gateway = Gateway("push")
    assert app.channel("sms")(Sms) is Sms
    assert app.channel("push")(gateway) is gateway
    sms, push = app.declared.channels
    assert isinstance(sms, Sms)
    assert push is gateway
    assert not needs_address(sms)


async def _yields(context: RenderContext) -> AsyncIterator[str]:
    yield "x"


def _pieces(context: RenderContext) -> Iterator[str]:
    yield "x"


async def _fetches(context: RenderContext) -> str:
    return "x"


class _AsyncCall:
    async def __call__(self, context: RenderContext) -> str:
        return "x"


class _Nameless:
    async def send(self, message: Message) -> Sent:
        return Sent()


class _Sync:
    name = "sms"

    def send(self, message: Message) -> Sent:
        return Sent()


class _Author:
    def workflow(self, args: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("not without a trigger")


def _twice(declare: Callable[[App], object]) -> Callable[[App], object]:
    def both(app: App) -> object:
        declare(app)
        return declare(app)

    return both


WRONG: dict[str, tuple[Callable[[App], object], type[Exception], str]] = {
    "channel twice": (
        _twice(lambda app: app.channel("sms")(send_sms)),
        InvalidInput,
        (
            "invalid_input: the channel sms is declared twice: by {m}.send_sms and by {m}.send_sms; "
            "for failover give each a provider= of its own"
        ),
    ),
    "channel of another name": (
        lambda app: app.channel("text")(Sms),
        InvalidInput,
        "invalid_input: Sms.name is 'sms', and it is declared as 'text'",
    ),
    "channel without a name": (
        lambda app: app.channel("sms")(_Nameless),  # type: ignore[type-var]
        InvalidInput,
        "invalid_input: _Nameless.name is None, and it is declared as 'sms'",
    ),
    "the inbox": (
        lambda app: app.channel("in_app"),
        InvalidInput,
        "invalid_input: no channel can be called in_app: in_app is the inbox, which the engine writes itself",
    ),
    "the log": (
        lambda app: app.channel("log"),
        InvalidInput,
        "invalid_input: no channel can be called log: log is built in; take another name for the channel",
    ),
    "decorator without its name": (
        lambda app: app.channel(send_sms),  # type: ignore[arg-type]
        InvalidInput,
        "invalid_input: channel is a value of the Python type function: give a text of 1 to 255 characters",
    ),
    "empty name": (
        lambda app: app.channel(""),
        InvalidInput,
        "invalid_input: channel is empty: give a text of 1 to 255 characters",
    ),
    "NUL in a name": (
        lambda app: app.render("m\0"),
        InvalidInput,
        "invalid_input: render_key holds the character NUL: 'm\\x00'; leave it out",
    ),
    "channel that is not async": (
        lambda app: app.channel("sms")(mention),  # type: ignore[type-var]
        TypeError,
        "{m}.mention is no channel: make it async def sms(message) -> Sent",
    ),
    "channel whose send is not async": (
        lambda app: app.channel("sms")(_Sync),  # type: ignore[type-var]
        TypeError,
        "_Sync is no channel: it has no async def send(self, message) -> Sent",
    ),
    "channel of two arguments": (
        lambda app: app.channel("sms")(_two),  # type: ignore[type-var]
        TypeError,
        "{m}._two must take one argument, the message",
    ),
    "class that wants arguments": (
        lambda app: app.channel("push")(Gateway),
        TypeError,
        '{m}.Gateway wants arguments: declare an object of it, app.channel("push")(Gateway(...))',
    ),
    "address said from outside": (
        lambda app: app.channel("sms", needs_address=True)(Sms),
        TypeError,
        "say it in the class: Sms.needs_address = True",
    ),
    "renderer twice": (
        _twice(lambda app: app.render("m", channel="email")(mention)),
        InvalidInput,
        "invalid_input: m on email is rendered twice: by {m}.mention and by {m}.mention",
    ),
    "async renderer": (
        lambda app: app.render("m")(_fetches),  # type: ignore[type-var]
        TypeError,
        (
            "{m}._fetches is async, and a message is rendered where nothing can be awaited: make it a "
            "plain function; what must be fetched belongs into the trigger's data"
        ),
    ),
    "renderer with an async call": (
        lambda app: app.render("m")(_AsyncCall()),  # type: ignore[type-var]
        TypeError,
        (
            "{m}._AsyncCall is async, and a message is rendered where nothing can be awaited: make it a "
            "plain function; what must be fetched belongs into the trigger's data"
        ),
    ),
    "renderer that yields": (
        lambda app: app.render("m")(_pieces),  # type: ignore[type-var]
        TypeError,
        "{m}._pieces yields: a renderer returns its message whole",
    ),
    "renderer that yields, async": (
        lambda app: app.render("m")(_yields),  # type: ignore[type-var]
        TypeError,
        "{m}._yields yields: a renderer returns its message whole",
    ),
    "renderer that is a class": (
        lambda app: app.render("m")(Content),  # type: ignore[type-var]
        TypeError,
        "chimeway.render.functions.Content is no renderer: give a function of one argument, the context",
    ),
    "renderer without arguments": (
        lambda app: app.render("m")(lambda: "x"),  # type: ignore[type-var]
        TypeError,
        "{m}.<lambda>.<locals>.<lambda> must take one argument, the context",
    ),
    "workflow twice": (
        lambda _: App(workflows=[WORKFLOW, WORKFLOW.as_dict() | {"critical": True}]),
        WorkflowDefinitionVersionConflict,
        (
            "workflow_definition_version_conflict: mention version 1 is declared twice, with different "
            "content: give the changed one a new version"
        ),
    ),
    "one workflow": (
        lambda _: App(workflows=WORKFLOW),  # type: ignore[arg-type]
        TypeError,
        "workflows: given Workflow, wanted a list of workflows",
    ),
    "one workflow as a dict": (
        lambda _: App(workflows=WORKFLOW.as_dict()),
        TypeError,
        "workflows: given dict, wanted a list of workflows",
    ),
    "workflow that is none": (
        lambda app: app.add("mention"),
        TypeError,
        (
            "str is no workflow; wanted a chimeway.Workflow, a dict in the definition format, a parsed "
            "Definition, or a class (or an instance of one) with a method workflow(self, args) that returns "
            "one of these"
        ),
    ),
    "workflow of a trigger's data": (
        lambda app: app.add(_Author),
        TypeError,
        (
            "{m}._Author writes its workflow of a trigger's data: give it to trigger, which registers "
            "what it writes"
        ),
    ),
}


async def _two(message: Message, more: int) -> Sent:
    return Sent()


@pytest.mark.parametrize(("declare", "kind", "text"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_refused_where_it_is_written(
    declare: Callable[[App], object], kind: type[Exception], text: str
) -> None:
    """Each mistake raises at its declaration, with a text that names what is at fault."""
    with pytest.raises(kind) as caught:
        declare(App())
    assert str(caught.value) == text.replace("{m}", __name__)


def test_a_faulty_workflow_names_its_faults() -> None:
    """A dict with faults is refused as `Workflow` refuses it."""
    with pytest.raises(InvalidDefinition):
        App(workflows=[{"key": "x", "version": 1, "steps": []}])


def test_declaring_imports_no_extra() -> None:
    """A module that declares can be imported where no extra is installed."""
    code = (
        "import sys\n"
        "from chimeway import App, Content, Message, Sent, Workflow, Notify, Wait\n"
        "app = App()\n"
        "app.render('m')(lambda context: Content('S', 'B'))\n"
        "app.declared\n"
        "print(sorted({'jinja2', 'typer', 'aiosmtplib', 'pydantic_settings'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""What a type checker says of declaring: decorators keep what they decorate. Read by mypy, not run."""

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

from chimeway import App, Chimeway, Content, Message, RenderContext, Sent, Workflow

app = App(workflows=[])


@app.channel("sms")
async def send_sms(message: Message) -> Sent:
    """Send, and say by which reference."""
    return Sent(message.address)


@app.channel("push", needs_address=False)
async def send_push(message: Message) -> None:
    """Send, and say nothing."""


@app.channel("letter")
class Letters:
    """A channel as a class."""

    name = "letter"

    async def send(self, message: Message) -> Sent:
        """Send."""
        return Sent()


@app.render("mention", channel="email")
def mention(context: RenderContext) -> Content:
    """Make a message of typed parts."""
    assert_type(context.recipient.locale, str | None)
    assert_type(context.run.version, int)
    assert_type(context.data["title"], Any)
    return Content(subject="S", body=f"<p>{context.step.id}</p>")


@app.render("mention")
def mention_anywhere(context: RenderContext) -> str:
    """Make a body."""
    return context.tenant


decorated: Callable[[Message], Awaitable[Sent]] = send_sms
rendered: Content = mention(RenderContext.__new__(RenderContext))
assert_type(Letters().name, str)


@app.channel("voice")  # type: ignore[type-var]  # a send is awaited
def send_at_once(message: Message) -> Sent:
    """Send, without awaiting."""
    return Sent()


@app.render("mention", channel="sms")  # type: ignore[type-var]  # nothing is awaited where it is rendered
async def render_later(context: RenderContext) -> str:
    """Make a message some time."""
    return "x"


@app.render("mention", channel="push")  # type: ignore[type-var]  # bytes are no message
def render_bytes(context: RenderContext) -> bytes:
    """Make bytes."""
    return b"x"


async def inside(workflow: Workflow) -> None:
    """The block gives an open client."""
    app.add(workflow)
    async with app.running("postgresql://db/app", smtp_url="smtp://localhost") as chimeway:
        assert_type(chimeway, Chimeway)
    async with app.running():
        pass

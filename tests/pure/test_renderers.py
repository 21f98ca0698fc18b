"""Functions that make messages, beside templates: what they may return, and what is a fault."""

from collections.abc import Callable
from typing import Any

import pytest

from chimeway import Content, RenderContext
from chimeway.limits import MESSAGE_BYTES
from chimeway.render.functions import Renderer
from chimeway.render.message import Rendered, RenderFault, RenderRecipient, RenderRun, RenderStep
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates

CONTEXT = RenderContext(
    data={"title": "Plan", "tags": ["a"]},
    recipient=RenderRecipient("ada", "en", "Europe/London", {"email": "ada@example.org"}, {"name": "Ada"}),
    tenant="org_456",
    run=RenderRun("r1", "mention", 1),
    step=RenderStep("s1"),
)
TEMPLATE = "{% block subject %}T{% endblock %}{% block body %}template {{ title }}{% endblock %}"


def made(returned: object, channel: str = "email") -> Rendered | RenderFault:
    """Render by a function that returns this."""
    return by(lambda _context: returned, channel)


def by(function: Callable[[RenderContext], Any], channel: str = "email") -> Rendered | RenderFault:
    """Render by this function."""
    return Renderers({("k", None): function}).render("k", channel, CONTEXT)


def test_content_is_what_templates_give() -> None:
    """A subject is one line, an e-mail gets a plain alternative, other channels need no subject."""
    content = Content(subject="A \n mention", body="<p>Plan</p>")
    assert made(content) == Rendered("A mention", "<p>Plan</p>", "Plan")
    assert made(Content("S", "<p>B</p>", "own text")) == Rendered("S", "<p>B</p>", "own text")
    assert made({"subject": "S", "body": "B"}, "in_app") == Rendered("S", "B", None)
    assert made("Hello", "sms") == Rendered("", "Hello", None)


def test_a_function_sees_the_context() -> None:
    """Data, recipient, tenant, run and step have names and types."""
    told = by(
        lambda c: f"{c.data['title']} {c.recipient.data['name']} {c.tenant} {c.run.workflow} {c.step.id}",
        "sms",
    )
    assert told == Rendered("", "Plan Ada org_456 mention s1", None)


def test_what_a_function_does_to_the_context_stays_with_it() -> None:
    """The data of a run cannot be changed by rendering it."""

    def meddle(context: RenderContext) -> str:
        context.data["tags"].append("b")
        return "x"

    by(meddle, "sms")
    assert CONTEXT.data == {"title": "Plan", "tags": ["a"]}


def _raises(_context: RenderContext) -> str:
    raise KeyError("a secret of the data")


async def _async(_context: RenderContext) -> str:
    return "x"


FAULTS: dict[str, tuple[Callable[[RenderContext], Any], str]] = {
    "raises": (_raises, "the renderer _raises of k: KeyError in test_renderers.py line {line}"),
    "no subject": (lambda _: "B", "the renderer {f} of k has no subject"),
    "nothing": (
        lambda _: None,
        (
            "the renderer {f} of k returned NoneType: give a text, a Content, or a dict with subject, "
            "body and text"
        ),
    ),
    "bytes": (
        lambda _: b"B",
        "the renderer {f} of k returned bytes: give a text, a Content, or a dict with subject, body and text",
    ),
    "unknown name": (
        lambda _: {"subject": "S", "html": "B"},
        "the renderer {f} of k returned a dict with 'html': its names are subject, body and text",
    ),
    "no body": (lambda _: {"subject": "S"}, "the renderer {f} of k returned a dict without body"),
    "wrong part": (
        lambda _: {"subject": 7, "body": "B"},
        "the renderer {f} of k returned int as subject: give a text",
    ),
    "wrong part of a Content": (
        lambda _: Content(subject="S", body=None),  # type: ignore[arg-type]
        "the renderer {f} of k returned NoneType as body: give a text",
    ),
    "coroutine": (
        _async,
        (
            "the renderer {f} of k returned a coroutine: it must be a plain function, since nothing can be "
            "awaited here"
        ),
    ),
    "NUL": (lambda _: Content("S", "B\0"), "the renderer {f} of k gives a NUL character"),
    "lone surrogate": (lambda _: Content("S", "\ud800"), "the renderer {f} of k: UnicodeEncodeError"),
    "too much": (
        lambda _: Content("S", "x" * (MESSAGE_BYTES + 1)),
        f"the renderer {{f}} of k gives more than {MESSAGE_BYTES} bytes",
    ),
    "endless recursion": (lambda _: _deeper(), "the renderer {f} of k: RecursionError"),
}


def _deeper() -> str:
    return _deeper()


@pytest.mark.parametrize(("function", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_a_value_without_values(function: Renderer, reason: str) -> None:
    """Whatever goes wrong in a function is a fault that names it, with nothing of the data in it."""
    fault = by(function)
    assert isinstance(fault, RenderFault)
    line = str(_raises.__code__.co_firstlineno + 1)
    expected = reason.replace("{f}", function.__qualname__).replace("{line}", line)
    assert fault.reason.startswith(expected)
    assert "secret" not in fault.reason


def test_the_most_particular_wins() -> None:
    """A function of key and channel, then a template, then a function of the key, then the fallback."""
    templates = Templates({"k.in_app.j2": TEMPLATE, "k.email.j2": TEMPLATE, "only.sms.j2": TEMPLATE})
    renderers = Renderers(
        {
            ("k", "email"): lambda _: Content("S", "function of k and email"),
            ("k", None): lambda _: "function of k",
        },
        templates,
        lambda c: Content("S", f"fallback on {c.step.id}"),
    )

    def body(key: str, channel: str) -> str:
        rendered = renderers.render(key, channel, CONTEXT)
        assert isinstance(rendered, Rendered)
        return rendered.body

    assert body("k", "email") == "function of k and email"
    assert body("k", "in_app") == "template Plan"
    assert body("k", "sms") == "function of k"
    assert body("other", "sms") == "fallback on s1"
    assert renderers.shadowed() == ["k.email.j2"]


def test_neither_template_nor_renderer() -> None:
    """Where nothing is there for a message, the fault says what could be."""
    fault = Renderers().render("k", "email", CONTEXT)
    assert fault == RenderFault("there is no template k.email.j2, and no renderer of k")

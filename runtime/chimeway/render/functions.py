"""Messages made by functions of the application, where a template would be made to program.

A renderer takes a `RenderContext` and returns the message: a text (the body), a `Content`, or a dict
with its names. It is a plain function: an in_app message is rendered inside the decision that plans
it, which may be made again when the rows have moved on, and between its steps nothing else runs. So
it must be quick, and must do nothing but make the message: no calls, no clock, no chance.

What it raises or returns in error is a fault of configuration, as a template's is: it ends the
delivery and no more. In e-mail the body is HTML as it stands: the function escapes what it puts there.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeAlias

from chimeway.render.message import RenderContext, Rendered, RenderFault, finished


@dataclass(frozen=True, slots=True)
class Content:
    """What a renderer makes: the parts of a message."""

    subject: str | None = None
    """One line; e-mail and in_app must have one."""
    body: str = ""
    """HTML for e-mail."""
    text: str | None = None
    """The plain alternative to an HTML body; left out, it is made of the body."""


Renderer: TypeAlias = Callable[[RenderContext], Content | str | Mapping[str, Any]]
"""What `@app.render` takes."""
RendererKey: TypeAlias = tuple[str, str | None]
"""Render key and channel; None: every channel for which nothing of its own is there."""
NO_FUNCTIONS: Final[Mapping[RendererKey, Renderer]] = MappingProxyType({})

_PARTS: Final = {"subject": (str, type(None)), "body": (str,), "text": (str, type(None))}


def rendered_by(
    renderer: Renderer, render_key: str, channel: str, context: RenderContext
) -> Rendered | RenderFault:
    """Have a function make a message; whatever goes wrong in it is a fault."""
    name = f"the renderer {getattr(renderer, '__qualname__', type(renderer).__name__)} of {render_key}"
    try:
        content = _content(renderer(context.copied()))
        if isinstance(content, str):
            return RenderFault(f"{name} {content}")
        return finished(name, channel, content.subject, content.body, content.text)
    except Exception as error:  # noqa: BLE001  (a function may raise anything that Python can)
        # The kind alone: texts of errors quote values.
        return RenderFault(f"{name}: {type(error).__name__}{_place(renderer, error.__traceback__)}")


def _content(made: object) -> Content | str:
    """Return what a function made, or what is wrong with it."""
    if isinstance(made, str):
        return Content(body=made)
    if isinstance(made, Content):
        made = {"subject": made.subject, "body": made.body, "text": made.text}
    if inspect.iscoroutine(made):
        made.close()  # nobody will await it, and Python would warn of that somewhere else
        return "returned a coroutine: it must be a plain function, since nothing can be awaited here"
    if not isinstance(made, Mapping):
        return (
            f"returned {type(made).__name__}: give a text, a Content, or a dict with subject, body and text"
        )
    for part, value in made.items():
        if part not in _PARTS:
            return f"returned a dict with {part!r}: its names are subject, body and text"
        if not isinstance(value, _PARTS[part]):
            return f"returned {type(value).__name__} as {part}: give a text"
    if "body" not in made:
        return "returned a dict without body"
    return Content(**made)


def _place(renderer: Renderer, trace: TracebackType | None) -> str:
    """Return the line of the function's own file that the error went through last."""
    code = getattr(renderer, "__code__", None)
    line = None
    while trace is not None:
        if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None or code is None else f" in {code.co_filename.rpartition('/')[2]} line {line}"

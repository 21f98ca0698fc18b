"""From a template and data to a message, or to the reason why there is none.

Pure: template sources are given, no file is read; the same sources and names give the same message.
A template's fault is a value, never an exception, so it can end a delivery and nothing more.

A template is called `<render_key>.<channel>.j2` and has the blocks `subject`, `body` (HTML for
e-mail) and, if it likes, `text`. Any other name among the sources can be included, imported or
extended. In e-mail whatever fills the body is escaped as HTML; subjects and texts are plain, as is
everything on other channels: who shows an in-app item as HTML escapes it there. Blocks are trimmed,
a subject is one line, and null prints as nothing. What is not defined is a fault, not a blank.

Templates are the operator's own: the sandbox and the bounds here (turns of loops, calls, size) stop
an accident, such as a loop over a loop over a range, and templates that reach for Python; they do
not make templates of strangers safe to run.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from jinja2 import DictLoader, StrictUndefined, TemplateError, TemplateNotFound, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment

from chimeway.limits import MESSAGE_BYTES
from chimeway.render.message import WITH_SUBJECT, Rendered, RenderFault, finished


class Templates:
    """Compiled templates; compile once, render often."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Take sources by name. Faults in them are found when they are rendered, or by `faults`."""
        self._names = frozenset(sources)
        self._plain = _Sandbox(sources, autoescape=False)
        self._html = _Sandbox(sources, autoescape=True)

    def has(self, render_key: str, channel: str) -> bool:
        """Say whether there is a template for this message."""
        return _template_name(render_key, channel) in self._names

    def faults(self) -> list[RenderFault]:
        """List what can be seen without data: templates that are not well-formed."""
        found = []
        for name in sorted(self._names):
            try:
                self._plain.get_template(name)
            except TemplateError as error:
                found.append(RenderFault(_reason(name, error)))
        return found

    def render(self, render_key: str, channel: str, context: Mapping[str, Any]) -> Rendered | RenderFault:
        """Render one message; see `RenderContext.names` for what the context should hold."""
        name = _template_name(render_key, channel)
        if name not in self._names:
            return RenderFault(f"there is no template {name}")
        try:
            return self._render(name, channel, context)
        except Exception as error:  # noqa: BLE001  (a template may raise anything that Python can)
            return RenderFault(_reason(name, error))

    def _render(self, name: str, channel: str, context: Mapping[str, Any]) -> Rendered | RenderFault:
        """Render the blocks, each as what it is: HTML or plain."""
        plain = _Blocks(self._plain, name, context)
        marked_up = _Blocks(self._html, name, context) if channel == "email" else plain
        body = marked_up.text_of("body")
        subject = plain.text_of("subject")
        if body is None:
            return RenderFault(f"{name} has no block body")
        if subject is None and channel in WITH_SUBJECT:
            return RenderFault(f"{name} has no block subject")
        return finished(name, channel, subject, body, plain.text_of("text"))


class _Blocks:
    """One template, run once: what its blocks give."""

    def __init__(self, sandbox: "_Sandbox", name: str, names: Mapping[str, Any]) -> None:
        template = sandbox.get_template(name)
        self._context: Context = template.new_context(dict(names))
        # The root is run for what it does, not for what it writes: it resolves `extends` and makes
        # the template's own imports and `set`s known to its blocks.
        _joined(template.root_render_func(self._context))

    def text_of(self, block: str) -> str | None:
        """Render a block, the most derived one; None when there is none of this name."""
        found = self._context.blocks.get(block)
        return _joined(found[0](self._context)).strip() if found else None


_spent: ContextVar[list[int]] = ContextVar("_spent")
"""Turns and calls of the part that is being rendered, in a cell of one."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 without ways out, without chance, and with an end."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, sources: Mapping[str, str], *, autoescape: bool) -> None:
        super().__init__(
            loader=DictLoader(sources),
            autoescape=autoescape,
            undefined=StrictUndefined,
            finalize=_nothing_for_null,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.globals["range"] = self.bounded_range
        del self.globals["lipsum"]  # chance: the same data must give the same message
        del self.filters["random"]

    def turn(self) -> bool:
        """Stand for one turn of a loop: `call` counts it."""
        return True

    def bounded_range(self, *args: int) -> range:
        """Count all of a range at once: filters run through it without turns."""
        numbers = range(*args)
        _spend(len(numbers))
        return numbers

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something from a template, as long as there is budget."""
        _spend(1)
        return super().call(context, called, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply and raise to powers, but not into something that fills the memory."""
        if operator == "**" and not (abs(left) <= MAX_RANGE and abs(right) <= 32):
            raise SecurityError("a power is too large")
        if operator == "*" and _repeated(left, right) > MESSAGE_BYTES:
            raise SecurityError("a repetition is too long")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Make each loop count its turns."""
        template = super()._parse(source, name, filename)
        for loop in list(template.find_all(nodes.For)):
            turn = nodes.Call(nodes.EnvironmentAttribute("turn"), [], [], None, None)
            turn.set_lineno(loop.lineno).set_environment(self)
            loop.body.insert(0, nodes.ExprStmt(turn, lineno=loop.lineno))
            if loop.test is not None:
                loop.test = nodes.And(turn, loop.test, lineno=loop.lineno)
        return template


def _template_name(render_key: str, channel: str) -> str:
    return f"{render_key}.{channel}.j2"


def _nothing_for_null(value: Any) -> Any:
    return "" if value is None else value


def _spend(turns: int) -> None:
    """Count against the sandbox's own bound for one range, here for all of a part."""
    cell = _spent.get(None)
    if cell is None:  # a constant folded at compile time
        return
    cell[0] += turns
    if cell[0] > MAX_RANGE:
        raise SecurityError(f"more than {MAX_RANGE} turns of loops and calls")


def _repeated(left: Any, right: Any) -> int:
    """Return how long `left * right` would be, when one of them is a text or a list."""
    if isinstance(left, int) and isinstance(right, str | list | tuple):
        return left * len(right)
    if isinstance(right, int) and isinstance(left, str | list | tuple):
        return right * len(left)
    return 0


def _joined(pieces: Iterable[str]) -> str:
    """Join what a template yields, and stop where it is too much for any message."""

    def bounded() -> Iterator[str]:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > MESSAGE_BYTES:
                raise SecurityError(f"more than {MESSAGE_BYTES} bytes")
            yield piece

    spent = _spent.set([0])
    try:
        return "".join(bounded())
    finally:
        _spent.reset(spent)


def _reason(name: str, error: Exception) -> str:
    """Say where and what; of Python's own errors the kind alone, for their texts quote values."""
    if isinstance(error, TemplateNotFound):
        return f"{name} needs {error.name}, which is not there"
    if isinstance(error, TemplateSyntaxError):
        return f"{error.name or name} line {error.lineno}: {error.message}"
    said = (error.message or "") if isinstance(error, TemplateError) else type(error).__name__
    return f"{_place(error.__traceback__) or name}: {said or type(error).__name__}"


def _place(trace: TracebackType | None) -> str | None:
    """Return template and line of the innermost template code that the error went through."""
    place = None
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            place = f"{template.name} line {template.get_corresponding_lineno(trace.tb_lineno)}"
        trace = trace.tb_next
    return place

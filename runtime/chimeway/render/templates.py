"""From a template and data to a message, or to the reason why there is none.

Pure: template sources are given, no file is read; the same sources and names give the same message.
A template's fault is a value, never an exception, so it can end a delivery and nothing more.

A template is called `<render_key>.<channel>.j2`, for readers of one locale `<render_key>.<channel>.de.j2`,
and has the blocks `subject`, `body` (HTML for e-mail) and, if it likes, `text`. Any other name among the
sources can be included, imported or extended, and may have variants by locale in the same way. In e-mail
whatever fills the body is escaped as HTML, in layouts and partials too; subjects and texts are plain, as is
everything on other channels: who shows an in-app item as HTML escapes it there. Blocks are trimmed,
a subject is one line, and null prints as nothing. What is not defined is a fault, not a blank.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Final

from jinja2 import TemplateError, TemplateNotFound, UndefinedError
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context

from chimeway.limits import MESSAGE_BYTES
from chimeway.render.bounds import Budget, budget
from chimeway.render.locales import SUFFIX, Tags, Variants, tags_of
from chimeway.render.message import WITH_SUBJECT, Rendered, RenderFault, finished
from chimeway.render.sandbox import Sandbox

UNSUBSCRIBE_PAGE: Final = "unsubscribe.html.j2"
"""What people see who follow a link to unsubscribe: a page, which no step sends."""
_KEY: Final = re.compile(r"""( has no (?:attribute|element) )(["'])(.*)\2$""", re.DOTALL)
_ENDLESS: Final = "templates or macros nest too deep: does one come to itself again?"


class Templates:
    """Compiled templates; compile once, render often."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Take sources by name. Faults in them are found when they are rendered, or by `faults`."""
        self.sources: Final = dict(sources)
        self.variants: Final = Variants(self.sources)
        self.plain: Final = Sandbox(self.sources, self.variants, autoescape=False)
        self._html = Sandbox(self.sources, self.variants, autoescape=True)

    def name_for(self, render_key: str, channel: str, locale: object = None) -> str | None:
        """Return the template of this message for a reader of this locale; None where there is none."""
        return self.variants.find(template_name(render_key, channel), tags_of(locale))

    def has(self, render_key: str, channel: str, locale: object = None) -> bool:
        """Say whether there is a template for this message and this reader."""
        return self.name_for(render_key, channel, locale) is not None

    def faults(self) -> list[RenderFault]:
        """List what can be seen without data: templates that are not well-formed."""
        found = ((name, self.malformed(name)) for name in sorted(self.sources))
        return [
            RenderFault(f"{name}{'' if fault[0] is None else f' line {fault[0]}'}: {fault[1]}")
            for name, fault in found
            if fault is not None
        ]

    def malformed(self, name: str) -> tuple[int | None, str] | None:
        """Return the line (where it is known) and the reason why a template is not well-formed, or None."""
        try:
            self.plain.get_template(name)
        except TemplateSyntaxError as error:
            return error.lineno, error.message or "it is not well-formed"
        except RecursionError:
            return None, _ENDLESS
        except Exception as error:  # noqa: BLE001  (what Python's own compiler says of the code, too)
            return None, f"it cannot be compiled ({type(error).__name__}): it may nest too deep"
        return None

    def render(
        self, render_key: str, channel: str, context: Mapping[str, Any], locale: object = None
    ) -> Rendered | RenderFault:
        """Render one message for a reader of this locale.

        See `RenderContext.names` for what the context should hold.
        """
        plain, tags = template_name(render_key, channel), tags_of(locale)
        name = self.variants.find(plain, tags)
        if name is None:
            return RenderFault(f"there is no template {plain}{self._others(plain)}")
        try:
            made = self._render(name, channel, context, tags)
            if isinstance(made, RenderFault) or name == plain:
                return made
            return replace(made, locale=self.variants.locale_of(name))
        except Exception as error:  # noqa: BLE001  (a template may raise anything that Python can)
            return RenderFault(self._reason(name, error))

    def page(self, name: str, context: Mapping[str, Any], locale: object = None) -> str | RenderFault | None:
        """Render a whole template as HTML, where what fills it is escaped.

        Args:
            name: such as `unsubscribe.html.j2`; a variant for the reader's locale goes before it.
            context: the names in it.
            locale: of the reader.

        Returns:
            the page; None: there is no such template.
        """
        tags = tags_of(locale)
        found = self.variants.find(name, tags)
        if found is None:
            return None
        part = Budget(tags)
        spent = budget.set(part)
        try:
            template = self._html.get_template(found)
            names = {**self.plain.globals, **context}
            part.root = Context(self._html, names, found, template.blocks, self._html.globals)
            return _joined(template.root_render_func(part.root))
        except Exception as error:  # noqa: BLE001  (a template may raise anything that Python can)
            return RenderFault(self._reason(found, error))
        finally:
            budget.reset(spent)

    def _render(
        self, name: str, channel: str, context: Mapping[str, Any], tags: Tags
    ) -> Rendered | RenderFault:
        """Render the blocks, each as what it is: HTML or plain."""
        marked_up = self._html if channel == "email" else self.plain
        context = {**self.plain.globals, **context}
        body, there = _part(marked_up, name, "body", context, tags)
        if body is None:
            return RenderFault(f"{name} has no block body")
        subject = _part(self.plain, name, "subject", context, tags)[0] if "subject" in there else None
        text = _part(self.plain, name, "text", context, tags)[0] if "text" in there else None
        if subject is None and channel in WITH_SUBJECT:
            return RenderFault(f"{name} has no block subject")
        return finished(name, channel, subject, body, text)

    def _others(self, plain: str) -> str:
        """Say for whom there is a template, where there is none for everybody."""
        names = ", ".join(self.variants.of(plain).values())
        return f" (only {names}, for readers of these locales)" if names else ""

    def _reason(self, name: str, error: Exception) -> str:
        """Say where and what; of Python's own errors the kind alone, for their texts quote values."""
        if isinstance(error, TemplateNotFound):
            place = _place(error.__traceback__) or name
            return f"{place}: needs {self._unless_data(str(error.name))}, which is not there"
        if isinstance(error, TemplateSyntaxError):
            return f"{error.name or name} line {error.lineno}: {error.message}"
        place = _place(error.__traceback__) or name
        if isinstance(error, RecursionError):
            return f"{place}: {_ENDLESS}"
        said = (error.message or "") if isinstance(error, TemplateError) else type(error).__name__
        if isinstance(error, UndefinedError):
            said = _KEY.sub(lambda found: f"{found[1]}'{self._unless_data(found[3])}'", said)
        return f"{place}: {said or type(error).__name__}"

    def _unless_data(self, word: str) -> str:
        """Return a name that stands in some template; one that was made of data is not quoted."""
        known = any(word in source for source in self.sources.values())
        return word if known else "(a name made of data)"


def _part(
    sandbox: Sandbox, name: str, block: str, names: dict[str, Any], tags: Tags
) -> tuple[str | None, Container[str]]:
    """Render a block, the most derived one, as if there were no other; say which blocks there are.

    The text is None when there is no such block.
    """
    part = Budget(tags)
    spent = budget.set(part)
    try:
        template = sandbox.get_template(name)
        is_idle = name in sandbox.idle
        # Made here, for `new_context` would copy all the names once more, in each of the parts.
        part.root = Context(sandbox, names, name, template.blocks, sandbox.globals)
        # The root is run for what it does, not for what it writes: it resolves `extends` and makes
        # the template's own imports and `set`s known to its blocks.
        if not is_idle:
            _joined(template.root_render_func(part.root))
        there = part.root.blocks
        found = there.get(block)
        if not found:
            return None, there
        if len(found) == 1 and (found[0].__globals__.get("name"), block) in sandbox.required:
            return None, there
        return _joined(found[0](part.root)).strip(), there
    finally:
        budget.reset(spent)


def template_name(render_key: str, channel: str) -> str:
    """Return the name of the template of a message for readers of any locale."""
    return f"{render_key}.{channel}{SUFFIX}"


def _joined(pieces: Iterable[str]) -> str:
    """Join what a template yields, and stop where it is too much for any message."""
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > MESSAGE_BYTES:
            raise SecurityError(f"more than {MESSAGE_BYTES} bytes")
        found.append(piece)
    return "".join(found)


def _place(trace: TracebackType | None) -> str | None:
    """Return template and line of the innermost template code that the error went through."""
    place = None
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            place = f"{template.name} line {template.get_corresponding_lineno(trace.tb_lineno)}"
        trace = trace.tb_next
    return place

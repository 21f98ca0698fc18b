"""Which source makes which message: functions of the application, templates, or neither."""

from collections.abc import Mapping
from typing import Final

from chimeway.render.functions import NO_FUNCTIONS, Renderer, RendererKey, rendered_by
from chimeway.render.message import RenderContext, Rendered, RenderFault
from chimeway.render.templates import Templates


class Renderers:
    """All that messages are made by. The most particular wins, and the program before the folder:

    a function for this key and channel, a template, a function for this key, the fallback.
    """

    def __init__(
        self,
        functions: Mapping[RendererKey, Renderer] = NO_FUNCTIONS,
        templates: Templates | None = None,
        fallback: Renderer | None = None,
    ) -> None:
        """Take functions by key and channel, templates, and what stands in where nothing is there."""
        self.functions: Final = dict(functions)
        self.templates: Final = templates or Templates({})
        self._fallback = fallback

    def shadowed(self) -> list[str]:
        """Name the templates that are never used, since a function is there for the same message."""
        return sorted(
            f"{key}.{channel}.j2"
            for key, channel in self.functions
            if channel is not None and self.templates.has(key, channel)
        )

    def render(self, render_key: str, channel: str, context: RenderContext) -> Rendered | RenderFault:
        """Render one message."""
        locale = context.recipient.locale
        function = self.functions.get((render_key, channel))
        if function is None and self.templates.has(render_key, channel, locale):
            return self.templates.render(render_key, channel, context.names(), locale)
        function = function or self.functions.get((render_key, None)) or self._fallback
        if function is not None:
            return rendered_by(function, render_key, channel, context)
        missing = self.templates.render(render_key, channel, {}, locale)
        if isinstance(missing, Rendered):
            raise AssertionError("a template that is not there was rendered")
        return RenderFault(f"{missing.reason}, and no renderer of {render_key}")

    def source(self, render_key: str, channel: str, locale: object) -> str | None:
        """Name what makes this message for a reader of this locale: a template, or a function."""
        function = self.functions.get((render_key, channel))
        if function is None and (name := self.templates.name_for(render_key, channel, locale)):
            return name
        function = function or self.functions.get((render_key, None)) or self._fallback
        return None if function is None else getattr(function, "__qualname__", type(function).__name__)

"""Which source makes which message: functions of the application, templates, or neither."""

from collections.abc import Mapping

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
        self._functions = dict(functions)
        self._templates = templates or Templates({})
        self._fallback = fallback

    def shadowed(self) -> list[str]:
        """Name the templates that are never used, since a function is there for the same message."""
        return sorted(
            f"{key}.{channel}.j2"
            for key, channel in self._functions
            if channel is not None and self._templates.has(key, channel)
        )

    def render(self, render_key: str, channel: str, context: RenderContext) -> Rendered | RenderFault:
        """Render one message."""
        function = self._functions.get((render_key, channel))
        if function is None and self._templates.has(render_key, channel):
            return self._templates.render(render_key, channel, context.names())
        function = function or self._functions.get((render_key, None)) or self._fallback
        if function is None:
            return RenderFault(
                f"there is no template {render_key}.{channel}.j2, and no renderer of {render_key}"
            )
        return rendered_by(function, render_key, channel, context)

"""What messages are made of in a test: its templates and renderers, and a placeholder where there is none."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TypeAlias

from chimeway.daemon.template_folder import read_sources
from chimeway.errors import InvalidInput, InvalidSettings
from chimeway.render.functions import Renderer, RendererKey
from chimeway.render.message import RenderContext, Rendered, RenderFault
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates, template_name

TemplateSource: TypeAlias = str | Path | Mapping[str, str]
"""A folder, or texts by the names that their files would have, such as `mention_email.email.j2`."""


class Lenient(Renderers):
    """Renders a placeholder where there is nothing.

    What a node could not make is a fault here, too: a faulty template, or one for other locales only.
    """

    def __init__(self, functions: Mapping[RendererKey, Renderer], templates: Templates) -> None:
        """Take what there is."""
        super().__init__(functions, templates)
        self._keys = frozenset(functions)

    def render(self, render_key: str, channel: str, context: RenderContext) -> Rendered | RenderFault:
        """Render one message."""
        functions = {(render_key, channel), (render_key, None)} & self._keys
        name, variants = template_name(render_key, channel), self.templates.variants
        if functions or name in variants.names or variants.of(name):
            return super().render(render_key, channel, context)
        return _placeholder(render_key, channel, context)


def renderers_of(
    functions: Mapping[RendererKey, Renderer], source: TemplateSource | None, *, strict: bool
) -> Renderers:
    """Return what renders a harness's messages.

    Raises:
        InvalidInput: `source` is no such thing, or no such folder.
    """
    templates = Templates(_sources(source))
    return Renderers(functions, templates) if strict else Lenient(functions, templates)


def _placeholder(render_key: str, channel: str, context: RenderContext) -> Rendered:
    """Return the render key as subject; as body, who it is for and the data."""
    text = f"{render_key} for {context.recipient.id}: {json.dumps(dict(context.data), ensure_ascii=False)}"
    return Rendered(render_key, escape(text, quote=False) if channel == "email" else text, text)


def _sources(source: object) -> dict[str, str]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return {str(name): str(text) for name, text in source.items()}
    if not isinstance(source, str | Path):
        kind = type(source).__name__
        hint = "give a folder, or a mapping of names to texts"
        raise InvalidInput(f"templates is a {kind}: {hint}", field="templates")
    folder = Path(source)
    if not folder.is_dir():
        raise InvalidInput(f"templates: there is no folder {folder.absolute()}", field="templates")
    try:
        return read_sources(folder)
    except InvalidSettings as fault:
        raise InvalidInput(f"templates: {fault.message}", field="templates") from None

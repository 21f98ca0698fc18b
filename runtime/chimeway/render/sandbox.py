"""Jinja2 as templates of ours have it: no way out, no chance, an end, and parts by locale. Pure.

Templates are the operator's own: the sandbox and the bounds here stop an accident, such as a loop over
a loop over a range, and templates that reach for Python; they do not make templates of strangers safe
to run.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from jinja2 import (
    DictLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    TemplateRuntimeError,
    Undefined,
    nodes,
)
from jinja2.environment import TemplateModule
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler

from chimeway.render import bounds
from chimeway.render.filters import FILTERS
from chimeway.render.locales import Variants

_LOCKED: Final = frozenset({"encode", "to_bytes", "maketrans", "translate", "expandtabs"})
"""Methods that no message needs, and that make large things of small ones."""


class _Unshared(Template):
    """A template whose imports begin anew in each message.

    Jinja2 keeps one module of an imported template for all renders: what a macro counts in a `namespace`
    would go from one reader's message into the next one's.
    """

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        keys = () if ctx is None else ctx.globals_keys - self.globals.keys()
        return self.make_module({} if ctx is None else {key: ctx.parent[key] for key in keys})


class Sandbox(ImmutableSandboxedEnvironment):
    """Compiles templates, and counts what they do."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    template_class = _Unshared

    def __init__(self, sources: Mapping[str, str], variants: Variants, *, autoescape: bool) -> None:
        """Take all sources by name."""
        super().__init__(
            loader=DictLoader(sources),
            autoescape=autoescape,
            undefined=StrictUndefined,
            finalize=_printed,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._sources = sources
        self._variants = variants
        self.required: Final[set[tuple[str | None, str]]] = set()
        """Template and name of the blocks that whoever extends it must fill."""
        self.idle: Final[set[str | None]] = set()
        """Templates that do nothing outside their blocks: of most small ones only blocks need be run."""
        self.globals["range"] = self.bounded_range
        del self.globals["lipsum"]  # chance: the same data must give the same message
        del self.filters["random"]
        for name, function in (*self.filters.items(), *FILTERS.items()):
            self.filters[name] = bounds.bounded(name, function)

    def join_path(self, template: str, parent: str) -> str:
        """Return the variant of a part for the reader's locale."""
        left = bounds.budget.get()
        return self._variants.find(template, left.tags if left else (), parent) or template

    def turn(self, characters: int) -> bool:
        """Stand for one turn of a loop with so much text of its own."""
        bounds.spend(1, characters)
        return True

    @property
    def root(self) -> Context | None:
        """Return what the template of the part that is being made runs in, and not its includes."""
        part = bounds.budget.get()
        return None if part is None else part.root

    def weighed(self, made: Any) -> Any:
        """Count a value that an expression made."""
        return bounds.weighed(made)

    def bounded_range(self, *args: int) -> range:
        """Count all of a range at once: filters run through it without turns."""
        numbers = range(*args)
        bounds.spend(len(numbers))
        return numbers

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Keep a few more methods out of reach than Jinja2 does."""
        return attr not in _LOCKED and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Let a text be formatted, but not to any width."""
        made = super().wrap_str_format(value)
        if made is not None:
            bounds.checked_braces(value)
        return made

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something from a template, as long as there is budget."""
        bounds.spend(1)
        bounds.checked_call(called, args)
        return bounds.weighed(super().call(context, called, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, but nothing that fills the memory."""
        match operator:
            case "**":
                bounds.checked_power(left, right)
            case "*":
                bounds.checked_product(left, right)
            case "%":
                bounds.checked_percent(left)
        return bounds.weighed(super().call_binop(context, operator, left, right))

    def tree(self, name: str) -> nodes.Template:
        """Return what a template was parsed to, as it is written.

        Raises:
            TemplateError: it is not well-formed.
        """
        return super()._parse(self._sources[name], name, None)

    def _load_template(self, name: str, globals: MutableMapping[str, Any] | None) -> Template:  # noqa: A002
        """Count a part by the length of its source: an include in a loop is text, too."""
        source = self._sources.get(name)
        if source is None:
            raise TemplateNotFound(name)
        bounds.spend(1, len(source))
        return super()._load_template(name, globals)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Make each loop count its turns, and each thing that is made of others be weighed."""
        template = super()._parse(source, name, filename)
        if all(map(_is_idle, template.body)):
            self.idle.add(name)
        for loop in list(template.find_all(nodes.For)):
            length = nodes.Const(sum(len(text.data) for text in loop.find_all(nodes.TemplateData)))
            turn = self.asked("turn", length, loop.lineno)
            loop.body.insert(0, nodes.ExprStmt(turn, lineno=loop.lineno))
            if loop.test is not None:
                loop.test = nodes.And(turn, loop.test, lineno=loop.lineno)
        _weigh(self, template)
        _ask_for_blocks(self, template)
        self.required.update((name, one.name) for one in template.find_all(nodes.Block) if one.required)
        return template

    def asked(self, method: str, of: nodes.Expr, line: int) -> nodes.Call:
        """Return the call of a method of ours."""
        call = nodes.Call(nodes.EnvironmentAttribute(method), [of], [], None, None)
        call.set_lineno(line).set_environment(self)
        return call


def _weigh(sandbox: Sandbox, node: nodes.Node) -> None:
    """Put a count around each `~`, and each list or object that holds more than constants."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            for place, one in enumerate(value):
                if isinstance(one, nodes.Node):
                    _weigh(sandbox, one)
                    value[place] = _counted(sandbox, node, one)
        elif isinstance(value, nodes.Node):
            _weigh(sandbox, value)
            setattr(node, field, _counted(sandbox, node, value))


def _ask_for_blocks(sandbox: Sandbox, node: nodes.Node) -> None:
    """Let no block be written where it stands in a message's template: each is asked for, once.

    What a block counts in a `namespace` of its template would else be counted twice. In includes they stand.
    """
    for _, value in node.iter_fields():
        for place, one in enumerate(value if isinstance(value, list) else []):
            if isinstance(one, nodes.Block):
                elsewhere = [nodes.Operand("ne", nodes.EnvironmentAttribute("root"))]
                test = nodes.Compare(nodes.ContextReference(), elsewhere, lineno=one.lineno)
                value[place] = nodes.If(test, [one], [], [], lineno=one.lineno)
            elif isinstance(one, nodes.Node):
                _ask_for_blocks(sandbox, one)


def _counted(sandbox: Sandbox, parent: nodes.Node, node: nodes.Node) -> nodes.Node:
    if isinstance(parent, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
        return node  # a list of names is part of the statement
    if isinstance(node, nodes.Concat):
        return sandbox.asked("weighed", node, node.lineno)
    if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return node if _is_constant(node) else sandbox.asked("weighed", node, node.lineno)
    return node


def _is_idle(node: nodes.Node) -> bool:
    """Say whether a statement is a block, or text between blocks."""
    if isinstance(node, nodes.Output):
        return all(isinstance(one, nodes.TemplateData) for one in node.nodes)
    return isinstance(node, nodes.Block)


def _is_constant(node: nodes.Node) -> bool:
    parts: Iterable[nodes.Node] = node.iter_child_nodes()
    return all(isinstance(one, nodes.Const | nodes.Pair) and _is_constant(one) for one in parts)


def _printed(value: Any) -> Any:
    """Write null as nothing; count what is written, which may be kept for later by a `set` or a macro.

    What Python would write with its address in memory is a mistake (`map` without `join`, a macro without
    its call), and another text each time.
    """
    if isinstance(value, str):
        bounds.spend(0, len(value))
    elif isinstance(value, Iterator | Cycler) or (callable(value) and not isinstance(value, Undefined)):
        raise TemplateRuntimeError(
            f"a {type(value).__name__} cannot be written: is a call or a join missing?"
        )
    return "" if value is None else value

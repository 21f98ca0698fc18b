"""What a template says of itself without being rendered: parts it asks for, blocks, and names it uses. Pure.

Approximate where it must be, and then to the side of silence: a name that is set anywhere in a template
counts as set everywhere in it, and one that is asked `is defined` or given a `default` somewhere may be
missing everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from jinja2 import meta, nodes

from chimeway.render.sandbox import Sandbox

Path: TypeAlias = tuple[str, ...]
"""A name and the attributes asked of it: `recipient.data.name`."""
_GUARDS: Final = frozenset({"default", "d", "defined", "undefined"})
_MAYBE: Final = (nodes.If, nodes.For, nodes.CondExpr, nodes.Macro, nodes.CallBlock, nodes.And, nodes.Or)
_METHODS: Final = frozenset({"items", "keys", "values", "get", "copy", "pop", "update", "clear"})
_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Use:
    """A name of the context that is read, and in which blocks that is."""

    path: Path
    line: int
    blocks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reference:
    """Another template that is asked for: the first of `names` that is there; none: a name made of data."""

    kind: Literal["extends", "include", "import"]
    names: tuple[str, ...]
    line: int
    optional: bool
    sure: bool
    """Outside any condition, loop and macro."""
    with_context: bool
    blocks: frozenset[str]


@dataclass(slots=True)
class Reading:
    """All that was read in one template."""

    references: list[Reference] = field(default_factory=list)
    blocks: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    """Those of the blocks that somebody else must fill."""
    extending: set[str] = field(default_factory=set)
    """Those that write the block behind them, too (`super()`)."""
    outer: dict[str, int] = field(default_factory=dict)
    """Those that stand in no other block, and their lines."""
    written: set[str] = field(default_factory=set)
    """Blocks, of whatever template, that what is here writes: they stand in another, or are called."""
    uses: list[Use] = field(default_factory=list)
    guarded: set[Path] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    unknown: list[tuple[int, str]] = field(default_factory=list)
    """Filters and tests that are not there."""
    uncalled: list[tuple[int, str]] = field(default_factory=list)
    """Methods of objects that are named and not called: a key of the data was meant."""


def read(sandbox: Sandbox, name: str) -> Reading:
    """Read one template of the sandbox.

    Raises:
        TemplateError: it is not well-formed.
    """
    tree = sandbox.tree(name)
    reader = _Reader(sandbox, meta.find_undeclared_variables(tree))
    reader.walk(tree, _NOTHING, sure=True)
    return reader.found


class _Reader:
    def __init__(self, sandbox: Sandbox, free: set[str]) -> None:
        self.found = Reading()
        self._sandbox = sandbox
        self._free = free
        self._called: set[int] = set()

    def walk(self, node: nodes.Node, blocks: frozenset[str], *, sure: bool) -> None:
        """Read a node and what is in it."""
        match node:
            case nodes.Block():
                self.found.blocks.add(node.name)
                if node.required:
                    self.found.required.add(node.name)
                if blocks:
                    self.found.written.add(node.name)
                else:
                    self.found.outer[node.name] = node.lineno
                blocks |= {node.name}
            case nodes.Extends():
                self._reference("extends", node, node.template, blocks, sure=sure)
            case nodes.Include():
                self._reference("include", node, node.template, blocks, sure=sure)
            case nodes.Import() | nodes.FromImport():
                self._reference("import", node, node.template, blocks, sure=sure)
                self.found.assigned.update(_imported(node))
            case nodes.For():
                self.found.assigned.add("loop")  # an include in the loop sees it
            case nodes.Macro():
                self.found.assigned.update((node.name, "varargs", "kwargs", "caller"))
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                self._name(node, blocks)
            case nodes.Filter() | nodes.Test():
                self._asked(node)
            case nodes.Call(node=nodes.Name(name="super")):
                self.found.extending.update(blocks)
            case nodes.Call():
                self._called.add(id(node.node))
        inner = sure and not isinstance(node, _MAYBE)
        for child in _below(node):
            self.walk(child, blocks, sure=inner)

    def _name(self, node: nodes.Name | nodes.Getattr | nodes.Getitem, blocks: frozenset[str]) -> None:
        if isinstance(node, nodes.Name) and node.ctx != "load":
            self.found.assigned.add(node.name)
        elif (path := _path(node)) and path[0] == "self":
            self.found.written.update(path[1:2])
        elif path and path[0] in self._free:
            self.found.uses.append(Use(path, node.lineno, blocks))
            if isinstance(node, nodes.Getattr) and id(node) not in self._called and node.attr in _METHODS:
                told = f"{'.'.join(path)} is the method of an object: a key is {_key(path)}"
                self.found.uncalled.append((node.lineno, told))

    def _asked(self, node: nodes.Filter | nodes.Test) -> None:
        known = self._sandbox.filters if isinstance(node, nodes.Filter) else self._sandbox.tests
        if node.name not in known:
            kind = "filter" if isinstance(node, nodes.Filter) else "test"
            self.found.unknown.append((node.lineno, f"there is no {kind} {node.name}"))
        if node.name in _GUARDS and node.node is not None and (path := _path(node.node)):
            self.found.guarded.add(path)

    def _reference(
        self,
        kind: Literal["extends", "include", "import"],
        node: nodes.Node,
        template: nodes.Expr,
        blocks: frozenset[str],
        *,
        sure: bool,
    ) -> None:
        self.found.references.append(
            Reference(
                kind=kind,
                names=_names(template),
                line=node.lineno,
                optional=getattr(node, "ignore_missing", False),
                sure=sure,
                with_context=getattr(node, "with_context", True),
                blocks=blocks,
            )
        )


def _below(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield what is in a node; of a chain of attributes, which is one use, only what is not of the chain."""
    while isinstance(node, nodes.Getattr | nodes.Getitem) and _path(node):
        node = node.node
    yield from node.iter_child_nodes()


def _path(node: nodes.Node) -> Path:
    """Return the name and the attributes of `a.b["c"]`; nothing for what is no such chain."""
    attributes: list[str] = []
    while not isinstance(node, nodes.Name):
        match node:
            case nodes.Getattr(node=owner, attr=attribute):
                attributes.append(attribute)
            case nodes.Getitem(node=owner, arg=nodes.Const(value=str(key))):
                attributes.append(key)
            case _:
                return ()
        node = owner
    return (node.name, *reversed(attributes)) if node.ctx == "load" else ()


def _key(path: Path) -> str:
    return f"{'.'.join(path[:-1])}[{path[-1]!r}]"


def _names(template: nodes.Expr) -> tuple[str, ...]:
    match template:
        case nodes.Const(value=str(name)):
            return (name,)
        case nodes.Const(value=tuple() | list() as names):
            return tuple(str(name) for name in names)
        case nodes.List(items=items) | nodes.Tuple(items=items):
            found = [one.value for one in items if isinstance(one, nodes.Const)]
            return tuple(map(str, found)) if len(found) == len(items) else ()
        case _:
            return ()


def _imported(node: nodes.Import | nodes.FromImport) -> Iterator[str]:
    if isinstance(node, nodes.Import):
        yield node.target
        return
    for name in node.names:
        yield name if isinstance(name, str) else name[1]

"""Whether each message of some workflows can be made: everything that can be seen without data. Pure.

Each message of each step is looked up as it would be when it is rendered, for readers of every locale
that has a template, with its layouts, partials and imports. What needs the data itself (a name made of
data, a call that fails) is not seen here: `chimeway render` shows it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jinja2 import TemplateError

from chimeway.render.closure import BLOCKS, Closure, Closures
from chimeway.render.findings import Finding, Findings
from chimeway.render.locales import tag_of
from chimeway.render.message import WITH_SUBJECT
from chimeway.render.names import Given, misused, needed
from chimeway.render.reading import Reading, read
from chimeway.render.renderers import Renderers
from chimeway.render.templates import UNSUBSCRIBE_PAGE, template_name
from chimeway.spelling import did_you_mean
from chimeway.workflow.definition import Definition, NotifyAction
from chimeway.workflow.encode import required_data

_MessageKey: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that a step sends."""

    step: str
    """`workflow version n, step id`."""
    render_key: str
    channel: str
    given: Given


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What makes a message: a function, or templates, of which each locale has its own."""

    render_key: str
    channel: str
    function: str | None
    templates: tuple[str, ...]
    locales: tuple[str, ...]
    names: tuple[str, ...]
    """Of the data, that the templates read."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, and what makes what."""

    findings: list[Finding]
    messages: list[MadeBy]
    complete: bool = True
    """Whether all was looked at; else nothing is said of what is missing in comparison, or unused."""

    @property
    def errors(self) -> list[Finding]:
        """Return those findings that keep a message from being made."""
        return [one for one in self.findings if one.severity == "error"]


def wanted_by(definition: Definition, schema: Mapping[str, Any] | None = None) -> list[Wanted]:
    """Return the messages of a definition; `schema` is that of its data, where one is declared."""
    surely = frozenset(required_data(definition))
    return [
        Wanted(
            f"{definition.key} version {definition.version}, step {step.id}",
            step.action.render_key,
            step.action.channel,
            Given(surely.union(step.action.data), schema),
        )
        for step in definition.steps
        if isinstance(step.action, NotifyAction)
    ]


def check(renderers: Renderers, wanted: Iterable[Wanted]) -> Checked:
    """Find every fault of the templates and functions that these messages are to be made by."""
    checking = Checking(renderers, wanted)
    for _ in checking.each():
        pass
    return checking.result()


@dataclass(slots=True)
class _Used:
    templates: set[str] = field(default_factory=set)
    functions: set[tuple[str, str | None]] = field(default_factory=set)


class Checking:
    """A check in pieces, for whoever has something else to do meanwhile, or no time for all of it."""

    def __init__(self, renderers: Renderers, wanted: Iterable[Wanted]) -> None:
        """Take what messages are made by, and the messages."""
        self._renderers = renderers
        self._templates = renderers.templates
        self._variants = renderers.templates.variants
        self._found = Findings()
        self._used = _Used()
        self._guessed = False
        self._complete = False
        self._messages: list[MadeBy] = []
        self._readings: dict[str, Reading | None] = {}
        self._groups: dict[_MessageKey, list[Wanted]] = defaultdict(list)
        for one in wanted:
            self._groups[one.render_key, one.channel].append(one)
        channels = {channel for _, channel in self._groups}
        self._closures = Closures(self._variants, self._reading_of, channels)

    def each(self) -> Iterator[None]:
        """Look at one message after the other, then at what no message comes to."""
        for key, group in sorted(self._groups.items()):
            self._messages.append(self._message(key, group))
            yield
        for name in sorted(self._templates.sources):
            self._reading_of(name)
            yield
        for first, second in self._variants.twice:
            told = f"{first} is for the same locale, and goes before it"
            self._found.add(Finding("two_for_one_locale", told, second))
            self._used.templates.add(second)
        self._compare_locales()
        self._find_unused()
        self._complete = True

    def result(self) -> Checked:
        """Return what was found so far."""
        return Checked(self._found.all(), self._messages, self._complete)

    def _reading_of(self, name: str) -> Reading | None:
        if name not in self._readings:
            self._readings[name] = self._read(name)
        return self._readings[name]

    def _read(self, name: str) -> Reading | None:
        if (fault := self._templates.malformed(name)) is not None:
            self._found.add(Finding("malformed", fault[1], name, fault[0]))
            return None
        try:
            reading = read(self._templates.plain, name)
        except (TemplateError, RecursionError):  # it can be compiled, and not be looked through: too deep
            return None
        for line, told in reading.unknown:
            self._found.add(Finding("malformed", told, name, line))
        for line, told in reading.uncalled:
            self._found.add(Finding("method_not_called", told, name, line))
        return reading

    def _message(self, key: _MessageKey, group: list[Wanted]) -> MadeBy:
        steps = [one.step for one in group]
        plain = template_name(*key)
        variants = self._variants.of(plain)
        there = [*([plain] if plain in self._variants.names else []), *variants.values()]
        self._used.templates.update(there)
        for function in ((key), (key[0], None)):
            if function not in self._renderers.functions:
                continue
            own = function == key
            if own or not there:
                self._used.functions.add(function)
                for name in there:
                    self._found.add(Finding("never_used", "a function of the app makes this message", name))
                return MadeBy(*key, self._renderers.source(*key, None), (), (), ())
            self._used.functions.add(function)
        if not there:
            told = f"there is no template {plain}, and no function"
            self._found.add(Finding("no_template", told, None, None, *key), steps)
        elif plain not in there and (key[0], None) not in self._renderers.functions:
            told = f"there is no {plain}: only readers of {', '.join(sorted(variants))} have one"
            self._found.add(Finding("no_plain_template", told, None, None, *key), steps)
        return self._made_of(key, there, group)

    def _made_of(self, key: _MessageKey, there: list[str], group: list[Wanted]) -> MadeBy:
        names: set[str] = set()
        locales: list[str] = []
        for name in there:
            # A plain name's last part is its channel, which looks like a locale.
            locale = None if name == template_name(*key) else self._variants.locale_of(name)
            locales += [] if locale is None else [locale]
            closure = self._closures.of(name, locale)
            self._judge(key[1], name, closure, group)
            names.update(needed(closure))
        return MadeBy(*key, None, tuple(there), tuple(locales), tuple(sorted(names)))

    def _judge(self, channel: str, name: str, closure: Closure, group: list[Wanted]) -> None:
        """Say what is wrong with one template of a message, with all that it is made of."""
        steps = [one.step for one in group]
        self._guessed = self._guessed or closure.guessed
        self._used.templates.update(piece.name for piece in closure.pieces)
        for finding in closure.findings:
            self._found.add(finding, steps)
        for block in ("body", *(("subject",) if channel in WITH_SUBJECT else ())):
            if block not in closure.blocks and not closure.guessed:
                self._found.add(Finding("no_block", f"it has no block {block}", name), steps)
        for template, block, line in closure.unwritten():
            known = [*BLOCKS, *closure.blocks.difference({block})]
            told = f"nothing writes the block {block}: it is in no other block{did_you_mean(block, known)}"
            self._found.add(Finding("unwritten_block", told, template, line), steps)
        judged: dict[tuple[frozenset[str], int], list[Finding]] = {}
        for one in group:
            alike = (one.given.names, id(one.given.schema))
            if alike not in judged:
                judged[alike] = list(misused(closure, one.given))
            for finding in judged[alike]:
                self._found.add(finding, [one.step])

    def _compare_locales(self) -> None:
        """Say which messages lack a locale that others have; de covers de-AT, as it would be found."""
        everywhere = {tag_of(locale) or "" for one in self._messages for locale in one.locales}
        for one in self._messages:
            if one.function is not None or not one.templates:
                continue
            own = {tag_of(locale) for locale in one.locales}
            missing = sorted(
                tag for tag in everywhere if not any(f"{tag}-".startswith(f"{mine}-") for mine in own)
            )
            if missing:
                steps = [each.step for each in self._groups[one.render_key, one.channel]]
                plain = template_name(one.render_key, one.channel)
                told = f"there is none for readers of {', '.join(missing)}, as other messages have"
                self._found.add(Finding("missing_locale", told, plain), steps)

    def _find_unused(self) -> None:
        """Say what nobody comes to; where a name is made of data, a part may be meant by it."""
        for name in self._variants.all(UNSUBSCRIBE_PAGE):
            closure = self._closures.of(name, self._variants.locale_of(name))
            self._used.templates.update(piece.name for piece in closure.pieces)
        for name in sorted(self._templates.sources.keys() - self._used.templates):
            reading = self._readings[name]
            is_named_so = "/" not in name and name.count(".") > 1
            is_message = is_named_so and reading is not None and "body" in reading.blocks
            if is_message or not self._guessed:
                told = "no step of these workflows sends what it is for"
                self._found.add(Finding("unused_template", told, name))
        for key, channel in sorted(self._renderers.functions.keys() - self._used.functions, key=str):
            told = "no message is made by this function"
            self._found.add(Finding("unused_function", told, None, None, key, channel))

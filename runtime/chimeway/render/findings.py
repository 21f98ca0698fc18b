"""What a check of templates finds: a closed list of codes, and a place to collect in. Pure values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]
_SHOWN: Final = 2

CODES: Final[Mapping[str, tuple[Severity, str]]] = MappingProxyType(
    {
        # A message that would not be made.
        "no_template": ("error", "Neither a template nor a function makes this message."),
        "no_plain_template": ("error", "Only readers of some locales have a template."),
        "no_block": ("error", "A block that the channel needs is missing."),
        "unwritten_block": ("warning", "A block that is in no other block is never written."),
        # A template that cannot be rendered, whatever the data.
        "malformed": ("error", "It is not well-formed, or asks for a filter that is not there."),
        "unknown_part": ("error", "It asks for a template that is not there."),
        "endless": ("error", "It comes to itself again, without a condition."),
        "two_for_one_locale": ("error", "Two files are for the same locale; one is never used."),
        "method_not_called": ("error", "A key of the data is meant, and the method of that name is named."),
        # Names, judged by what the workflow says of its data.
        "unknown_attribute": ("error", "The recipient, tenant, run or step has no such attribute."),
        "unknown_name": ("error", "Nothing defines the name: the data's schema knows all there are."),
        "may_be_missing": ("warning", "The data's schema lets a trigger leave it out."),
        "doubtful_name": ("warning", "Without a schema of the data: it is nearly a name that is known."),
        # What is there to no use, or for some only.
        "missing_locale": ("warning", "Other messages have a template for this locale."),
        "unused_template": ("warning", "No message of these workflows comes to it."),
        "unused_function": ("warning", "No message of these workflows is made by it."),
        "never_used": ("warning", "A function goes before the template."),
    }
)
"""Every code: how bad it is, and its meaning. Codes are stable: programs may compare them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: in which template and line, or of which message; and for which steps that matters."""

    code: str
    message: str
    template: str | None = None
    line: int | None = None
    render_key: str | None = None
    channel: str | None = None
    steps: tuple[str, ...] = ()
    """`workflow version n, step id`, of those steps that send the message."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return CODES[self.code][0]

    def printed(self) -> str:
        """Say it as a compiler would: `file:line: error[code] what is wrong (for whom)`."""
        where = self.template or f"{self.render_key} on {self.channel or 'every channel'}"
        line = "" if self.line is None else f":{self.line}"
        return f"{where}{line}: {self.severity}[{self.code}] {self.message}{self._whom()}"

    def as_json(self) -> dict[str, Any]:
        """Return it as programs are told it."""
        return {
            "severity": self.severity, "code": self.code, "template": self.template, "line": self.line,
            "render_key": self.render_key, "channel": self.channel, "message": self.message,
            "steps": self.steps,
        }  # fmt: skip

    def _whom(self) -> str:
        if not self.steps:
            return ""
        more = len(self.steps) - _SHOWN
        return f" ({'; '.join(self.steps[:_SHOWN])}{f'; and {more} more' if more > 0 else ''})"


class Findings:
    """A collector: the same fault is told once, with all steps that it matters for."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[Finding, dict[str, None]] = {}

    def add(self, finding: Finding, steps: Iterable[str] = ()) -> None:
        """Add a fault, and for which steps it is one."""
        assert finding.code in CODES, finding.code
        self._found.setdefault(finding, {}).update(dict.fromkeys(steps))

    def all(self) -> list[Finding]:
        """Return what was found, by template and line; faults of messages without one first."""
        found = [
            Finding(one.code, one.message, one.template, one.line, one.render_key, one.channel, tuple(steps))
            for one, steps in self._found.items()
        ]
        return sorted(found, key=_order)


def _order(one: Finding) -> tuple[str, str, str, int, str, str]:
    return (
        one.template or "", one.render_key or "", one.channel or "", one.line or 0, one.code, one.message,
    )  # fmt: skip

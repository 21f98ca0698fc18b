"""What a run of the channel contract found: every rule by name, and what it was tried with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["kept", "broken", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, tried with one thing."""

    rule: str
    tried_with: str
    """A fault or a value; empty where the rule needs none."""
    verdict: Verdict
    note: str = ""
    """What the channel answered; what was wrong and what would be right; why it was skipped."""

    def __str__(self) -> str:
        """Say it in one line."""
        what = f"{self.rule} ({self.tried_with})" if self.tried_with else self.rule
        return f"{self.verdict:8}{what}{': ' if self.note else ''}{self.note}"


@dataclass(frozen=True, slots=True)
class ContractReport:
    """All findings about one channel; `str()` has a line for each."""

    channel: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The rules that do not hold."""
        return tuple(self._of("broken"))

    @property
    def skipped(self) -> tuple[Finding, ...]:
        """The rules that nobody could try, each with the reason."""
        return tuple(self._of("skipped"))

    def answer(self, fault: str) -> str:
        """Return what the channel answered to a fault, such as "transient"; empty: it was not tried."""
        found = (one.note for one in self.findings if (one.rule, one.tried_with) == ("answers", fault))
        return next(found, "")

    def __str__(self) -> str:
        """Say all of it."""
        return "\n".join([f"channel {self.channel}:", *(f"  {one}" for one in self.findings)])

    def _of(self, verdict: Verdict) -> Iterator[Finding]:
        return (one for one in self.findings if one.verdict == verdict)


class ContractBroken(AssertionError):  # noqa: N818  (a failed assertion, named by what it says)
    """A channel does not keep the contract; the text names each broken rule and what it was tried with."""

    def __init__(self, report: ContractReport) -> None:
        """Take what was found."""
        lines = (f"- {str(one).removeprefix('broken').strip()}" for one in report.broken)
        super().__init__("\n".join([f"channel {report.channel!r} breaks the contract:", *lines]))
        self.report = report

"""What `verify` may find: every check, which invariant it holds up, and the breaches counted.

The invariants are those of semantics §10. A check's name is that of its statement in `verify.sql`,
without the prefix; several hold up one invariant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

_EXAMPLES: Final = 5
"""Breaches told in full; the others are counted only, so that memory stays bounded."""

CHECKS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "numbering": ("I1", "a run's transitions are numbered 1 to n without gaps, and the run counts n"),
        "run_rows": ("I1", "folding a run's transitions gives its row"),
        "one_delivery_per_visit": ("I2", "a visit has one delivery"),
        "visits_entered": ("I2", "a delivery of a live run belongs to a visit that entered its step"),
        "attempt_numbering": ("I3", "a delivery's attempts are numbered 1 to n, and the delivery counts n"),
        "results_without_attempt": ("I3", "a provider call's result has an attempt row, written before it"),
        "sent_without_attempt": ("I3", "what was handed to a provider has an attempt row"),
        "feedback_unsent": ("I3", "what a provider told is of a delivery that a provider was asked for"),
        "feedback_verdict": ("I3", "a delivery is what the gravest event says that its provider told"),
        "after_end": ("I4", "a terminal state never changes"),
        "planned_after_end": ("I4", "nothing is planned for a run that has ended"),
        "open_after_stop": ("I4", "a stopped run has nothing left to send"),
        "attempt_after_stop": ("I4", "no attempt begins for a run that was stopped"),
        "elapsed_unseen": ("I5", "an elapsed wait bears the snapshot of its guard"),
        "elapsed_waits": ("I5", "no wait elapses while its guard can see a signal that ends it"),
        "attempts": ("I5", "no attempt begins while its transaction can see a signal that stops the run"),
        "overdue": ("I6", "no run is past its wake by more than the allowed lateness"),
        "tenants": ("I7", "what belongs to a run is of its tenant and recipient"),
        "signal_runs": ("I7", "a signal for one run is of that run's tenant and recipient"),
        "runs_of_events": ("I8", "a committed trigger has its runs"),
        "events_once": ("I8", "one idempotency key has one trigger"),
        "events_of_runs": ("I8", "a run is the one of its recipient in its trigger"),
        "reachable_runs": ("I9", "some wake reaches a live run, or it is listed with a reason"),
        "reachable_deliveries": ("I9", "some wake reaches a live delivery, or it is listed with a reason"),
        "deferred": ("I9", "a delivery is deferred for a reason and until an instant, and no other has one"),
        "reachable_signals": ("I9", "a routed signal is in the mailbox of every live run that it reaches"),
        "mailbox_numbering": ("I9", "a run's mailbox is numbered 1 to n, and the run counts n"),
        "held_back": ("I10", "what policy has deferred or suppressed, it gave reasons for"),
        "caps": ("I10", "nothing was let go beyond a cap, by what was counted then"),
        "decisions": ("I10", "deciding again from definition and inputs gives the same decision"),
    }
)
"""Check → (invariant, what must be true). In the order in which violations are told."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A check that does not hold.

    `invariant` is I1 to I10, `check` the check's name, `sentence` what must be true and is not,
    `count` how many breaches there are, and `examples` the first of them: an id and facts about it.
    """

    invariant: str
    check: str
    sentence: str
    count: int
    examples: tuple[str, ...]


class Findings:
    """Breaches on their way to being told: counted, the first few kept."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, check: str, subject: UUID, facts: str) -> None:
        """Add one breach of a check: what is at fault, and how."""
        assert check in CHECKS, check
        self._counts[check] = self._counts.get(check, 0) + 1
        examples = self._examples.setdefault(check, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{subject}: {facts}")

    def add_rows(self, check: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a breach for each row, which has `id` and `facts`."""
        for row in rows:
            self.add(check, row["id"], row["facts"])

    def take(self, others: "Findings") -> None:
        """Add those of another."""
        for each in others.violations():
            self._counts[each.check] = self._counts.get(each.check, 0) + each.count
            examples = self._examples.setdefault(each.check, [])
            examples += each.examples[: _EXAMPLES - len(examples)]

    def violations(self) -> list[Violation]:
        """Return what was found, by invariant."""
        return [
            Violation(invariant, check, sentence, self._counts[check], tuple(self._examples[check]))
            for check, (invariant, sentence) in CHECKS.items()
            if check in self._counts
        ]

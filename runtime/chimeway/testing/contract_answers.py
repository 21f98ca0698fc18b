"""What a channel may answer to what its provider does: the table that the contract goes by.

| the provider                                     | may be answered                   | why |
|--------------------------------------------------|-----------------------------------|-----|
| `ok`, `slow`: takes it, at once or later         | sent                              | [1] |
| `refuse`: nothing listens                        | transient, unknown                | [2] |
| `hang`: has it and says nothing                  | timeout, unknown                  | [3] |
| `close_before_reply`: has it and hangs up        | unknown, timeout                  | [3] |
| `close_mid_reply`: begins to say yes, hangs up   | unknown, timeout                  | [3] |
| `rubbish`: has it and answers no sense           | unknown, timeout                  | [3] |
| `rubbish_body`: says yes, and then no sense      | sent, unknown                     | [4] |
| `rate_limit`: asks for fewer                     | rate_limited, and `retry_after`   | [5] |
| `error_500`: fails for now                       | transient, unknown                | [2] |
| `permanent`: refuses this message                | permanent, configuration, bounced | [6] |
| `bounce`: knows no such address                  | bounced, permanent                | [6] |

[1] It has it. [2] It surely has not: it is worth another attempt, and another provider may be tried.
[3] It may have it: never a success, and never "surely not". [4] The yes may be enough. [5] The gate
waits for so long. [6] No attempt will help.

`unknown` is the honest answer of a channel that cannot tell, and costs that the delivery stays with this
provider. A provider whose protocol cannot say so much allows more (`answers` of a fault server); a
channel that learns less is given `answers` of its own. No table may allow what would be a lie.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from chimeway.delivery.channel import ErrorClass
from chimeway.errors import InvalidInput
from chimeway.testing.faults import FAULT_KINDS, REFUSALS, FaultKind

Answer: TypeAlias = ErrorClass | Literal["sent"]
Answers: TypeAlias = Mapping[FaultKind, Collection[Answer]]

_MAYBE: Final[frozenset[Answer]] = frozenset({"unknown", "timeout"})
ANSWERS: Final[Mapping[FaultKind, frozenset[Answer]]] = MappingProxyType(
    {
        "ok": frozenset({"sent"}),
        "slow": frozenset({"sent"}),
        "refuse": frozenset({"transient", "unknown"}),
        "hang": _MAYBE,
        "close_before_reply": _MAYBE,
        "close_mid_reply": _MAYBE,
        "rubbish": _MAYBE,
        "rubbish_body": frozenset({"sent", "unknown"}),
        "rate_limit": frozenset({"rate_limited"}),
        "error_500": frozenset({"transient", "unknown"}),
        "permanent": frozenset({"permanent", "configuration", "bounced"}),
        "bounce": frozenset({"bounced", "permanent"}),
    }
)
SURELY_NOT: Final[frozenset[Answer]] = frozenset(
    {"transient", "rate_limited", "configuration", "permanent", "bounced"}
)
"""These say that the provider has nothing: then another provider is asked, or nobody any more."""
_NO_PROVIDER_HAS_IT: Final[frozenset[FaultKind]] = REFUSALS | {"refuse"}
_A_YES_CAN_BE_SEEN: Final[frozenset[FaultKind]] = frozenset({"ok", "slow", "rubbish_body"})


def allowed(*more: Answers) -> Mapping[FaultKind, frozenset[Answer]]:
    """Return the table with the rows of others in place of its own, the last of them first.

    Raises:
        InvalidInput: a row allows a lie.
    """
    table = dict(ANSWERS)
    for rows in more:
        for fault, answers in rows.items():
            table[fault] = frozenset(answers)
            _check(fault, table[fault])
    return table


def _check(fault: FaultKind, answers: frozenset[Answer]) -> None:
    if fault not in FAULT_KINDS:
        raise InvalidInput(f"answers: no fault is named {fault!r}; there are {', '.join(FAULT_KINDS)}")
    lies: frozenset[Answer] = frozenset()
    if fault not in _A_YES_CAN_BE_SEEN:
        lies |= {"sent"}
    if fault not in _NO_PROVIDER_HAS_IT:
        lies |= SURELY_NOT
    if wrong := answers & lies:
        raise InvalidInput(f"answers[{fault!r}]: {', '.join(sorted(wrong))} would be a lie to that fault")

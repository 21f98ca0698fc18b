"""How a provider fails, call by call: the faults there are, and what says which call meets which.

A fault server (`FaultyHttp`, `FaultySmtp`) asks its program once for each message that it was given in
full, so that a test can choose by number, by message, or for a while.
"""

import html
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, TypeAlias, get_args
from urllib.parse import unquote_plus

from chimeway.errors import InvalidInput

FaultKind: TypeAlias = Literal[
    "ok", "refuse", "hang", "slow", "rate_limit", "error_500", "close_before_reply", "close_mid_reply",
    "rubbish", "rubbish_body", "permanent", "bounce",
]  # fmt: skip
FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
REFUSALS: Final[frozenset[FaultKind]] = frozenset({"rate_limit", "error_500", "permanent", "bounce"})
"""With these the provider says no; after all others but `refuse` it has the message, whatever it says."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a call may go."""

    kind: FaultKind
    retry_after: float | str | None = None
    """What `rate_limit` (and `error_500`, by HTTP) tells the client: seconds, or a text sent as it is."""
    delay_s: float = 0.2
    """How long `slow` takes for its answer, which comes in pieces."""
    status: int | None = None
    """Another code of the protocol than the usual one of this fault."""

    def __post_init__(self) -> None:
        """Refuse a fault that no server knows."""
        if self.kind not in FAULT_KINDS:
            raise InvalidInput(f"kind: no fault is named {self.kind!r}; there are {', '.join(FAULT_KINDS)}")


AnyFault: TypeAlias = Fault | FaultKind
OK: Final = Fault("ok")


def rate_limit(retry_after: float | str | None = None) -> Fault:
    """Return the fault that asks for fewer messages, and says for how long."""
    return Fault("rate_limit", retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class Received:
    """A message that reached the provider in full, whatever was answered."""

    key: str | None
    """The idempotency key that came with it."""
    text: str
    """All of it, as text: by SMTP the decoded subject and parts, by HTTP the body."""
    headers: Mapping[str, str]
    """By HTTP the request's, by SMTP the message's; names in lower case."""
    fault: Fault = OK
    """What it met."""
    method: str = ""
    path: str = ""
    """With the query."""
    body: bytes = field(default=b"", repr=False)
    """As it came."""
    recipients: tuple[str, ...] = ()
    """By SMTP: to whom the envelope was."""

    @property
    def taken(self) -> bool:
        """Say whether the provider has it: it was not refused."""
        return self.fault.kind not in REFUSALS

    def says(self, wanted: str) -> bool:
        """Say whether a text is in it, in whatever encoding of the usual ones it came."""
        plain = f"{self.path}\n{self.text}"
        forms = (plain, unquote_plus(plain), html.unescape(plain), html.unescape(unquote_plus(plain)))
        if any(wanted in form for form in forms):
            return True
        try:
            told = json.dumps(json.loads(self.text), ensure_ascii=False)
        except ValueError:
            return False
        return json.dumps(wanted, ensure_ascii=False)[1:-1] in told


class Program:
    """Says what each call meets: what was said for the next ones, by message, for each n-th, for all."""

    faults: ClassVar[frozenset[FaultKind]]
    """What this kind of provider can do."""

    def __init__(self) -> None:
        """Begin with a provider that takes everything."""
        self._next: deque[Fault] = deque()
        self._chosen: list[tuple[Callable[[Received], bool], Fault]] = []
        self._each: tuple[int, Fault] | None = None
        self._always: Fault = OK
        self._calls = 0

    def fail_next(self, *faults: AnyFault) -> None:
        """Have the next calls meet these, one each."""
        self._next.extend(self._of_one_call(fault) for fault in faults)

    def fail_if(self, which: Callable[[Received], bool], fault: AnyFault) -> None:
        """Have each message that fits meet this, from now on."""
        self._chosen.append((which, self._of_one_call(fault)))

    def fail_every(self, nth: int, fault: AnyFault) -> None:
        """Have each n-th call meet this, counted from now."""
        if nth < 1:
            raise InvalidInput("nth: must be 1 or more")
        self._calls, self._each = 0, (nth, self._of_one_call(fault))

    def fail_all(self, fault: AnyFault) -> None:
        """Have every call meet this for which nothing else was said."""
        self._always = self._of_one_call(fault)

    def heal(self) -> None:
        """Forget all that was said: everything is taken again."""
        self._next.clear()
        self._chosen.clear()
        self._each, self._always = None, OK

    def meets(self, received: Received) -> Fault:
        """Return what this call meets, and count it."""
        self._calls += 1
        if self._next:
            return self._next.popleft()
        for which, fault in self._chosen:
            if which(received):
                return fault
        if self._each is not None and self._calls % self._each[0] == 0:
            return self._each[1]
        return self._always

    def _of_one_call(self, fault: AnyFault) -> Fault:
        found = as_fault(fault)
        if found.kind not in self.faults:
            raise InvalidInput(f"fault: {type(self).__name__} cannot {found.kind}")
        if found.kind == "refuse":
            raise InvalidInput(
                "fault: refuse means that nothing listens, which no single call can meet; "
                'use "async with server.failing("refuse"):"'
            )
        return found


def as_fault(fault: AnyFault) -> Fault:
    """Return the fault of a name."""
    return fault if isinstance(fault, Fault) else Fault(fault)

"""What a demo shows while it is played, and what it has to say at the end. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from chimeway.client.explanation import Explanation


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened: when, in seconds after the demo began, and to whom if to somebody."""

    seconds: float
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A message that the SMTP server took."""

    to: str
    subject: str
    delivery_id: UUID


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a demo.

    `mails`: what arrived. `runs`: the explanation of each run by the person's name, from the rows.
    `faults`: a sentence for each thing that does not agree; none is what is wanted. `timings`: seconds
    by what took them.
    """

    agrees: bool
    faults: tuple[str, ...]
    mails: tuple[Mail, ...]
    runs: Mapping[str, Explanation]
    rows_verified: int
    timings: Mapping[str, float]

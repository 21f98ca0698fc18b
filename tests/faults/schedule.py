"""Which faults, in which order, against whom and for how long: drawn from a seed, before anything runs.

Each round holds every kind once, shuffled, so that after n rounds there were n of each. A fault begins
when its turn comes and what it needs is free (its node, or PostgreSQL): faults of different nodes, and of
a node and PostgreSQL, overlap.
"""

import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Target: TypeAlias = Literal["node", "postgres", "provider", "producer", "any", "machine"]


_ALONE: Final = 0.5
USUAL_LEASE_S: Final = 3.0
_PAST_THE_LEASE: Final = frozenset({"freeze", "cut_off"})


@dataclass(frozen=True, slots=True)
class Sort:
    """A kind of fault.

    `hides`: whether it can hide from a node, or from everybody, that a message was taken, so that the
    attempt is `unknown` and the message is sent again under its key. `delays`: whether the record of an
    answer can wait for its end. `seconds`: how long it lasts, drawn evenly.
    """

    target: Target
    seconds: tuple[float, float]
    hides: bool
    delays: bool
    says: str


SORTS: Final[dict[str, Sort]] = {
    "kill": Sort("node", (0.3, 3.0), True, False, "`kill -9` of a node; a new life after a while"),
    "hand_over": Sort("node", (0.0, 1.0), False, False, "SIGTERM to a node; a new life after its end"),
    "freeze": Sort("node", (3.5, 7.0), True, True, "a node stopped (SIGSTOP) past its lease, then let go on"),
    "cut_off": Sort("node", (1.0, 7.0), True, True, "a black hole between a node and PostgreSQL"),
    "cut": Sort("node", (0.05, 0.4), True, False, "a node's sessions reset while answers are on their way"),
    "slow": Sort("node", (2.0, 6.0), False, True, "20 to 120 ms between a node and PostgreSQL, each way"),
    "deaf": Sort(
        "node", (2.0, 12.0), False, False, "a black hole on the session alone by which a node listens"
    ),
    "clock": Sort(
        "node", (2.0, 8.0), False, False, "a node's wall clock steps by up to ten minutes, and back"
    ),
    "unanswered": Sort("node", (0.3, 4.0), True, False, "a node's calls to the provider get no answer"),
    "restart": Sort("postgres", (0.0, 0.0), True, True, "PostgreSQL restarted in order"),
    "crash": Sort(
        "postgres", (0.0, 0.0), True, True, "PostgreSQL stopped at once (`immediate`), and recovered"
    ),
    "failover": Sort(
        "postgres", (0.0, 0.0), True, True, "the primary lost, its synchronous standby promoted"
    ),
    "terminate": Sort("any", (0.0, 0.0), True, False, "sessions ended by `pg_terminate_backend`, at random"),
    "lock": Sort("any", (1.0, 5.0), False, True, "somebody sits on the rows of a hundred runs"),
    "provider_down": Sort("provider", (0.5, 5.0), True, True, "the provider killed; connections refused"),
    "provider_hangs": Sort("provider", (1.0, 7.5), True, True, "the provider stopped where it is (SIGSTOP)"),
    "producer": Sort("producer", (0.0, 0.5), False, False, "`kill -9` of a producer in mid-transaction"),
    "producer_cut": Sort("producer", (0.05, 0.4), False, False, "producers' sessions reset in mid-commit"),
    "stall": Sort(
        "machine",
        (0.0, 0.0),
        True,
        True,
        "not ours: for half a second nothing ran, or for one a node got no processor, or the disk no commit",
    ),
}
"""Every kind there is."""
KINDS: Final = tuple(kind for kind, sort in SORTS.items() if sort.target != "machine")
"""Those that we make."""
TAKEN_OVER: Final = ("kill", "freeze", "hand_over")
"""Those after which other nodes go on with what the node had."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that will be: `node` counts nodes (or producers); `chance` draws whatever else there is.

    `alone`: it waits until nothing else is wrong, and nothing else begins until some time after it: how long
    a take-over takes by itself is seen at such ones.
    """

    number: int
    kind: str
    node: int
    seconds: float
    chance: float
    alone: bool


def draw(
    seed: int, kinds: tuple[str, ...], many: int, nodes: int, lease_s: float = USUAL_LEASE_S
) -> list[Fault]:
    """Return so many faults; with a longer lease nodes are kept from PostgreSQL, or stopped, for longer."""
    chance = random.Random(f"faults/{seed}")
    drawn: list[str] = []
    while len(drawn) < many:
        drawn += chance.sample(kinds, len(kinds))
    longer = lease_s / USUAL_LEASE_S
    return [
        Fault(
            number, kind, chance.randrange(nodes),
            chance.uniform(*SORTS[kind].seconds) * (longer if kind in _PAST_THE_LEASE else 1),
            chance.random(), alone=kind in TAKEN_OVER and chance.random() < _ALONE,
        )
        for number, kind in enumerate(drawn[:many], 1)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault as it was: whom it met ("*": all nodes), from when to when, and with how much under way.

    `ended` is when the world was whole again as far as this fault goes. `detail` is for the report alone, and
    so is `held`: the shards that a node had when it was killed, stopped or asked to end.
    """

    number: int
    kind: str
    whom: str
    began: float
    ended: float
    live: int
    detail: dict[str, float]
    held: tuple[int, ...] = ()

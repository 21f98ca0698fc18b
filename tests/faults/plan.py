"""What is played: journeys, drawn from a seed, each with what its person and its producer do.

A plan is all that the checker needs to know what ought to happen; producers write it into their log
before they act on it. Journey n of a producer is the same for one seed, whatever happened before.
"""

import random
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, cast

Kind: TypeAlias = Literal["hook", "mail", "chain", "choice"]
Act: TypeAlias = Literal["leave", "read", "read_at_once", "noise", "cancel", "roll_back", "hold"]

KINDS: Final[dict[Kind, int]] = {"hook": 40, "mail": 25, "chain": 20, "choice": 15}
"""How often each; what each is stands in `definition`."""
ACTS: Final[dict[Act, int]] = {
    "leave": 48,  # nothing: all of it must be sent
    "read": 24,  # the person reads, somewhere between the trigger and some time after the wait
    "read_at_once": 3,  # in the producer's own transaction, right behind the trigger
    "noise": 5,  # another mention is read, which concerns this one not
    "cancel": 11,
    "roll_back": 3,  # the producer's transaction is taken back: nothing of it ever was
    "hold": 6,  # somebody sits on the run across its due time, in a transaction that he then takes back
}
MISBEHAVIOUR: Final = ("refuse", "perhaps", "reset", "close", "hang", "late")
"""What the provider may do to a call (see `provider.py`), where a journey's plan says so."""
_MISBEHAVES: Final = 0.12
_LATER: Final = 0.01
"""How often "too many calls": seldom, for a node then leaves the provider alone for a second, and waits
with the message for as long as it has waited already."""
NEAR_S: Final = 0.3
HELD_BEFORE_S: Final = 0.8
TENANTS: Final = ("acme", "globex", "initech")


@dataclass(frozen=True, slots=True)
class Plan:
    """One journey. Its id is also its mention, its idempotency key and its cancellation key.

    `after_s`: how long after the trigger's commit the act takes place; of `hold`, until the reading in
    the middle of it. `misbehaviour`: what the provider does to the first calls of each of its messages.
    """

    id: str
    kind: Kind
    wait_s: int
    tenant: str
    recipient: str
    act: Act
    after_s: float
    misbehaviour: tuple[str, ...]

    @property
    def workflow(self) -> str:
        """The key of its definition."""
        return f"{self.kind}_{self.wait_s}"

    @property
    def address(self) -> str:
        """Where its person gets mail."""
        return address(self.tenant, self.recipient)

    @property
    def under_way_s(self) -> float:
        """How long after its trigger something is still to be decided about it, at least."""
        if self.act == "read_at_once":
            return 0.0
        return min(self.wait_s, self.after_s) if self.act in {"read", "cancel"} else self.wait_s

    def by_mail(self, step: str) -> bool:
        """Say whether this step of its sends an e-mail; the others that call a provider send webhooks."""
        return step == "tell" and self.kind in {"mail", "chain"}

    def data(self) -> dict[str, str]:
        """Return the trigger's data."""
        return {"mention": self.id, "misbehaviour": ",".join(self.misbehaviour)}

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a log."""
        return asdict(self)


def from_json(found: dict[str, Any]) -> Plan:
    """Return a plan as a log has it."""
    return Plan(**{**found, "misbehaviour": tuple(found["misbehaviour"])})


def address(tenant: str, recipient: str) -> str:
    """Return a person's address."""
    return f"{recipient}@{tenant}.example.org"


def recipients(producer: str, many: int) -> list[tuple[str, str]]:
    """Return a producer's people: tenant and id."""
    return [(TENANTS[n % len(TENANTS)], f"{producer}-person-{n}") for n in range(many)]


def draw(seed: int, producer: str, number: int, waits: tuple[int, ...], people: int) -> Plan:
    """Return the journey of this number."""
    chance = random.Random(f"{seed}/{producer}/{number}")
    kind = _one(chance, KINDS)
    act = _one(chance, ACTS)
    if kind == "chain" and act == "hold":
        act = "read"  # when its wait ends is known to the provider alone
    wait_s = chance.choice(waits)
    tenant, recipient = chance.choice(recipients(producer, people))
    return Plan(
        id=f"{producer}-{number}", kind=kind, wait_s=wait_s, tenant=tenant, recipient=recipient,
        act=act, after_s=round(_after(chance, act, wait_s), 3), misbehaviour=_misbehaviour(chance),
    )  # fmt: skip


def _one(chance: random.Random, weights: dict[Any, int]) -> Any:
    return chance.choices(list(weights), list(weights.values()))[0]


def _after(chance: random.Random, act: Act, wait_s: int) -> float:
    if act == "hold":
        return wait_s + chance.uniform(0.1, 1.5)
    if act == "read" and chance.random() < 0.3:
        return max(0.0, wait_s + chance.uniform(-NEAR_S, NEAR_S))
    return chance.uniform(0.0, 1.2) * wait_s


def _misbehaviour(chance: random.Random) -> tuple[str, ...]:
    drawn = chance.random()
    if drawn < _LATER:
        return ("later",)
    if drawn > _MISBEHAVES:
        return ()
    return tuple(chance.choice(MISBEHAVIOUR) for _ in range(chance.randint(1, 2)))


def messages(kind: Kind) -> tuple[str, ...]:
    """Return the steps of a kind that call a provider, in order; of `choice` one of them is called."""
    return {"hook": ("tell",), "mail": ("tell",), "chain": ("first", "tell"), "choice": ("remind", "thanks")}[
        kind
    ]


def has_item(kind: Kind) -> bool:
    """Say whether the journey begins with an in-app item."""
    return kind != "chain"


def definition(kind: Kind, wait_s: int) -> dict[str, Any]:
    """Return the definition of a kind with a wait of so many seconds.

    hook: item, wait (stopped by "read"), webhook. mail: item, wait, e-mail. chain: webhook, wait, e-mail.
    choice: item, wait; "read" leads to a webhook of thanks, its end to one that reminds.
    """
    then: dict[str, Any] = {"then": {"goto": "thanks"}} if kind == "choice" else {}
    heard = {"type": "signal_received", "signal_type": "read", "match": {"mention": {"data": "mention"}}}
    wait = {
        "id": "wait",
        "action": {"type": "wait", "duration": f"PT{wait_s}S", "stop_conditions": [heard | then]},
    }
    item = _notify("item", "in_app")
    steps: dict[Kind, list[dict[str, Any]]] = {
        "hook": [item, wait, _notify("tell", "webhook")],
        "mail": [item, wait, _notify("tell", "email")],
        "chain": [_notify("first", "webhook"), wait, _notify("tell", "email")],
        "choice": [item, wait, _notify("remind", "webhook") | {"next": "end"}, _notify("thanks", "webhook")],
    }
    return {"key": f"{kind}_{wait_s}", "version": 1, "steps": steps[kind]}


def _notify(step: str, channel: str) -> dict[str, Any]:
    return {"id": step, "action": {"type": "notify", "channel": channel, "render_key": step}}


def definitions(waits: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return all definitions there are."""
    return [definition(kind, wait_s) for kind in cast("tuple[Kind, ...]", tuple(KINDS)) for wait_s in waits]


TEMPLATES: Final = {
    f"{step}.{channel}.j2": (
        f"{{% block subject %}}{step} {{{{ mention }}}} {{{{ misbehaviour }}}}{{% endblock %}}\n"
        "{% block body %}{{ mention }} for {{ recipient.id }}{% endblock %}\n"
    )
    for step, channel in [
        ("item", "in_app"),
        ("tell", "webhook"),
        ("first", "webhook"),
        ("remind", "webhook"),
        ("thanks", "webhook"),
        ("tell", "email"),
    ]
}
"""What messages are made of; a mail's subject says all that the provider's log must know."""

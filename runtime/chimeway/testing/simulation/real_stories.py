"""What a scenario is about: its journeys, and what producers, recipients, operators and providers do in it.

The journeys are small, and chosen so that every row of the table of semantics 5 has its place in one. Their
waits are of one length, so that timers, signals and retries often meet at one instant.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from chimeway.testing.simulation.scheduler import Draw
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import parse

WAIT_S: Final = 3_600.0
_VICTIMS: Final = ("commit_decisions", "begin_attempts", "record_results")
_PEOPLE: Final[Sequence[Sequence[tuple[str, str]]]] = (
    (("acme", "ada"),),
    (("acme", "ada"),),
    (("acme", "ada"), ("acme", "bob")),
    (("acme", "ada"), ("umbrella", "ada")),
)
"""Whom a scenario may be about, each with the tenant: one of a name in two tenants is two people."""
_READ: Final = {"type": "signal_received", "signal_type": "read", "match": {"document": {"data": "document"}}}


def _notify(step: str, channel: str, *progress: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    action = {"type": "notify", "channel": channel, "render_key": step}
    return {"id": step, "action": action, **({"progress": list(progress)} if progress else {}), **more}


def _wait(step: str, *conditions: Mapping[str, Any], duration: str = "PT1H") -> dict[str, Any]:
    return {"id": step, "action": {"type": "wait", "duration": duration, "stop_conditions": list(conditions)}}


def _on(outcome: str, to_step: str, **more: Any) -> dict[str, Any]:
    return {"kind": "on_outcome", "outcome": outcome, "to_step": to_step, **more}


_JOURNEYS: Final[Sequence[Mapping[str, Any]]] = (
    {"key": "escalation", "steps": [
        _notify("item", "in_app"), _wait("unread", _READ), _notify("mail", "email")]},
    {"key": "push_first", "steps": [
        _notify("push", "push", next="unread"), _wait("unread", _READ), _notify("mail", "email")]},
    {"key": "fallback", "steps": [
        _notify("push", "push",
                _on("bounced", "mail"), _on("permanent_failure", "mail"), _on("suppressed", "mail"),
                {"kind": "wait_until", "anchor": "prior_delivery_terminal_at", "delay": "PT1H",
                 "to_step": "mail",
                 "cancel_signals": [{"type": "signal_received", "signal_type": "read"}]}),
        _notify("mail", "email")]},
    {"key": "impatient", "steps": [
        _notify("push", "push", _on("temporary_failure", "mail"), next="end"), _notify("mail", "email")]},
    {"key": "both", "steps": [
        _notify("push", "push", _on("temporary_failure", "mail", keep_retrying=True), next="end"),
        _notify("mail", "email")]},
    {"key": "crossroads", "steps": [
        _wait("first", {**_READ, "then": "continue"},
              {"type": "signal_received", "signal_type": "skip", "then": {"goto": "last"}},
              {"type": "signal_received", "signal_type": "chimeway.notification.read"}),
        _notify("item", "in_app"), _wait("second", {**_READ, "since": "entered"}),
        _notify("last", "email")]},
    {"key": "watched", "stop_conditions": [_READ], "steps": [
        _notify("push", "push", {"kind": "stop", "outcome": "bounced"}, next="unread"),
        _wait("unread", {"type": "signal_received", "signal_type": "skip", "then": "continue"}),
        _notify("mail", "email")]},
    {"key": "twice", "steps": [
        _wait("unread", _READ), _notify("mail", "email", next="again"), _wait("again", _READ),
        _notify("letter", "email")]},
)  # fmt: skip


def everybody() -> list[tuple[str, str]]:
    """Return all whom a scenario may be about, each with the tenant."""
    return list(dict.fromkeys(person for people in _PEOPLE for person in people))


@cache
def journeys() -> tuple[Definition, ...]:
    """Return all journeys."""
    return tuple(parse({"version": 1, **each}) for each in _JOURNEYS)


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody does: one statement, alone or in a transaction that is ended later."""

    label: str
    statement: str
    args: tuple[Any, ...] = ()
    after_s: float = 0.0
    transaction: bool = False
    ends: str = "commit"


@dataclass(frozen=True, slots=True)
class Story:
    """A scenario before it is played."""

    deeds: Sequence[Deed]
    failing: float
    """How often a provider does not simply take a message."""
    crashes: int
    """How often a node may die."""
    losing: float
    """How often a statement's answer is lost, or it is never executed."""
    nodes: int
    haste: float
    """How soon deeds are done, beside what nodes do."""
    victim: str
    """The statement that is kept waiting, and for which what it has seen is made stale."""
    reluctance: float
    """How soon that one is executed, beside all else."""
    spite: float
    """How soon somebody does before his time what he would do later, while it waits."""
    lacking: bool = False
    """Whether one node lacks a channel."""


def drawn(draw: Draw, theme: str | None = None) -> Story:
    """Draw a story.

    `theme`: what is mostly done in it, and after a colon in which journey; else that is drawn as well.
    """
    mostly, _, journey = (theme or "").partition(":")
    rough = draw.happens(0.7)
    return Story(
        deeds=tuple(_deeds(draw, mostly or draw.one(("", *(kind for _, kind in _KINDS))), journey)),
        failing=draw.one((0.0, 0.3, 0.6)),
        crashes=draw.number(0, 2) if rough else 0,
        losing=draw.one((0.0, 0.02, 0.05)) if rough else 0.0,
        nodes=draw.one((1, 2, 2)),
        haste=draw.one((0.2, 1.0, 4.0, 16.0)),
        victim=draw.one(_VICTIMS),
        reluctance=draw.one((10.0, 2.0, 0.5, 0.1)),
        spite=draw.one((0.0, 0.1, 1.0)),
        lacking=draw.happens(0.1),
    )


def _deeds(draw: Draw, theme: str, journey: str) -> Iterator[Deed]:
    people = draw.one(_PEOPLE)
    journey = journey or draw.one(_JOURNEYS)["key"]
    for tenant, person in people:
        profile = {"addresses": {"push": f"{person}-phone"}, "email": f"{person}@example.org"}
        if draw.happens(0.1):
            del profile[draw.one(("email", "addresses"))]
        yield Deed(f"identify {person}", "simulation_identify", (tenant, person, profile), after_s=-1.0)
    for number in range(draw.one((1, 1, 2, 3))):
        tenant, person = draw.one(people)
        workflow = journey if draw.happens(0.7) else draw.one(_JOURNEYS)["key"]
        key = f"once-{draw.number(1, 2)}" if draw.happens(0.3) else None
        args = (workflow, tenant, person, {"document": draw.number(1, 2)}, key, f"k{number}")
        when = _when(draw) if number else 0.0
        yield _ended(draw, Deed(f"trigger {workflow}", "simulation_trigger", args, when))
    kinds = [(weight + 5.0 * (kind == theme), kind) for weight, kind in _KINDS]
    for number in range(draw.number(1, 8)):
        kind = draw.weighed(kinds)
        if kind == "progress":
            yield Deed("progress", "", after_s=_when(draw))
        else:
            yield _ended(draw, _one(draw, kind, people, journey, number))


def _one(draw: Draw, kind: str, people: Sequence[tuple[str, str]], workflow: str, number: int) -> Deed:
    (tenant, person), key = draw.one(people), f"k{draw.weighed(((0.8, 0), (0.2, 1)))}"
    when = _when(draw)
    match kind:
        case "read":
            payload = {"document": draw.number(1, 2)}
            dedupe = "twice" if draw.happens(0.2) else None
            return Deed("signal read", "simulation_signal", ("read", tenant, person, payload, dedupe), when)
        case "skip":
            return Deed("signal skip", "simulation_signal", ("skip", tenant, person, {}, None), when)
        case "inbox":
            return Deed("read the inbox", "simulation_read", (tenant, person), when)
        case "cancel":
            return Deed("cancel", "simulation_cancel", (tenant, key), when)
        case "hold":
            return Deed("hold", "simulation_hold", (tenant, key), when)
        case "resume":
            return Deed("resume", "simulation_resume", (tenant, key), when)
        case "retry":
            return Deed("retry", "simulation_retry", (tenant, key), when)
        case "feedback":
            word = draw.one(("delivered", "bounced", "failed", "complained"))
            args = (tenant, key, word, f"event-{number}")
            return Deed(f"feedback {word}", "simulation_feedback", args, when)
        case "identify":
            profile = draw.one(
                ({"email": f"{number}@example.org"}, {"addresses": {"push": f"phone-{number}"}})
            )
            return Deed("identify", "simulation_identify", (tenant, person, profile), when)
    paused = draw.happens(0.6)
    return Deed("pause" if paused else "unpause", "simulation_pause", (workflow, paused), when)


_KINDS: Final = (
    (9.0, "read"), (2.0, "skip"), (1.0, "inbox"), (1.5, "cancel"), (1.0, "hold"), (1.0, "resume"),
    (0.7, "retry"), (2.0, "feedback"), (0.7, "identify"), (1.0, "pause"), (2.0, "progress"),
)  # fmt: skip


def _when(draw: Draw) -> float:
    """Draw a time that is likely to meet others: right now, or about when a wait ends."""
    return float(
        draw.weighed(
            (
                (3.0, 0.0),
                (2.0, draw.between(0.0, 10.0)),
                (1.0, WAIT_S - 0.001),
                (4.0, WAIT_S),
                (1.0, WAIT_S + 0.001),
                (1.0, draw.between(0.0, 2 * WAIT_S)),
            )
        )
    )


def _ended(draw: Draw, deed: Deed) -> Deed:
    if draw.happens(0.5):
        return deed
    ends = "rollback" if draw.happens(0.2) else "commit"
    return Deed(deed.label, deed.statement, deed.args, deed.after_s, transaction=True, ends=ends)

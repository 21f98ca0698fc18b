"""Journeys for simulations: definitions of all kinds, and what may be said to them. One seed, one journey.

Everything is drawn from the one `random.Random` that is given. A drawn definition is valid; ways that cost no
time lead only forward, so that none goes round without end. Small ones have few steps and few ways, for
whoever tries all orders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from chimeway.workflow.definition import (
    OUTCOMES,
    Condition,
    DataRef,
    Definition,
    DeliveryRef,
    Json,
    LiteralValue,
)
from chimeway.workflow.durations import iso_instant
from chimeway.workflow.encode import conditions_of, required_data
from chimeway.workflow.parse import check

SIGNAL_TYPES: Final = ("read", "seen", "skip", "chimeway.delivery.bounced")
_DURATIONS: Final = ("PT30S", "PT10M", "PT2H", "P1D")
_LITERALS: Final[tuple[Json, ...]] = (1, 1.0, True, "1", None, {"value": {"a": 1}}, [1])
_LASTING: Final = ("duration", "at")
"""Kinds of waits that always take time: from these a way may lead back."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A signal that may be said. `condition`: one that its payload is made to meet; None: it meets none."""

    type: str
    condition: Condition | None


def drawn(random: Random, *, small: bool = False) -> Definition:
    """Return a valid definition.

    Args:
        random: what it is drawn from, and nothing else.
        small: two or three steps, few rules, no calendar: for exhaustive search.
    """
    form = _Drawing(random, small=small).form()
    while (checked := check(form)).definition is None:  # a round that does not lead back to its step is none
        for fault in checked.errors:
            if not fault.path.endswith(".next.repeat"):
                raise AssertionError(f"a definition was drawn that is not valid: {fault}")
            step = form["steps"][int(fault.path.split("[")[1].split("]")[0])]
            step["next"] = step["next"]["then"]
    return checked.definition


def data_for(definition: Definition, random: Random, now: datetime) -> dict[str, Any]:
    """Return data for its trigger, with instants about `now` where it wants some."""
    data: dict[str, Any] = {"doc": random.choice((1, 2))}
    for name, kind in required_data(definition).items():
        if kind == "instant":
            data[name] = iso_instant(now + timedelta(minutes=random.choice((-10, 10, 200))))
    return data


def utterances(definition: Definition) -> tuple[Utterance, ...]:
    """Return what is worth saying to its runs: what meets each condition, and what meets none."""
    found: list[Utterance] = []
    for condition in conditions_of(definition):
        fitting, missing = Utterance(condition.signal_type, condition), Utterance(condition.signal_type, None)
        found += [each for each in (fitting, missing) if each not in found]
    return tuple(found)


def payload_for(
    utterance: Utterance, data: Mapping[str, Any], delivery_ids: Mapping[str, str]
) -> dict[str, Any]:
    """Return a payload that meets its condition, as far as what that refers to is there.

    `delivery_ids`: the id of each step's latest delivery, as text.
    """
    payload: dict[str, Any] = {}
    for name, term in utterance.condition.match if utterance.condition else ():
        match term:
            case LiteralValue(value):
                payload[name] = value
            case DataRef(name=field) if field in data:
                payload[name] = data[field]
            case DeliveryRef(step_id=step) if step in delivery_ids:
                payload[name] = delivery_ids[step]
            case _:
                pass
    return payload


class _Drawing:
    """One definition while it is drawn."""

    def __init__(self, random: Random, *, small: bool) -> None:
        self.random, self.small = random, small
        many = random.randint(2, 3) if small else random.randint(2, 6)
        self.ids = [f"s{place}" for place in range(1, many + 1)]
        waits = ("duration",) if small else ("duration", "duration", "instant", "data", "at", "within")
        self.kinds = [random.choice(("notify", random.choice(waits))) for _ in self.ids]
        if "notify" not in self.kinds:
            self.kinds[-1] = "notify"
        self.notifies = [each for each, kind in zip(self.ids, self.kinds, strict=True) if kind == "notify"]

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def form(self) -> dict[str, Json]:
        form: dict[str, Json] = {"key": "drawn", "version": 1}
        form["steps"] = [self.step(place) for place in range(len(self.ids))]
        if self.chance(15 if self.small else 30):
            form["stop_conditions"] = [self.condition(["stop"], workflow=True)]
        return form

    def step(self, place: int) -> dict[str, Json]:
        later = self.ids[place + 1 :]
        ways = self.ids if self.kinds[place] in _LASTING and not self.small else later
        step: dict[str, Json] = {"id": self.ids[place]}
        if self.kinds[place] == "notify":
            step["action"] = self.notify()
            if self.chance(60):
                step["progress"] = self.rules(later)
        else:
            step["action"] = self.wait(self.kinds[place], ways)
        if later and self.chance(20):
            step["next"] = self.random.choice([*ways, "end"])
        elif len(ways) > 1 and self.chance(20):
            back, then = self.random.sample([*ways, "end"], 2)
            if back != "end":
                step["next"] = {"repeat": back, "times": self.random.randint(1, 2), "then": then}
        return step

    def notify(self) -> dict[str, Json]:
        channel = self.random.choice(("in_app", "email", "email", "sms"))
        return {"type": "notify", "channel": channel, "render_key": "r"}

    def wait(self, kind: str, ways: Sequence[str]) -> dict[str, Json]:
        hours = {"from": "09:00", "to": "17:00"}
        times: dict[str, dict[str, Json]] = {
            "duration": {"duration": self.random.choice(_DURATIONS)},
            "instant": {"until": self.random.choice(("2026-01-01T11:00:00Z", "2026-01-01T14:00:00Z"))},
            "data": {"until": {"data": "when"}},
            "at": {"until": {"at": "09:00", **({"on": "working_days"} if self.chance(50) else {})}},
            "within": {"until": {"within": hours}},
        }
        action: dict[str, Json] = {"type": "wait", **times[kind]}
        thens: list[Json] = ["stop", "stop", "continue", *({"goto": way} for way in ways)]
        many = self.random.choice((0, 1, 1, 1, 2))
        if many:
            action["stop_conditions"] = [self.condition(thens) for _ in range(many)]
        return action

    def rules(self, later: Sequence[str]) -> list[Json]:
        rules: list[Json] = []
        for outcome in self.random.sample(OUTCOMES, self.random.choice((0, 1, 1, 2))):
            if later and self.chance(75):
                rule: dict[str, Json] = {"kind": "on_outcome", "outcome": outcome}
                rule["to_step"] = self.random.choice(later)
                if self.chance(30):
                    rule["keep_retrying"] = True
                rules.append(rule)
            else:
                rules.append({"kind": "stop", "outcome": outcome})
        if self.small and not later:  # a way back would be gone round without end
            return rules or [{"kind": "stop", "outcome": "bounced"}]
        if self.chance(50) or not rules:
            rules.insert(self.random.randint(0, len(rules)), self.wait_until(later))
        return rules

    def wait_until(self, later: Sequence[str]) -> dict[str, Json]:
        to = self.random.choice(later if self.small else self.ids)
        rule: dict[str, Json] = {"kind": "wait_until", "to_step": to}
        if self.chance(50):
            rule["delay"] = self.random.choice(_DURATIONS)
        else:
            rule["delay_seconds"] = self.random.choice((30, 600.5))
        if self.chance(60):
            signal = {"type": "signal_received", "signal_type": self.random.choice(SIGNAL_TYPES)}
            rule["cancel_signals"] = [signal]
        return rule

    def condition(self, thens: Sequence[Json], *, workflow: bool = False) -> dict[str, Json]:
        types = SIGNAL_TYPES[:1] if self.small else SIGNAL_TYPES
        condition: dict[str, Json] = {"type": "signal_received", "signal_type": self.random.choice(types)}
        if self.chance(10 if self.small else 45):
            terms: list[Json] = [{"data": "doc"}, *({"delivery": each} for each in self.notifies)]
            terms += self.random.sample(_LITERALS, 2)
            condition["match"] = {"about": self.random.choice(terms)}
        then = self.random.choice(thens)
        if then != "stop":
            condition["then"] = then
        if not workflow and self.chance(25):
            condition["since"] = "entered"
        return condition

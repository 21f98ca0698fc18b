"""The checker finds what is lost, doubled or wrong, and lets pass what cannot be helped, from logs alone."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from faults import checker
from faults.journal import Entry
from faults.plan import Act, Kind, Plan
from faults.schedule import Happened
from faults.story import Item, told

WAIT = 10
BEGAN, KNOWN, ITEM = 1_000.0, 1_000.3, 1_000.2
DUE = ITEM + WAIT
RUN, OTHER = (f"{1_000_200:012x}"[:8] + f"-{1_000_200 % 65_536:04x}-7000-8000-00000000000{n}" for n in (1, 2))
"""Ids of runs that began then."""
KEY = "delivery-1"


def plan(kind: Kind = "hook", act: Act = "leave", *misbehaviour: str) -> Plan:
    """Return a journey's plan."""
    return Plan("p1-1", kind, WAIT, "acme", "p1-person-1", act, 5.0, misbehaviour)


class Case:
    """One journey's logs, as a test tells them."""

    def __init__(self, the_plan: Plan) -> None:
        """Begin with a trigger that was committed, and its item where it has one."""
        self.plan = the_plan
        self.producer: list[Entry] = [
            {"t": BEGAN, "w": "intent", "act": "trigger", "j": "p1-1", "plan": the_plan.to_json()},
            {"t": KNOWN, "w": "committed", "act": "trigger", "j": "p1-1", "run": RUN},
        ]
        self.provider: list[Entry] = []
        self.items = [] if the_plan.kind == "chain" else [self.item()]
        self.faults: list[Happened] = []

    def item(self, **changes: Any) -> Item:
        """Return the item that belongs there, or another."""
        return replace(Item("item-1", RUN, "p1-1", "acme", "p1-person-1", ITEM), **changes)

    def says(self, act: str, begun: float, known: float | None, **answer: Any) -> "Case":
        """Have the producer do something, known to be done or not."""
        self.producer.append({"t": begun, "w": "intent", "act": act, "j": "p1-1"})
        if known is not None:
            self.producer.append({"t": known, "w": "committed", "act": act, "j": "p1-1", **answer})
        return self

    def call(self, at: float, step: str = "tell", answer: str | None = "ok", **changes: Any) -> "Case":
        """Have the provider called."""
        number = 1 + sum(entry["w"] == "call" for entry in self.provider)
        via = "smtp" if (self.plan.kind, step) in {("mail", "tell"), ("chain", "tell")} else "http"
        words: dict[str, Any] = {
            "via": via, "node": "node1", "key": f"{KEY}-{step}", "j": "p1-1", "step": step, "plan": "ok",
            "to": self.plan.address if via == "smtp" else self.plan.recipient,
            "says": "p1-1 for p1-person-1",
        } | ({"tenant": "acme", "run": RUN} if via == "http" else {})  # fmt: skip
        self.provider.append({"t": at, "w": "call", "c": number, **words, **changes})
        if answer is not None:
            self.provider.append({"t": at + 0.01, "w": "answer", "c": number, "answer": answer})
        return self

    def fault(self, kind: str, began: float, ended: float, whom: str = "node1") -> "Case":
        """Have something go wrong."""
        self.faults.append(Happened(1, kind, whom, began, ended, 500, {}))
        return self

    def judged(self) -> checker.Judgement:
        """Judge it."""
        return checker.judge(told([self.producer], self.provider, self.items), self.faults)

    def verdicts(self) -> list[str]:
        """Return what is found to be wrong."""
        return sorted({finding.verdict for finding in self.judged().findings})


def stopped(*on_their_way: str) -> list[Entry]:
    """Return the answer of a cancel that stopped the run."""
    way = list(on_their_way)
    return [{"outcome": "stopped", "state": "stopped", "step": "wait", "cancelled": [], "on_their_way": way}]


ENDED = [
    {"outcome": "already_ended", "state": "completed", "step": "tell", "cancelled": [], "on_their_way": []}
]


def _read(kind: Kind = "hook", begun: float = DUE - 3, known: float | None = DUE - 2.9) -> Case:
    return Case(plan(kind, "read")).says("read", begun, known)


def _cancelled(at: float, *on_their_way: str) -> Case:
    return Case(plan(act="cancel")).says("cancel", at - 0.1, at, answer=stopped(*on_their_way))


def _held(until: float) -> Case:
    case = Case(plan(act="hold"))
    case.producer += [
        {"t": DUE - 0.8, "w": "held", "act": "hold", "j": "p1-1"},
        {"t": until, "w": "releasing", "act": "hold", "j": "p1-1"},
        {"t": until + 0.01, "w": "released", "act": "hold", "j": "p1-1", "until": until},
    ]
    return case.says("read", DUE + 0.5, DUE + 0.6)


def _rolled_back() -> Case:
    case = Case(plan(act="roll_back"))
    case.producer[1] = {"t": KNOWN, "w": "rolled_back", "act": "trigger", "j": "p1-1"}
    case.items = []
    return case


def _without_item(case: Case) -> Case:
    case.items = []
    return case


def _again(case: Case, *items: Item) -> Case:
    case.items += items
    return case


def _hung() -> Case:
    """Called, and answered after more than any node waits for."""
    case = Case(plan("hook", "leave", "hang")).call(DUE, answer=None)
    case.provider.append({"t": DUE + 8, "w": "answer", "c": 1, "answer": "ok"})
    return case


def _refused_when_cancelled() -> Case:
    """Cancelled between a call, which the answer says is on its way, and a refusal."""
    case = _cancelled(DUE + 0.3, f"{KEY}-tell").call(DUE + 0.1, answer=None)
    case.provider.append({"t": DUE + 0.8, "w": "answer", "c": 1, "answer": "refuse"})
    return case


def _never_known(act: Act | Literal["trigger"]) -> Case:
    """All is as it must be, but its producer ended without having heard of an act of its."""
    if act == "trigger":
        case = Case(plan()).call(DUE)
        del case.producer[1]
        return case
    return Case(plan(act=act)).says(act, DUE + 1, None).call(DUE)


def _chain() -> Case:
    return Case(plan("chain")).call(BEGAN + 1, "first")


RIGHT: dict[str, Case] = {
    "sent when due": Case(plan()).call(DUE + 0.01),
    "a mail sent when due": Case(plan("mail")).call(DUE),
    "sent late": Case(plan()).call(DUE + 60),
    "read in time, and nothing sent": _read(),
    "read about when it was due, and sent": _read("hook", DUE - 0.1, DUE + 0.1).call(DUE + 0.2),
    "read about when it was due, and not sent": _read("hook", DUE - 0.1, DUE + 0.1),
    "read after it was sent": _read("hook", DUE + 2, DUE + 2.1).call(DUE + 0.2),
    "read after a first call, and sent after a refusal": _read("hook", DUE + 2, DUE + 2.1)
    .call(DUE, answer="refuse").call(DUE + 3),
    "read while somebody sat on the run": _held(DUE + 1),
    "cancelled before it was due": _cancelled(DUE - 5),
    "cancelled while it was called for": _cancelled(DUE + 0.1, f"{KEY}-tell").call(DUE + 0.3),
    "refused after it was cancelled": _refused_when_cancelled(),
    "a call that came late after a cancel, and after one that was refused": _cancelled(
        DUE + 0.9, f"{KEY}-tell").call(DUE + 0.1, answer="refuse").call(DUE + 1),
    "called again when it was waited for no longer": _hung().call(DUE + 6.1),
    "cancelled before its item": _without_item(_cancelled(BEGAN + 0.15)),
    "cancelled after its end": Case(plan(act="cancel")).call(DUE)
    .says("cancel", DUE + 1, DUE + 1.1, answer=ENDED),
    "rolled back": _rolled_back(),
    "two messages in order": _chain().call(BEGAN + 1 + WAIT + 0.1),
    "thanks": _read("choice").call(DUE - 2.8, "thanks"),
    "reminded": Case(plan("choice")).call(DUE, "remind"),
    "refused, then taken": Case(plan("hook", "leave", "refuse")).call(DUE, answer="refuse").call(DUE + 2),
    "taken twice around a kill": Case(plan()).call(DUE).call(DUE + 3, node="node2")
    .fault("kill", DUE + 0.1, DUE + 2),
    "taken twice around a failover": Case(plan()).call(DUE).call(DUE + 9, node="node2")
    .fault("failover", DUE - 1, DUE + 5, "*"),
    "recorded late behind a lock, then killed": Case(plan()).call(DUE).call(DUE + 9, node="node2")
    .fault("lock", DUE - 1, DUE + 4, "*").fault("kill", DUE + 5, DUE + 7),
    "taken twice around the provider's end": Case(plan()).call(DUE).call(DUE + 3)
    .fault("provider_down", DUE, DUE + 2, "*"),
    "taken twice, the first while no answer was let through": Case(plan()).call(DUE).call(DUE + 3)
    .fault("unanswered", DUE - 1, DUE + 2),
    "called late by a node that was frozen": Case(plan()).call(DUE, node="node2").call(DUE + 5)
    .fault("freeze", DUE - 1, DUE + 4.9),
}  # fmt: skip
WRONG: dict[str, tuple[str, Case]] = {
    "never sent": ("lost", Case(plan())),
    "sent, and never taken": ("lost", Case(plan()).call(DUE, answer="refuse")),
    "no item": ("lost", _without_item(Case(plan()).call(BEGAN + WAIT))),
    "read too late, and never taken": ("lost", _read("hook", DUE + 2, DUE + 3).call(DUE, answer="reset")),
    "no thanks": ("lost", _read("choice")),
    "neither message": ("lost", Case(plan("choice"))),
    "the first of two never taken": ("lost", Case(plan("chain"))),
    "the second of two never taken": ("lost", _chain()),
    "not sent although the cancel found it ended": (
        "lost", Case(plan(act="cancel")).says("cancel", DUE + 1, DUE + 2, answer=ENDED)),
    "two items": ("duplicated", _again(Case(plan()).call(DUE), Case(plan()).item(id="item-2"))),
    "two keys": ("duplicated", Case(plan()).call(DUE).call(DUE + 1, key="delivery-2")),
    "two runs": ("duplicated", Case(plan()).call(DUE).says("trigger", BEGAN + 1, BEGAN + 2, run=OTHER)),
    "taken twice for no reason": ("duplicated", Case(plan()).call(DUE).call(DUE + 1)),
    "taken twice, a kill of another node": (
        "duplicated", Case(plan()).call(DUE).call(DUE + 9).fault("kill", DUE, DUE + 2, "node3")),
    "taken twice, a kill long after": (
        "duplicated", Case(plan()).call(DUE).call(DUE + 9).fault("kill", DUE + 6, DUE + 8)),
    "taken twice, the provider long back": (
        "duplicated", Case(plan()).call(DUE).call(DUE + 9).fault("provider_down", DUE - 3, DUE - 1, "*")),
    "taken twice, answers long let through": (
        "duplicated", Case(plan()).call(DUE).call(DUE + 9).fault("unanswered", DUE - 3, DUE - 1)),
    "taken twice around a clean hand-over": (
        "duplicated", Case(plan()).call(DUE).call(DUE + 2).fault("hand_over", DUE, DUE + 1)),
    "too early": ("wrong", Case(plan()).call(DUE - 0.2)),
    "read in time, and sent": ("wrong", _read().call(DUE)),
    "read at once, and sent": ("wrong", Case(plan(act="read_at_once")).call(DUE)),
    "read while somebody sat on the run, and sent": ("wrong", _held(DUE + 1).call(DUE + 1.1)),
    "called after a cancel": ("wrong", _cancelled(DUE + 0.1).call(DUE + 0.3)),
    "called twice after a cancel": (
        "wrong", _cancelled(DUE + 0.1, f"{KEY}-tell").call(DUE + 0.3, answer="refuse").call(DUE + 3)),
    "a message of what was rolled back": ("wrong", _rolled_back().call(DUE)),
    "an item of what was rolled back": ("wrong", _again(_rolled_back(), Case(plan()).item())),
    "to another": ("wrong", Case(plan()).call(DUE, to="p1-person-2")),
    "to another tenant's": ("wrong", Case(plan()).call(DUE, tenant="globex")),
    "to another's address": ("wrong", Case(plan("mail")).call(DUE, to="p1-person-2@acme.example.org")),
    "in another's words": ("wrong", Case(plan()).call(DUE, says="p1-1 for p1-person-2")),
    "in another's inbox": (
        "wrong", _again(_without_item(Case(plan()).call(DUE)), Case(plan()).item(recipient="p1-person-2"))),
    "both ways": ("wrong", _read("choice").call(DUE - 2, "thanks").call(DUE, "remind")),
    "thanks for nothing": ("wrong", Case(plan("choice")).call(DUE, "thanks")),
    "reminded in vain": ("wrong", _read("choice").call(DUE, "remind")),
    "the second of two first": ("wrong", _chain().call(BEGAN, "tell")),
    "an item of a journey without one": (
        "wrong", _again(_chain().call(BEGAN + 2 + WAIT), Case(plan()).item())),
    "of no journey": ("wrong", Case(plan()).call(DUE).call(DUE, j="p9-9")),
    "a message that its journey has not": ("wrong", Case(plan()).call(DUE).call(DUE, "thanks")),
    "by another channel": ("wrong", Case(plan("mail")).call(DUE, via="http", to="p1-person-1")),
    "a message before its item": (
        "wrong", _again(_without_item(Case(plan()).call(DUE)), Case(plan()).item(at=DUE + 1))),
    "an item after a cancel": (
        "wrong", _again(_without_item(_cancelled(BEGAN + 1)), Case(plan()).item(at=BEGAN + 1.2))),
    "called again while it was waited for": (
        "duplicated", _hung().call(DUE + 1)),
    "called again, not knowing of a stop, after the call that was on its way": (
        "wrong", _refused_when_cancelled().call(DUE + 3)),
    "a trigger of which nobody ever knew": ("wrong", _never_known("trigger")),
    "a reading of which nobody ever knew": ("wrong", _never_known("read")),
    "a cancel of which nobody ever knew": ("wrong", _never_known("cancel")),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_or_cannot_be_helped_is_let_pass(name: str) -> None:
    """Nothing is found where nothing is wrong."""
    assert RIGHT[name].judged().findings == []


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_right_is_found(name: str) -> None:
    """Each thing that may be wrong is found, and called by its name."""
    verdict, case = WRONG[name]
    assert verdict in case.verdicts(), case.judged()


def test_repeats_are_counted_apart() -> None:
    """What a fault explains is counted by the fault; what was planned is counted as such."""
    killed, refused = RIGHT["taken twice around a kill"].judged(), RIGHT["refused, then taken"].judged()
    assert (killed.counts["repeats under unknown"], dict(killed.unknown_by)) == (1, {"kill": 1})
    assert (refused.counts["repeats as planned"], refused.counts["repeats under unknown"]) == (1, 0)


def test_it_is_said_how_much_is_seen() -> None:
    """A message near a fault may come again unseen; that is counted, so that nobody believes too much."""
    clear, near = RIGHT["sent when due"], RIGHT["taken twice around a kill"]

    def seen(case: Case) -> tuple[int, int]:
        return checker.seen_clearly(told([case.producer], case.provider, case.items), case.faults)

    assert (seen(clear), seen(near), seen(WRONG["never sent"][1])) == ((1, 1), (0, 1), (0, 0))


def test_an_answer_that_was_lost_counts_when_it_comes_again() -> None:
    """A cancel whose commit's answer was lost is known by its second try, with what the first had said."""
    case = Case(plan(act="cancel"))
    case.producer += [
        {"t": DUE - 1, "w": "intent", "act": "cancel", "j": "p1-1"},
        {"t": DUE, "w": "answer", "act": "cancel", "j": "p1-1", "answer": stopped(f"{KEY}-tell")},
        {"t": DUE + 1, "w": "unknown", "act": "cancel", "j": "p1-1"},
    ]
    found = [{**ENDED[0], "state": "stopped"}]
    case.says("cancel", DUE + 2, DUE + 3, answer=found).call(DUE + 4)
    assert case.verdicts() == []
    case.call(DUE + 5)
    assert case.verdicts() == ["duplicated", "wrong"]

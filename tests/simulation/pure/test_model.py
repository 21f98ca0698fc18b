"""The reference model: small, apart from the engine, of one mind with the core on all kinds of journeys."""

import ast
import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chimeway import limits
from chimeway.progression.decide import decide
from chimeway.progression.decision import Decision, Noop
from chimeway.progression.paper import Paper, delivery_id, written_down
from chimeway.testing.simulation import model
from chimeway.testing.simulation.facts import (
    Answered,
    Attempted,
    Begun,
    Born,
    Called,
    Decided,
    Fact,
    Ordered,
    Picture,
    Routed,
    Said,
    Told,
)
from chimeway.testing.simulation.model import Contradiction, Reference
from chimeway.testing.simulation.tables import picture
from chimeway.workflow.parse import parse
from property.journeys import Attempt, Event, Journey, Signal, begun

HERE = Path(model.__file__).parent
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ESCALATION = parse(
    {
        "key": "mention",
        "version": 1,
        "steps": [
            {"id": "bell", "action": {"type": "notify", "channel": "in_app", "render_key": "r"}},
            {
                "id": "gate",
                "action": {
                    "type": "wait",
                    "duration": "PT2H",
                    "stop_conditions": [{"type": "signal_received", "signal_type": "read"}],
                },
            },
            {"id": "mail", "action": {"type": "notify", "channel": "email", "render_key": "r"}},
        ],
    }
)


def said(signal: str, arrival: int, at: datetime = NOON, actor: str = "ada") -> Said:
    return Said(signal=signal, type="read", arrival=arrival, at=at, actor=actor)


def at_the_gate() -> Reference:
    reference = Reference(ESCALATION, Begun(run="r", recipient="ada", arrival=5))
    reference.happened(Decided(NOON, NOON, {1: Born("d1", "succeeded")}))
    return reference


def at_the_mail() -> Reference:
    reference = at_the_gate()
    later = NOON + timedelta(hours=2)
    reference.happened(Decided(later, later, {3: Born("d3")}))
    return reference


def test_the_model_is_small() -> None:
    """It has at most 300 lines: what judges the engine must itself be read in one sitting."""
    assert len(Path(model.__file__).read_text("utf-8").splitlines()) <= 300


def test_the_model_shares_nothing_with_the_engine_but_what_a_workflow_is() -> None:
    """Of Chimeway it imports `workflow` and its own two files of words, and these nothing else either."""
    own = {f"chimeway.testing.simulation.{name}" for name in ("facts", "records")}
    for name in ("model", "facts", "records"):
        tree = ast.parse((HERE / f"{name}.py").read_text("utf-8"))
        imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported += [
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        ]
        ours = {module for module in imported if module.startswith("chimeway")}
        allowed = own | {"chimeway.testing.simulation", "chimeway.workflow"}
        assert {module for module in ours if not module.startswith("chimeway.workflow.")} <= allowed


def test_the_limits_of_the_model_are_those_of_the_engine() -> None:
    """It has them from the semantics; who changes one changes the other."""
    assert model.MAX_STEPS == limits.MAX_STEPS_PER_DECISION
    assert model.MAX_SIGNALS == limits.MAX_SIGNALS_PER_DECISION
    assert model.MAX_VISITS == limits.MAX_VISITS
    assert timedelta(milliseconds=limits.CLOCK_AHEAD_MS) == model.AHEAD


def test_a_journey_as_the_model_sees_it() -> None:
    """A message, a wait, and a signal that stops it."""
    reference = at_the_gate()
    assert reference.picture.due == NOON + timedelta(hours=2)
    assert not reference.moves(NOON + timedelta(minutes=119))
    assert reference.moves(NOON + timedelta(hours=2))
    reference.happened(said("s1", 6))
    assert reference.moves(NOON)
    reference.happened(Routed(1, "s1"))
    reference.happened(Decided(NOON, NOON))
    assert reference.picture == Picture(
        state="stopped",
        step="gate",
        visit=2,
        status_reason="workflow_stopped",
        held=False,
        due=None,
        unread=(),
        deliveries={1: ("bell", "succeeded", None)},
        trail=(
            ("step_activated", "active", "bell", 1),
            ("progressed_on_delivery_outcome", "active", "bell", 1),
            ("step_activated", "active", "gate", 2),
            ("waiting_for_step_progression", "waiting", "gate", 2),
            ("signal_received", "active", "gate", 2),
            ("workflow_stopped", "stopped", "gate", 2),
        ),
    )


LATER = NOON + timedelta(hours=2)
CANNOT_BE: dict[str, tuple[Reference, list[Fact], str]] = {
    "a wait elapses early": (
        at_the_gate(),
        [Decided(LATER - timedelta(microseconds=1), LATER, {3: Born("d3")})],
        "where nothing follows",
    ),
    "a decision for an instant that has not come": (
        at_the_gate(),
        [Decided(LATER, LATER - timedelta(milliseconds=51), {3: Born("d3")})],
        "has not come",
    ),
    "a wait elapses past a signal": (
        at_the_gate(),
        [said("s1", 6), Decided(LATER, LATER, {3: Born("d3")})],
        "could be seen, and was not",
    ),
    "a signal that was said before the trigger is heard": (
        at_the_gate(),
        [said("s1", 4), Routed(1, "s1")],
        "not for this run",
    ),
    "a signal of somebody else is heard": (
        at_the_gate(),
        [said("s1", 6, actor="bob"), Routed(1, "s1")],
        "not for this run",
    ),
    "a signal is heard twice": (
        at_the_gate(),
        [said("s1", 6), Routed(1, "s1"), Routed(2, "s1")],
        "had been before",
    ),
    "a number of the mailbox is left out": (at_the_gate(), [said("s1", 6), Routed(2, "s1")], "numbered"),
    "a message is planned twice": (
        at_the_gate(),
        [Decided(LATER, LATER, {3: Born("d3"), 4: Born("d4")})],
        "to be planned were those of visits [3]",
    ),
    "a step is entered twice": (at_the_mail(), [Decided(LATER, LATER, {4: Born("d4")})], "nothing follows"),
    "an attempt past a signal": (
        at_the_mail(),
        [said("s1", 6, LATER), Attempted(3, 1)],
        "could be seen, and was not",
    ),
    "an attempt that its run would call off": (
        at_the_mail(),
        [said("s1", 6, LATER), Routed(1, "s1"), Attempted(3, 1)],
        "its run would call it off",
    ),
    "an attempt of a message that went out": (
        at_the_mail(),
        [Attempted(3, 1), Answered(3, 1, "succeeded", "succeeded", LATER), Attempted(3, 2)],
        "must not be sent",
    ),
    "an attempt after a cancel": (at_the_mail(), [Ordered("cancel"), Attempted(3, 1)], "must not be sent"),
    "an attempt while held": (at_the_mail(), [Ordered("hold"), Attempted(3, 1)], "while the run was held"),
    "a first attempt while paused": (at_the_mail(), [Ordered("pause"), Attempted(3, 1)], "paused"),
    "attempts are numbered wrongly": (at_the_mail(), [Attempted(3, 2)], "numbered"),
    "a call without attempt": (at_the_mail(), [Called(3, 1)], "without an attempt row"),
    "two calls for one attempt": (at_the_mail(), [Attempted(3, 1), Called(3, 1), Called(3, 1)], "twice"),
    "a result without attempt": (
        at_the_mail(),
        [Answered(3, 1, "succeeded", "succeeded", LATER)],
        "a result without attempt",
    ),
    "a decision while held": (at_the_gate(), [Ordered("hold"), Decided(LATER, LATER)], "nothing follows"),
    "a cancel of what has ended": (at_the_gate(), [Ordered("cancel"), Ordered("cancel")], "had ended"),
    "feedback of what nobody sent": (at_the_gate(), [Told(1, "bounced", NOON)], "nobody sent"),
    "news of no message": (at_the_gate(), [Attempted(2, 1)], "no message was planned"),
}


@pytest.mark.parametrize("case", CANNOT_BE)
def test_what_cannot_be_is_contradicted(case: str) -> None:
    """Each promise that a fact can break, broken."""
    reference, facts, told = copy.deepcopy(CANNOT_BE[case])
    *before, last = facts
    for fact in before:
        reference.happened(fact)
    with pytest.raises(Contradiction) as caught:
        reference.happened(last)
    assert told in str(caught.value)


def test_what_came_too_late_for_a_transaction_does_not_count_against_it() -> None:
    """A signal that was committed after a door's look (6 c)."""
    reference = at_the_gate()
    reference.happened(said("s1", 6))
    reference.happened(Decided(LATER, LATER, {3: Born("d3")}, frozenset({"s1"})))
    assert reference.picture.step == "mail"


def test_a_retry_may_go_on_while_nobody_listens() -> None:
    """What an outcome would call off, once somebody decides again, is not called off by a signal (6 b)."""
    form = {
        "key": "retried",
        "version": 1,
        "steps": [
            {
                "id": "mail",
                "action": {"type": "notify", "channel": "email", "render_key": "r"},
                "progress": [{"kind": "stop", "outcome": "temporary_failure"}],
            }
        ],
    }
    reference = Reference(parse(form), Begun(run="r", recipient="ada", arrival=5))
    for fact in (
        Decided(NOON, NOON, {1: Born("d1")}),
        Attempted(1, 1),
        Ordered("pause"),
        Answered(1, 1, "failed", "failed", NOON),
        Attempted(1, 2),
    ):
        reference.happened(fact)
    assert reference.picture.deliveries == {1: ("mail", "dispatched", None)}


@dataclass
class Watched(Journey):
    """A journey on paper, and the model beside it."""

    facts: list[Fact] = field(default_factory=list)

    def __post_init__(self) -> None:
        paper = self.paper
        self.reference = Reference(
            paper.definition,
            Begun(
                run="r", recipient="ada", arrival=0, data=paper.data, zone=paper.zone, working=paper.working
            ),
        )

    def tell(self, *facts: Fact) -> bool:
        """Tell the model; False: it says that this cannot be, and nothing happened."""
        reference = copy.copy(self.reference)
        try:
            for fact in facts:
                reference.happened(fact)
        except Contradiction:
            return False
        self.reference = reference
        self.facts += facts
        return True

    def happen(self, event: Event) -> None:
        """Let the world change, where the model says that it can."""
        if isinstance(event, Attempt):
            visits = sorted(self.paper.deliveries)[-2 if event.before else -1 :][:1]
            if not all(self.tell(*self._became(visit, event)) for visit in visits):
                return
        super().happen(event)
        if isinstance(event, Signal):
            mail = self.paper.mail[-1]
            listened = mail.type in self.reference._types
            told = Said(
                signal=str(mail.number), type=mail.type, arrival=mail.number, at=mail.created_at, actor="ada",
                payload=mail.payload,
            )  # fmt: skip
            if not listened or self.paper.run.state not in ("active", "waiting"):
                run = self.paper.run  # the paper's router puts everything in; ours knows better
                run = type(run)(
                    **{**{n: getattr(run, n) for n in run.__slots__}, "mailbox_count": run.mailbox_count - 1}
                )
                self.paper = Paper(**{**_fields(self.paper), "run": run, "mail": self.paper.mail[:-1]})
                return
            assert self.tell(told, Routed(mail.number, told.signal))

    def _became(self, visit: int, event: Attempt) -> list[Fact]:
        row, at = self.paper.deliveries[visit], self.now
        if row.status in ("succeeded", "suppressed", "cancelled"):
            return (
                [Told(visit, "bounced", at)]
                if (row.status, event.outcome) == ("succeeded", "bounced")
                else []
            )
        begins = [] if row.status == "dispatched" else [Attempted(visit, row.attempts + 1)]
        number = row.attempts + len(begins)
        match event.outcome:
            case None:
                return begins or [Called(visit, 0), Called(visit, 0)]
            case "suppressed":
                return [Answered(visit, None, None, "suppressed", at, "no_address")]
            case "delivered":
                return [*begins, Answered(visit, number, "succeeded", "succeeded", at)]
            case "temporary_failure":
                return [*begins, Answered(visit, number, "failed", "failed", at)]
            case reason:
                return [*begins, Answered(visit, number, "failed", "cancelled", at, reason)]

    def evaluate(self) -> None:
        """Decide until nothing follows, and compare after each decision."""
        for _ in range(50):
            answer = decide(self.paper.snapshot, self.now, self.born)
            assert self.reference.moves(self.now) is isinstance(answer, Decision), answer
            if isinstance(answer, Noop):
                return
            self.paper = written_down(self.paper, answer)
            births = {
                plan.visit: Born(str(delivery_id(plan.visit)), plan.birth.status, plan.birth.reason)
                for plan in answer.planned
            }
            self.reference.happened(Decided(self.now, self.now, births))
            assert not self.reference.picture.differences(_picture(self.paper))


def _fields(paper: Paper) -> dict[str, object]:
    return {name: getattr(paper, name) for name in paper.__slots__}


def _picture(paper: Paper) -> Picture:
    return picture(
        paper.run,
        unread=(mail.number for mail in paper.mail),
        deliveries=paper.deliveries,
        transitions=paper.transitions[1:],
    )


# How long an example takes is the machine's affair.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(begun(), st.data())
def test_core_and_model_are_of_one_mind(begun: tuple[Journey, list[Event]], data: st.DataObject) -> None:
    """Whatever happens to a journey of whatever kind: the same decisions, and the same rows after each."""
    _play(begun, data)


@pytest.mark.big
@pytest.mark.timeout(1200)
@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(begun(), st.data())
def test_core_and_model_are_of_one_mind_for_long(
    begun: tuple[Journey, list[Event]], data: st.DataObject
) -> None:
    """The same, thousands of times."""
    _play(begun, data)


def _play(begun: tuple[Journey, list[Event]], data: st.DataObject) -> None:
    journey, happening = begun
    watched = Watched(journey.paper, journey.births)
    watched.evaluate()
    for event in happening:
        watched.happen(event)
        if data.draw(st.booleans()):
            watched.evaluate()
    watched.evaluate()

"""Steps that lead back so often and no more: written, refused, drawn, walked, rehearsed and replayed."""

import json
from datetime import timedelta
from typing import Any

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import Decision
from chimeway.progression.fold import fold
from chimeway.progression.paper import Paper, attempted, signalled, triggered, written_down
from chimeway.progression.rehearse import rehearse
from chimeway.progression.replay import differences, replay
from chimeway.workflow.build import Notify, Wait, Workflow, repeat, signal_received
from chimeway.workflow.build_times import local_time
from chimeway.workflow.definition import Definition, Repeat
from chimeway.workflow.drawing import drawn
from chimeway.workflow.encode import digest, encode
from chimeway.workflow.parse import check, parse
from chimeway.workflow.paths import paths
from chimeway.workflow.survey import messages, survey
from pure.progression_rows import NOW, born
from pure.workflow_forms import notify, wait, workflow

REMINDERS = Workflow(
    key="reminders",
    version=1,
    steps=[
        Wait("morning", until=local_time("09:00"), stop_conditions=[signal_received("read")]),
        Notify(
            "remind", channel="email", render_key="hello", next=repeat("morning", times=4, then="tell_boss")
        ),
        Notify("tell_boss", channel="email", render_key="boss"),
    ],
)
BACK: dict[str, Any] = {"repeat": "a", "times": 2, "then": "end"}


def test_it_is_one_thing_in_every_form() -> None:
    """Python and JSON; it stands in the canonical form whole; the digest is the released one."""
    form = encode(REMINDERS.definition)
    assert parse(json.loads(json.dumps(form))) == REMINDERS.definition
    assert form["steps"][1]["next"] == {"repeat": "morning", "times": 4, "then": "tell_boss"}
    assert REMINDERS.definition.steps[1].next == Repeat("morning", 4, "tell_boss")
    assert digest(REMINDERS.definition) == "010b014d4b350b155ccbd8ba5a36bf5d9294dabeacbca15c46ccc6b497d03fa2"


@pytest.mark.parametrize(
    ("following", "code", "path", "told"),
    [
        ({**BACK, "repeat": "x"}, "unknown_step", "next.repeat", "given 'x'; wanted a step's id"),
        ({**BACK, "repeat": "end"}, "unknown_step", "next.repeat", "`end` is for `next` only"),
        ({**BACK, "then": "x"}, "unknown_step", "next.then", "wanted a step's id or `end`"),
        ({**BACK, "then": "a"}, "invalid_value", "next.then", "given 'a', which is repeated"),
        ({**BACK, "times": 0}, "invalid_value", "next.times", "given 0; wanted 1 to 100"),
        ({**BACK, "times": 101}, "invalid_value", "next.times", "given 101; wanted 1 to 100"),
        ({**BACK, "times": "5"}, "wrong_type", "next.times", "given '5'; wanted a whole number"),
        ({**BACK, "times": True}, "wrong_type", "next.times", "given true; wanted a whole number"),
        ({"repeat": "a", "then": "end"}, "missing_key", "next.times", "the key 'times' is missing"),
        ({**BACK, "time": 5}, "unknown_key", "next.time", "did you mean 'times'?"),
        ({**BACK, "repeat": "c"}, "invalid_value", "next.repeat", "from which no way leads back to 'w'"),
        (5, "wrong_type", "next", "given 5; wanted a step's id, `end`, or {repeat:"),
        (["a"], "wrong_type", "next", "wanted a step's id, `end`, or {repeat:"),
    ],
)
def test_faults_are_named(following: Any, code: str, path: str, told: str) -> None:
    """Each with its place, what was given and what would be right."""
    checked = check(workflow(notify("a"), wait("w", next=following), notify("c")))
    found = [one for one in checked.errors if (one.code, one.path) == (code, f"steps[1].{path}")]
    assert len(found) == 1, checked.errors
    assert told in found[0].message


def test_a_bound_is_no_wait() -> None:
    """Without a wait that lasts, a person would get all messages at once: a bounded round needs one, too."""
    at_once = workflow(notify("a", next={"repeat": "a", "times": 2, "then": "end"}))
    assert [one.code for one in check(at_once).errors] == ["endless_cycle"]
    alone = workflow(notify("a"), wait("w", next={"repeat": "w", "times": 2, "then": "end"}))
    assert check(alone).errors == ()


def test_more_rounds_than_a_run_may_live_are_remarked_on() -> None:
    """Ten steps a hundred times are a thousand, and then the run is held: nine are not."""
    back = {"repeat": "n0", "times": 100, "then": "end"}
    for steps in (9, 10):
        found = check(workflow(*(notify(f"n{n}") for n in range(steps - 1)), wait("w", next=back)))
        told = [(one.code, one.path) for one in found.problems]
        assert told == ([("never_used", f"steps[{steps - 1}].next.times")] if steps == 10 else [])
        assert found.definition is not None


def test_it_is_drawn_with_its_bound() -> None:
    """The way back says how often it is gone; the way on, that it comes last."""
    assert [line for line in drawn(REMINDERS.definition) if line][1:] == [
        "◷ morning: waits until 09:00",
        "├─ read ──▶ ■ stopped",
        "▼ at 09:00",
        '● remind: sends email "hello"',
        "├─ again at most 4 times ──▶ ↑ morning",
        "▼ the last time",
        '● tell_boss: sends email "boss"',
        "▼",
        "■ completed",
    ]
    skipping = workflow(
        wait(
            "w",
            {"type": "signal_received", "signal_type": "skip", "then": "continue"},
            {"type": "signal_received", "signal_type": "stop"},
            next={"repeat": "w", "times": 1, "then": "a"},
        ),
        notify("a"),
    )
    assert [line for line in drawn(parse(skipping)) if line][1:7] == [
        "◷ w: waits PT2H",
        "├─ skip, again at most 1 time ──▶ ↑ w",
        "├─ skip, the last time ──▶ ↓ a",
        "├─ stop ──▶ ■ stopped",
        "├─ after PT2H, again at most 1 time ──▶ ↑ w",
        "▼ after PT2H, the last time",
    ]


def test_paths_go_round_so_often_and_end() -> None:
    """Each way that a person may leave is a path, and the longest brings every message."""
    found = list(paths(REMINDERS.definition, start=NOW))
    assert [(len(messages(path)), path.end) for path in found] == [
        *((n, "stopped") for n in (0, 1, 2, 3, 4)),
        (6, "completed"),
    ]
    seen = survey(iter(found), limit=3)
    assert (len(seen.most), seen.complete, seen.repeats) == (6, True, False)


NESTED = workflow(
    notify("a"),
    wait("inner", next={"repeat": "a", "times": 1, "then": "b"}),
    notify("b"),
    wait("outer", next={"repeat": "a", "times": 2, "then": "end"}),
)


def test_a_round_within_a_round_is_gone_in_full_each_time() -> None:
    """The inner count begins anew with each outer round."""
    played = rehearse(parse(NESTED))
    sent = [row.step_id for row in played.deliveries]
    assert sent == ["a", "a", "b"] * 3
    [path] = paths(parse(NESTED), start=NOW)
    assert [leg.step.id for leg in path.legs if leg.sends] == sent


def test_a_hundred_rounds_are_walked_and_played() -> None:
    """The most there may be: no recursion, and far from the steps that a run may enter."""
    definition = parse(
        workflow(notify("a"), wait("w", next={"repeat": "a", "times": 100, "then": "end"}), notify("b"))
    )
    [path] = paths(definition, start=NOW)
    assert (len(path.legs), path.end) == (202, "completed")
    assert len(rehearse(definition).deliveries) == 101


def test_a_round_beyond_a_runs_life_is_cut() -> None:
    """A thousand steps, as the run itself: it is held then."""
    hundred = {"repeat": "a", "times": 100, "then": "v"}
    more = {"repeat": "a", "times": 100, "then": "end"}
    definition = parse(workflow(notify("a"), wait("w", next=hundred), wait("v", next=more)))
    [path] = paths(definition, start=NOW)
    assert (len(path.legs), path.end) == (1_000, "held")
    assert rehearse(definition).run.held_reason == "too_many_steps"


class Played:
    """A run on paper, with all its decisions replayed."""

    def __init__(self, definition: Definition) -> None:
        self.paper: Paper = triggered(definition, NOW, data={})
        self.now = NOW
        self.evaluate()

    def evaluate(self) -> None:
        """Decide, write, fold and replay."""
        before = fold(self.paper.transitions)
        decision = decide(self.paper.snapshot, self.now, born)
        assert isinstance(decision, Decision)
        self.paper = written_down(self.paper, decision)
        run = self.paper.run
        state = (run.state, run.step, run.visit, run.status_reason, run.status_context)
        assert fold(self.paper.transitions) == state
        inputs = json.loads(json.dumps(decision.inputs))
        assert differences(decision, replay(self.paper.definition, before, inputs)) == ()

    def wake(self) -> None:
        """Let the wait elapse."""
        assert self.paper.run.wake_at is not None
        self.now = self.paper.run.wake_at
        self.evaluate()

    def deliver(self) -> None:
        """Let the latest message arrive."""
        self.paper = attempted(self.paper, self.paper.run.visit, "delivered", self.now)
        self.evaluate()

    @property
    def counts(self) -> object:
        """How often each step has led back, as the run's row bears it."""
        return self.paper.run.status_context.get("repeats")


def test_the_count_is_part_of_every_transition() -> None:
    """It goes up with the step that is entered again, and is carried until it is used up."""
    run = Played(REMINDERS.definition)
    counts = []
    for _ in range(4):
        run.wake()
        run.deliver()
        counts.append(run.counts)
        assert run.paper.run.step == "morning"
    assert counts == [{"remind": n} for n in (1, 2, 3, 4)]
    run.wake()
    assert run.counts == {"remind": 4}
    run.deliver()
    assert (run.paper.run.step, run.counts) == ("tell_boss", None)
    notes = [t.context["repeat"] for t in run.paper.transitions if "repeat" in t.context]
    assert notes[2] == {"step": "remind", "number": 3, "times": 4, "used_up": False}
    assert notes[-1] == {"step": "remind", "number": 4, "times": 4, "used_up": True}


def test_a_nodes_late_clock_brings_no_morning_twice() -> None:
    """Its message went out after nine: a node whose clock is a round trip late knows that."""
    run = Played(REMINDERS.definition)
    run.wake()
    nine = run.now
    run.now = nine + timedelta(milliseconds=30)
    run.paper = attempted(run.paper, run.paper.run.visit, "delivered", run.now)
    run.now = nine - timedelta(milliseconds=5)
    run.evaluate()
    assert run.paper.run.step == "morning"
    assert run.paper.run.wake_at == nine + timedelta(days=1)


def test_a_signal_that_goes_on_counts_as_time_does() -> None:
    """`continue` leads where `next` does, and uses up a round; `goto` does not."""
    definition = parse(
        workflow(
            wait(
                "w",
                {"type": "signal_received", "signal_type": "skip", "then": "continue"},
                {"type": "signal_received", "signal_type": "jump", "then": {"goto": "w"}},
                next={"repeat": "w", "times": 1, "then": "a"},
            ),
            notify("a"),
        )
    )
    run = Played(definition)
    assert run.paper.run.status_context["to_step"] == "w"
    run.paper = signalled(run.paper, "jump", {}, run.now)
    run.evaluate()
    assert (run.paper.run.step, run.counts) == ("w", None)
    run.paper = signalled(run.paper, "skip", {}, run.now)
    run.evaluate()
    assert (run.paper.run.step, run.counts) == ("w", {"w": 1})
    assert run.paper.run.status_context["to_step"] == "a"
    run.wake()
    assert (run.paper.run.step, run.counts) == ("a", None)


def test_a_rehearsal_says_which_time_it_is() -> None:
    """Line by line."""
    found = rehearse(REMINDERS.definition)
    again = [line.detail for line in found.timeline if line.what == "step_activated" and line.detail]
    assert again == [f"again, {n} of at most 4 times" for n in (1, 2, 3, 4)]

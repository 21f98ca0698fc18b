"""The table of semantics §5 is complete: the product of its columns, and nothing else."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import STUCK_NOOPS, Decision, Noop
from pure.progression_rows import NOW, born, delivery, run, snapshot
from pure.progression_table import OPEN, Case, Row, cases, expected, outcome

ROWS = {
    "1",
    "2",
    "3",
    "4",
    "5",
    "5a",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
    "17",
    "18",
}


def _wrong(case: Case, row: Row) -> str | None:
    answer = decide(case.rows(), NOW, born)
    if isinstance(answer, Noop):
        return None if answer.reason == row.noop else f"{case}: {answer}, expected {row}"
    reasons = tuple(transition.reason for transition in answer.transitions)
    if row.noop is None and reasons[: len(row.writes)] == row.writes:
        return _wrong_writing(case, row, answer)
    return f"{case}: {reasons}, expected {row}"


def _wrong_writing(case: Case, row: Row, answer: Decision) -> str | None:
    """Rows that end the run plan nothing; what is left behind is cancelled, or not, by its row."""
    first = {"workflow_stopped": "stopped", "workflow_completed": "completed"}.get(row.writes[-1])
    if first and (answer.kind != first or answer.planned or answer.after.wake_at):
        return f"{case}: {answer.kind} with {answer.planned}"
    cancelled = [each.reason for each in answer.cancelled]
    unsent = row.number == "5a"
    left = row.number in ("7", "11") and "step_activated" in row.writes and case.delivery.status in OPEN
    right = ["stopped_before_send"] if unsent else ["superseded"] if left else []
    return None if cancelled == right else f"{case}: cancels {cancelled}, expected {right}"


def test_every_combination_has_its_row() -> None:
    """The first row that fits applies, whatever the columns hold; no row is there in vain."""
    seen: Counter[str] = Counter()
    wrong = []
    for case in cases():
        row = expected(case)
        seen[row.number] += 1
        if told := _wrong(case, row):
            wrong.append(told)
    assert not wrong, "\n".join(wrong[:5])
    assert set(seen) == ROWS
    assert sum(seen.values()) > 10_000


def test_what_cannot_move_by_itself_is_listed_as_stuck() -> None:
    """Rows 10, 12 and 18 are in the list, rows that wait for the world are not."""
    noops = {(row.number, row.noop) for row in map(expected, cases()) if row.noop}
    assert {reason for number, reason in noops if number in ("10", "12", "18")} == STUCK_NOOPS
    assert not {reason for number, reason in noops if number in ("1", "2", "8", "13")} & STUCK_NOOPS


@pytest.mark.parametrize(
    "rows",
    [
        snapshot(run("paused", "plain")),
        snapshot(run("", None)),
        snapshot(run("waiting", None)),
        snapshot(replace(run("active", None), visit=3)),
        snapshot(replace(run("active", "plain"), visit=0)),
        snapshot(run("active", "plain"), delivery=delivery("lost")),
        snapshot(run("active", "plain"), delivery=replace(delivery("succeeded"), terminal_at=None)),
        snapshot(run("active", "plain"), delivery=replace(delivery("pending"), terminal_at=NOW)),
        snapshot(run("active", "plain"), delivery=replace(delivery("succeeded"), visit=2)),
    ],
)
def test_what_no_row_names_is_an_assertion_error(rows: Any) -> None:
    """Words outside the vocabulary, and rows that contradict themselves, are never guessed at."""
    with pytest.raises(AssertionError):
        decide(rows, NOW, born)


def test_outcomes_of_the_oracle_are_those_of_the_core() -> None:
    """The table's own reading of semantics §4 agrees with the core's, which has tests of its own."""
    for case in cases():
        answer = decide(case.rows(), NOW, born)
        if isinstance(answer, Decision) and answer.transitions[0].reason == "progressed_on_delivery_outcome":
            assert answer.transitions[0].context["workflow_outcome"] == outcome(case.delivery)

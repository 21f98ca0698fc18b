"""What became durable, step by step, told to the reference model; and what no history may show.

After each step that may have written, all rows are read, and compared with those before. What is new is told
as facts to the model of each run, which answers what the rows must say, of every run: so whatever was written
wrongly is found in the step that wrote it, also where nobody should have written. Beside that, what is
append-only must be as it was, what has ended must stay ended, and the invariants must hold.

Since a step is at most one transaction (but for one that others were waiting for), "could be seen" is not
read from snapshots here: what was committed in an earlier step could be seen.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from chimeway.errors import ChimewayError
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
)  # fmt: skip
from chimeway.testing.simulation.model import Contradiction, Reference
from chimeway.testing.simulation.real_invariants import breaches, overdue
from chimeway.workflow.definition import Definition

_Row = Mapping[str, Any]
Rows = dict[str, Any]
_ENDED: Final = ("completed", "stopped", "failed")
_COMMANDS: Final = {"cancelled_by_request": "cancel", "run_held": "hold", "run_resumed": "resume"}
_AFTER_BIRTH: Final = ("run_stopped", "superseded", "stopped_before_send", "recipient_forgotten")
_WEIGHED: Final = ("delivered", "failed", "bounced")
_KEPT: Final[Mapping[str, Sequence[str]]] = {
    "events": (), "transitions": (), "signals": ("routed_at",), "mailbox": ("consumed_by",), "feedback": (),
    "attempts": ("outcome", "error_class", "finished_at"),
}  # fmt: skip
"""What is only ever added to; and which of its fields may be filled in later, once."""
NOTHING: Final[Rows] = {
    name: []
    for name in ("paused", "events", "runs", "transitions", "deliveries", "attempts", "signals", "mailbox",
                 "items", "feedback")
}  # fmt: skip


class Witness:
    """Follows the rows of one scenario."""

    def __init__(self, definitions: Mapping[tuple[str, int], Definition]) -> None:
        """Take the definitions that runs may be of, by key and version."""
        self._definitions = definitions
        self._models: dict[str, Reference] = {}
        self._workflow: dict[str, str] = {}
        self._said: list[Said] = []
        self.rows: Rows = NOTHING
        self.problems: list[str] = []

    def look(self, text: str) -> bool:
        """Take the rows as they are now; say whether anything is new."""
        rows: Rows = json.loads(text)
        before, self.rows = self.rows, rows
        self._check_kept(before, rows)
        for run, fact in self._facts(before, rows):
            self._tell(run, fact)
        if all(before[name] == rows[name] for name in NOTHING):
            return False
        for run in self._models:
            self._compare(run)
        self.problems.extend(breaches(before, rows, self._definitions))
        return True

    def called(self, delivery: str, number: int | None) -> None:
        """Note that a provider was called for an attempt of a delivery."""
        row = next((row for row in self.rows["deliveries"] if row["id"] == delivery), None)
        if row is None or number is None:
            self.problems.append(f"a provider was called without an attempt row: {delivery}")
        else:
            self._tell(row["run_id"], Called(row["visit"], number))

    def refused(self, what: str, error: Exception) -> None:
        """Note that a statement failed by itself: the server found what a guard should have refused."""
        if not isinstance(error, ChimewayError):
            self.problems.append(f"{what} failed: {error!r}")

    def unmoved(self, now: datetime) -> Iterator[str]:
        """Name the runs that should have moved, after all that could happen has happened."""
        for run, model in self._models.items():
            if model.moves(now):
                yield f"{run} should move, and nobody moves it: {model.picture}"

    def overdue(self, now: datetime, since: datetime) -> None:
        """Note the runs that nobody has evaluated though it was time, and nothing else was to do since."""
        self.problems.extend(overdue(self.rows, now, since))

    def live(self) -> list[_Row]:
        """Return the runs that have not ended."""
        return [run for run in self.rows["runs"] if run["state"] not in _ENDED]

    def _tell(self, run: str, fact: Fact) -> None:
        try:
            self._models[run].happened(fact)
        except Contradiction as error:
            self.problems.append(str(error))

    def _compare(self, run: str) -> None:
        theirs = _picture(run, self.rows)
        self.problems.extend(f"{run}: {each}" for each in self._models[run].picture.differences(theirs))

    def _check_kept(self, before: Rows, rows: Rows) -> None:
        for name, once in _KEPT.items():
            kept = {_key(name, row): row for row in rows[name]}
            for row in before[name]:
                now = kept.get(_key(name, row))
                fields = [field for field in row if field not in once or row[field] is not None]
                if now is None or any(now[field] != row[field] for field in fields):
                    self.problems.append(f"{name}: what had been written was changed: {row}, now {now}")
        after = {row["id"]: row for row in rows["runs"]}
        for run in before["runs"]:
            if run["state"] in _ENDED and {**after.get(run["id"], {}), "strikes": run["strikes"]} != run:
                self.problems.append(f"a run that had ended was changed: {run}, now {after.get(run['id'])}")

    def _facts(self, before: Rows, rows: Rows) -> Iterator[tuple[str, Fact]]:
        """Tell what is new, in the order in which one transaction writes it."""
        yield from self._news_of_runs(before, rows)
        yield from self._pauses(before, rows)
        for row in _new("signals", before, rows):
            said = _said(row)
            self._said.append(said)
            yield from ((run, said) for run in self._models)
        for row in _new("mailbox", before, rows):
            yield row["run_id"], Routed(row["number"], row["signal_id"])
        explained: set[str] = set()
        yield from _decided(before, rows)
        yield from _sent(before, rows, explained)
        yield from _ended_unsent(before, rows, explained)

    def _news_of_runs(self, before: Rows, rows: Rows) -> Iterator[tuple[str, Fact]]:
        data = {row["id"]: row["data"] for row in rows["events"]}
        for row in _new("runs", before, rows):
            definition = self._definitions[row["workflow_key"], row["workflow_version"]]
            begun = Begun(
                run=row["id"], recipient=row["recipient_id"], arrival=row["arrival"],
                tenant=row["tenant_id"], data=data[row["event_id"]],
            )  # fmt: skip
            self._models[row["id"]] = Reference(definition, begun)
            self._workflow[row["id"]] = row["workflow_key"]
            yield from ((row["id"], said) for said in self._said)
            if row["workflow_key"] in before["paused"]:
                yield row["id"], Ordered("pause")

    def _pauses(self, before: Rows, rows: Rows) -> Iterator[tuple[str, Fact]]:
        for run, key in self._workflow.items():
            if (key in rows["paused"]) != (key in before["paused"]):
                yield run, Ordered("pause" if key in rows["paused"] else "unpause")


def _key(name: str, row: _Row) -> tuple[Any, ...]:
    match name:
        case "transitions":
            return row["run_id"], row["seq"]
        case "mailbox":
            return row["run_id"], row["number"]
        case "attempts":
            return row["delivery_id"], row["attempt_no"]
        case "feedback":
            return row["delivery_id"], row["event_id"]
    return (row["id"],)


def _new(name: str, before: Rows, rows: Rows) -> list[_Row]:
    had = {_key(name, row) for row in before[name]}
    return [row for row in rows[name] if _key(name, row) not in had]


def _said(row: _Row) -> Said:
    return Said(
        signal=row["id"], type=row["type"], arrival=row["arrival"], at=_at(row["created_at"]),
        actor=row["actor_id"], payload=row["payload"], tenant=row["tenant_id"], run=row["run_id"],
    )  # fmt: skip


def _decided(before: Rows, rows: Rows) -> Iterator[tuple[str, Fact]]:
    """Tell decisions and commands by their transitions; each has an id of its own."""
    births: dict[str, dict[int, Born]] = {}
    for row in _new("deliveries", before, rows):
        births.setdefault(row["run_id"], {})[row["visit"]] = _born(row)
    seen: set[str] = set()
    for row in _new("transitions", before, rows):
        if row["decision_id"] in seen or row["reason"] == "workflow_started":
            continue
        seen.add(row["decision_id"])
        if row["inputs"] is None and row["reason"] in _COMMANDS:
            yield row["run_id"], Ordered(_COMMANDS[row["reason"]])
        else:
            inputs = row["inputs"] or {}
            now = _at(str(inputs.get("now", row["at"])))
            yield row["run_id"], Decided(now, _at(row["at"]), births.pop(row["run_id"], {}))


def _born(row: _Row) -> Born:
    if row["suppression_reason"] in _AFTER_BIRTH:
        return Born(row["id"])
    return Born(row["id"], row["status"], row["suppression_reason"])


def _sent(before: Rows, rows: Rows, explained: set[str]) -> Iterator[tuple[str, Fact]]:
    """Tell attempts, what became of them, and feedback."""
    deliveries = {row["id"]: row for row in rows["deliveries"]}
    for row in _new("attempts", before, rows):
        delivery = deliveries[row["delivery_id"]]
        explained.add(delivery["id"])
        yield row["run_id"], Attempted(delivery["visit"], row["attempt_no"])
    had = {_key("attempts", row): row for row in before["attempts"]}
    for row in rows["attempts"]:
        was = had.get(_key("attempts", row))
        if row["outcome"] is not None and (was is None or was["outcome"] is None):
            delivery = deliveries[row["delivery_id"]]
            explained.add(delivery["id"])
            yield row["run_id"], Answered(
                delivery["visit"], row["attempt_no"], row["outcome"], delivery["status"],
                _at(row["finished_at"]), delivery["suppression_reason"],
            )  # fmt: skip
    for row in _new("feedback", before, rows):
        delivery = deliveries[row["delivery_id"]]
        explained.add(delivery["id"])
        if row["kind"] in _WEIGHED:
            yield delivery["run_id"], Told(delivery["visit"], row["kind"], _at(row["recorded_at"]))


def _ended_unsent(before: Rows, rows: Rows, explained: set[str]) -> Iterator[tuple[str, Fact]]:
    """Tell what ended, or was put off, without a call, a decision or a command."""
    moved = {row["run_id"] for row in _new("transitions", before, rows)}
    now = str(rows["now"])
    had = {row["id"]: row for row in before["deliveries"]}
    for row in rows["deliveries"]:
        was = had.get(row["id"])
        if was is None or row["id"] in explained or row["run_id"] in moved:
            continue
        if (row["status"], row["suppression_reason"]) != (was["status"], was["suppression_reason"]):
            at = str(row["terminal_at"] or now)
            yield (
                row["run_id"],
                Answered(row["visit"], None, None, row["status"], _at(at), row["suppression_reason"]),
            )


def _picture(run: str, rows: Rows) -> Picture:
    """Read what the rows say of a run."""
    row = next(each for each in rows["runs"] if each["id"] == run)
    due = row["status_context"].get("due_at") if row["state"] == "waiting" else None
    return Picture(
        state=row["state"],
        step=row["step"],
        visit=row["visit"],
        status_reason=row["status_reason"],
        held=row["held_reason"] is not None,
        due=None if due is None else _at(due),
        unread=tuple(mail["number"] for mail in _of(run, rows["mailbox"]) if mail["consumed_by"] is None),
        deliveries={
            each["visit"]: (each["step_id"], each["status"], each["suppression_reason"])
            for each in _of(run, rows["deliveries"])
        },
        trail=tuple(
            (each["reason"], each["to_state"], each["to_step"], each["visit"])
            for each in _of(run, rows["transitions"])[1:]
        ),
    )


def _of(run: str, rows: Sequence[_Row]) -> list[_Row]:
    return [row for row in rows if row["run_id"] == run]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)

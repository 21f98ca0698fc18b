"""What was lost, doubled or wrong: judged by the producers' log, the provider's log and the inboxes alone.

Nothing here reads a row of the engine's. What is known from outside of one journey:

- When its wait begins, at the earliest: `c`, the instant in the id of the run that its trigger returned (of
  `chain`: the first yes to its first message). So its message is due at `c + wait`, and not before. (The
  item's own instant is no bound: it is the commit's, and the wait counts from the decision, which may have
  been made before an outage and committed after it.)
- When it was read. Some time between `begun` and `known` of the producer's log the signal was committed.

**read** before it is due: known by then, the message must not be called for, ever. Begun after the first call
for the message: it came too late, and the message must be taken in the end. In between both are right (the
wait may have ended late, or the reading may have met the moment), but never half of each: of `choice`
exactly one message is sent. One thing makes it sharper: while somebody sits on the run's row (`hold`), no
decision about it can be written. If that began before it was due, then whatever was read before it ended
came first, and the message must not be called for.

**cancel** is exact: once its answer is known no item is written and no call begins, but of the deliveries
that it said were on their way: one for each, and none where that call was being answered while it was
cancelled. A run that had completed before must have sent everything.

**roll_back**: nothing may ever be seen of it.

**Whatever it is**: items and messages are its own (steps, channels, person, words), in the order of steps;
and a producer ends only when it knows what became of all that it did.

**A repeat**, a second call under the same key, is right

- after an answer that was no yes, or that did not come for as long as a node waits (`planned`);
- after a yes that the node may not have heard, or heard and could not write down (`unknown`): a fault that
  can hide it met this node, PostgreSQL or the provider between the call and `_RECORDED_S` after its answer
  (longer where a fault kept the record waiting), or the answer took longer than a node waits;
- when it is itself the older one: its node was held up between the attempt's commit and the call, and another
  node, which could not know whether it had called, had called meanwhile (`unknown`, too).

Any other is a duplicate. So is a second key for one message, and a second item.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from faults.plan import Plan, has_item, messages
from faults.provider import REPLY_TIMEOUT_S
from faults.schedule import SORTS, Happened
from faults.story import Call, Item, Said, Story, Told

Verdict: TypeAlias = Literal["lost", "duplicated", "wrong"]
_AHEAD_S: Final = 0.05
"""How far a decision may be ahead of the database's clock."""
_RECORDED_S: Final = 2.0
"""How long after an answer its record may be still on its way, with nothing in its way."""
_SETTLES_S: Final = 3.0
"""How long after the end of a fault what it has broken may still be broken: a lease's length."""
_BREAKS_NO_LEASE: Final = frozenset({"unanswered", "provider_down", "provider_hangs"})
_AT_ONCE_S: Final = 0.5
"""The same of faults on the way to the provider: a call that begins when they are over is answered."""
_LONGEST_S: Final = 60.0
_PATIENCE_S: Final = REPLY_TIMEOUT_S * 0.75
"""How long a node waits for an answer at least, by the log of a provider that may be slow to write it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    verdict: Verdict
    journey: str
    says: str


@dataclass(slots=True)
class Judgement:
    """What the checker found, and what it counted on the way."""

    journeys: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unknown_by: Counter[str] = field(default_factory=Counter)
    late_s: list[tuple[float, float]] = field(default_factory=list)
    """Of messages that nothing planned delayed: when each was due, and how much later it was taken."""

    def count(self, verdict: Verdict) -> int:
        """Return how many journeys have this verdict."""
        return len({finding.journey for finding in self.findings if finding.verdict == verdict})


def judge(told: Told, faults: Sequence[Happened]) -> Judgement:
    """Judge all journeys."""
    made = Judgement()
    made.findings += [Finding("wrong", "none", stray) for stray in told.strays]
    for story in told.stories.values():
        _Judge(story, faults, made).judge()
    return made


class _Judge:
    """Judges one journey."""

    def __init__(self, story: Story, faults: Sequence[Happened], made: Judgement) -> None:
        self._story = story
        self._plan: Plan = story.plan
        self._faults = faults
        self._made = made

    def judge(self) -> None:
        """Find what is wrong with it."""
        story = self._story
        if story.rolled_back:
            self._made.counts["rolled back"] += 1
            if story.calls or story.items:
                self._say("wrong", "its transaction was rolled back, and something of it was seen")
            return
        if not story.committed:
            self._say("wrong", "its producer ended without knowing whether it had begun")
            return
        self._made.journeys += 1
        self._made.counts[self._plan.act] += 1
        self._same_journey()
        self._item()
        self._said()
        stopped = self._stopped()
        for step in sorted({call.step for call in story.calls}):
            self._message(step)
        self._sent(stopped)

    def _say(self, verdict: Verdict, says: str) -> None:
        self._made.findings.append(Finding(verdict, self._plan.id, says))

    def _said(self) -> None:
        """Whoever says something goes on until he is answered: in the end nothing is unknown."""
        story = self._story
        for name, said in (("reading", story.read), ("cancel", story.cancel)):
            if said is not None and said.known is None:
                self._say("wrong", f"its producer ended without knowing what became of a {name}")
        if story.cancel is not None and story.cancel.answer == []:
            self._say("lost", "a cancel found no run of a trigger that was committed")

    def _same_journey(self) -> None:
        """One run, and everything of it its own: steps, channels, the right person, the right mention."""
        plan, story = self._plan, self._story
        if len(story.runs) > 1:
            self._say("duplicated", f"its trigger answered with several runs: {sorted(story.runs)}")
        for call in story.calls:
            about = call.about
            if call.step not in messages(plan.kind):
                self._say("wrong", f"a message that it has not: {call.step}")
            if about["via"] != ("smtp" if plan.by_mail(call.step) else "http"):
                self._say("wrong", f"{call.step} came by the wrong channel: {about['via']}")
            to = plan.address if about["via"] == "smtp" else plan.recipient
            if about["to"] != to or about.get("tenant", plan.tenant) != plan.tenant:
                self._say("wrong", f"sent to the wrong person: {about['to']} in place of {to}")
            if about.get("run") is not None and about["run"] not in story.runs:
                self._say("duplicated", f"sent by a run that its trigger never named: {about['run']}")
            if plan.id not in about["says"].split() or plan.recipient not in about["says"].split():
                self._say("wrong", f"its words are another's: {about['says']}")
        for item in story.items:
            if (item.tenant, item.recipient) != (plan.tenant, plan.recipient):
                self._say("wrong", f"an item in the wrong inbox: {item}")
            if item.run not in story.runs:
                self._say("duplicated", f"an item of a run that its trigger never named: {item.run}")

    def _item(self) -> None:
        items = self._story.items
        if not has_item(self._plan.kind):
            if items:
                self._say("wrong", f"an in-app item of a journey that has none: {items[0]}")
            return
        if len(items) > 1:
            self._say("duplicated", f"{len(items)} in-app items")
        if not items and not self._cancelled():
            self._say("lost", "no in-app item")
        for item in items:
            self._item_in_order(item)

    def _item_in_order(self, item: Item) -> None:
        """Its instant is one of the transaction that wrote it, by the clock of the same machine."""
        story, cancel = self._story, self._story.cancel
        if item.at < story.trigger.begun - _AHEAD_S:
            self._say("wrong", "an in-app item from before its trigger")
        if story.calls and story.calls[0].at < item.at - _AHEAD_S:
            self._say("wrong", "a message came before its in-app item")
        known = None if cancel is None or not self._cancelled() else cancel.known
        if known is not None and item.at > known + _AHEAD_S:
            self._say("wrong", f"an in-app item {item.at - known:.3f} s after a committed cancel")

    def _due(self) -> float:
        """Return the earliest instant at which the wait can be over."""
        story = self._story
        yes = [call.at for call in story.calls_of("first") if call.taken]
        began = max([story.trigger.begun, *(instant_of(run) for run in story.runs), *yes[:1]])
        return began + self._plan.wait_s

    # What stops it

    def _stopped(self) -> bool:
        """Say whether the last message must not be sent because the person had read; count how it was."""
        read = self._story.read
        if read is None:
            return False
        if read.known is not None and self._in_time(read):
            self._made.counts["read in time"] += 1
            return True
        self._made.counts["read about when it was due, or later"] += 1
        return False

    def _in_time(self, read: Said) -> bool:
        assert read.known is not None
        due, held = self._due() - _AHEAD_S, self._story.held
        if held is not None and held[0] < due and read.known < held[1]:
            self._made.counts["read while somebody sat on the run"] += 1
            return True
        return read.known < due

    def _cancelled(self) -> bool:
        """Say whether a cancel stopped the run, or may have."""
        cancel = self._story.cancel
        if cancel is None:
            return False
        if cancel.known is None:
            return True
        return _stops(cancel.answer) or _stopped_before(cancel)

    def _on_their_way(self) -> Counter[str]:
        """Return the deliveries for which a call was under way when the cancel was committed."""
        cancel = self._story.cancel
        assert cancel is not None
        answers = [cancel.answer, *cancel.before]
        stops = [row for answer in answers if answer for row in answer if row["outcome"] == "stopped"]
        return Counter({key for row in stops for key in row["on_their_way"]})

    # What was sent

    def _sent(self, stopped: bool) -> None:
        plan, story = self._plan, self._story
        sent = {
            step: any(call.taken for call in story.calls_of(step))
            for step in ("first", "tell", "remind", "thanks")
        }
        called = {step: bool(story.calls_of(step)) for step in sent}
        cancelled = self._cancelled()
        if cancelled:
            self._after_cancel()
        if plan.kind == "choice":
            self._choice(sent, called, stopped=stopped, cancelled=cancelled)
            return
        if plan.kind == "chain" and not cancelled:
            if not sent["first"]:
                self._say("lost", "its first message was never taken")
                return
            self._order()
        if stopped and called["tell"]:
            self._say("wrong", "it was called for although it had been read in time")
        if not sent["tell"] and not stopped and not cancelled and self._must_tell():
            self._say("lost", "its message was never taken")

    def _must_tell(self) -> bool:
        """Say whether the last message had to be sent: nobody read, or only after it was first called for."""
        read, calls = self._story.read, self._story.calls_of("tell")
        if read is None:
            return True
        return bool(calls) and calls[0].at < read.begun

    def _choice(
        self, sent: dict[str, bool], called: dict[str, bool], *, stopped: bool, cancelled: bool
    ) -> None:
        read = self._story.read
        if called["remind"] and called["thanks"]:
            self._say("wrong", "both ways out of its wait were taken")
        if called["thanks"] and (read is None or self._story.calls_of("thanks")[0].at < read.begun):
            self._say("wrong", "thanks, although nobody had read")
        if stopped and called["remind"]:
            self._say("wrong", "a reminder although it had been read in time")
        if cancelled:
            return
        if stopped and not sent["thanks"]:
            self._say("lost", "it was read in time, and no thanks were taken")
        elif not sent["remind"] and not sent["thanks"]:
            self._say("lost", "neither of its messages was taken")

    def _after_cancel(self) -> None:
        cancel = self._story.cancel
        assert cancel is not None
        if cancel.known is None:
            return
        self._made.counts["cancelled"] += 1
        allowed = self._on_their_way()
        for call in self._story.calls:
            if call.at <= cancel.known:
                if call.at <= cancel.begun and self._heard_after(call, cancel.known):
                    allowed[call.key] -= 1  # this is the one that was on its way
                continue
            if allowed[call.key] <= 0:
                self._say("wrong", f"called {call.at - cancel.known:.3f} s after a committed cancel")
            allowed[call.key] -= 1

    def _heard_after(self, call: Call, moment: float) -> bool:
        """Say whether a node was certainly waiting for the answer of this call all the time until then."""
        return (
            call.answered is not None
            and moment <= call.answered
            and not _given_up(call, call.answered)
            and hiding(self._faults, call.node, call.at, call.answered) is None
        )

    def _order(self) -> None:
        first, tell = self._story.calls_of("first"), self._story.calls_of("tell")
        if tell and not any(call.taken and call.at < tell[0].at for call in first):
            self._say("wrong", "the second message came before the first was taken")

    # One message

    def _message(self, step: str) -> None:
        calls = self._story.calls_of(step)
        if len({call.key for call in calls}) > 1:
            self._say("duplicated", f"{step} came under several keys: {sorted({c.key for c in calls})}")
        if step not in {"first", "thanks"}:
            self._not_early(calls)
        for call, again in itertools.pairwise(calls):
            self._repeat(step, call, again)

    def _not_early(self, calls: list[Call]) -> None:
        due = self._due()
        if calls[0].at < due - _AHEAD_S:
            self._say("wrong", f"sent {due - calls[0].at:.3f} s before it was due")
        first = next((call for call in calls if call.taken), None)
        if first is not None and not self._plan.misbehaviour and self._plan.act != "hold":
            self._made.late_s.append((due, first.at - due))

    def _repeat(self, step: str, call: Call, again: Call) -> None:
        if not call.taken and call.answer is not None:
            self._made.counts["repeats as planned"] += 1
            return
        ends = (call.answered or call.at) + _RECORDED_S
        if _given_up(call, again.at):
            self._made.counts["repeats as planned"] += 1
            return
        hidden_by = hiding(self._faults, call.node, call.at, ends) or overtaken(self._faults, again)
        if hidden_by is None:
            self._say(
                "duplicated",
                f"{step} came again {again.at - call.at:.3f} s after it was taken from {call.node}, by "
                f"{again.node}, and nothing can have hidden that (calls {call.number}, {again.number})",
            )
            return
        self._made.counts["repeats under unknown"] += 1
        self._made.unknown_by[hidden_by] += 1


def _given_up(call: Call, now: float) -> bool:
    """Say whether a node may have stopped waiting for the answer of a call when another came, `now`."""
    return min(now, call.answered or now) - call.at > _PATIENCE_S


def seen_clearly(told: Told, faults: Sequence[Happened]) -> tuple[int, int]:
    """Return of how many messages a needless second call would have been found, and how many were taken.

    What a fault can hide from a node it hides from us: a message that was taken near one may come again.
    """
    firsts: dict[tuple[str, str], Call] = {}
    for story in told.stories.values():
        for call in story.calls:
            if call.taken:
                firsts.setdefault((story.plan.id, call.step), call)
    taken = firsts.values()
    clear = sum(
        hiding(faults, call.node, call.at, (call.answered or call.at) + _RECORDED_S) is None for call in taken
    )
    return clear, len(taken)


def instant_of(run: str) -> float:
    """Return when a run's id was made: it begins with milliseconds (RFC 9562, version 7)."""
    return int(run.replace("-", "")[:12], 16) / 1_000


def _stops(answer: Any) -> bool:
    return any(row["outcome"] == "stopped" for row in answer)


def _stopped_before(cancel: Said) -> bool:
    """Say whether an earlier try of a cancel had stopped the run, whose commit's answer was lost."""
    ended = any(row["outcome"] == "already_ended" and row["state"] == "stopped" for row in cancel.answer)
    return ended and any(_stops(answer) for answer in cancel.before)


def hiding(faults: Iterable[Happened], node: str, begins: float, ends: float) -> str | None:
    """Return the kind of a fault that can have hidden from a node what was answered in this time, or None.

    A fault that can delay the record of an answer moves the end to its own, and so on.
    """
    met = [each for each in faults if each.whom in {"*", node} and _settled(each) >= begins]
    latest = ends + _LONGEST_S
    moved = True
    while moved:
        moved = False
        for each in met:
            until = min(latest, _settled(each))
            if SORTS[each.kind].delays and each.began <= ends < until:
                ends, moved = until, True
    hides = [each for each in met if SORTS[each.kind].hides and each.began <= ends]
    return max(hides, key=lambda each: each.began).kind if hides else None


def _settled(fault: Happened) -> float:
    return fault.ended + (_AT_ONCE_S if fault.kind in _BREAKS_NO_LEASE else _SETTLES_S)


def overtaken(faults: Iterable[Happened], again: Call) -> str | None:
    """Return the kind of a fault that can have held up a call until now, or None."""
    for each in faults:
        if each.whom in {"*", again.node} and each.began <= again.at <= each.ended + _SETTLES_S:
            sort = SORTS[each.kind]
            if sort.hides and sort.delays:
                return each.kind
    return None

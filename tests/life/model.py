"""A life on paper: what must become of each message, reckoned without the engine.

Runs, messages, a mailbox for each run, and a moment. At each moment the runs that are due go first, in the
order of time and then of their triggers, then the messages that are due, each once; and again, until
nothing is.
"""

import random
from collections import defaultdict, deque
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from life.cast import PLANS
from life.clocks import WEEK, later, next_at
from life.records import ENDED, Failing, Judged, Mail, Run
from life.wants import Json, Said, Settings, Wanted, says

MOST_ATTEMPTS: Final = 8
OLDEST: Final = timedelta(days=1)


class Life:
    """One person, known to the model by what was done."""

    def __init__(self, now: datetime, seed: int) -> None:
        """Begin, with nothing known."""
        self.now = now
        self.settings = Settings()
        self.kept = [(now, self.settings)]
        self.addresses: dict[str, str] = {}
        self.runs: list[Run] = []
        self.sent: list[tuple[str, str, datetime, int]] = []
        self.counted: dict[str, list[datetime]] = defaultdict(list)
        self.failures: dict[str, deque[Failing]] = defaultdict(deque)
        self._draw = random.Random(seed).random
        self._said_before: dict[tuple[str, str], list[tuple[str, str, bool | None]]] = {}

    # What is done to it.

    def trigger(self, key: str, data: Json) -> None:
        """Begin a run."""
        self.runs.append(Run(PLANS[key], data, len(self.runs), self.now, due=self.now))
        self._settle()

    def signal(self, kind: str, payload: Json) -> None:
        """Tell all runs that listen."""
        for run in self.runs:
            if run.live and kind in run.plan.hears:
                run.box.append((kind, payload))
                run.due = self.now
        self._settle()

    def cancel(self, number: int) -> None:
        """Cancel a run, if it is live."""
        run = self.runs[number]
        if run.live:
            self._stop(run, "run_stopped")
        self._settle()

    def identify(self, change: Json) -> None:
        """Change the profile: `preferences`, `timezone`, and addresses (email, sms, push)."""
        settings = self.settings
        if "preferences" in change:
            settings = replace(settings, own=settings.own.changed(change["preferences"]))
        if "timezone" in change:
            settings = replace(settings, own_zone=change["timezone"])
        for channel in ("email", "sms", "push"):
            if change.get(channel) is not None:
                self.addresses[channel] = change[channel]
            elif channel in change:
                self.addresses.pop(channel, None)
        self._now_own(settings)

    def configure(self, change: Json) -> None:
        """Change the tenant's settings; what is put off hears of it when it wakes."""
        settings = self.settings
        if "preferences" in change:
            settings = replace(settings, tenant=settings.tenant.changed(change["preferences"]))
        if "timezone" in change:
            settings = replace(settings, tenant_zone=change["timezone"])
        if "working_days" in change:
            settings = replace(settings, working=tuple(change["working_days"] or WEEK[:5]))
        if "holidays" in change:
            settings = replace(settings, holidays=frozenset(change["holidays"]))
        self._keep(settings)
        self._settle()

    def unsubscribe(self, key: str, channel: str) -> None:
        """Say no to a workflow and its category on a channel; what stood there is kept for who undoes it."""
        places = [("workflows", key)] + [("categories", c) for c in [PLANS[key].category] if c]
        own = self.settings.own
        self._said_before[key, channel] = [
            (part, name, getattr(own, part).get(name, {}).get(channel)) for part, name in places
        ]
        for part, name in places:
            own = own.changed({part: {name: {channel: False}}})
        self._now_own(replace(self.settings, own=own))

    def resubscribe(self, key: str, channel: str) -> None:
        """Undo that; nobody has said anything else since. Nothing that a yes could move is put off."""
        own = self.settings.own
        for part, name, before in self._said_before.pop((key, channel)):
            own = own.changed({part: {name: {channel: before}}})
        self._keep(replace(self.settings, own=own))
        self._settle()

    def _now_own(self, settings: Settings) -> None:
        """Take new settings of the person's own: what is put off is judged anew."""
        if (settings.own, settings.own_zone) != (self.settings.own, self.settings.own_zone):
            for _, mail in self._mails():
                if mail.status == "deferred" and mail.due is not None:
                    mail.due = min(mail.due, self.now)
        self._keep(settings)
        self._settle()

    def _keep(self, settings: Settings) -> None:
        self.settings = settings
        self.kept.append((self.now, settings))

    # How time goes by.

    def advance_to(self, end: datetime) -> None:
        """Let everything happen that is due until then."""
        while (at := self._next()) is not None and at <= end:
            self.now = at
            self._settle()
        self.now = end

    def _next(self) -> datetime | None:
        dues = [run.due for run in self.runs] + [mail.due for _, mail in self._mails()]
        return min((due for due in dues if due is not None), default=None)

    def _mails(self) -> list[tuple[Run, Mail]]:
        """Return the messages that may still be sent: each run has one at most."""
        return [(run, run.mail) for run in self.runs if run.mail is not None and run.mail.due is not None]

    def _settle(self) -> None:
        moved = True
        while moved:
            moved = False
            due = [run for run in self.runs if run.due is not None and run.due <= self.now]
            for run in sorted(due, key=lambda each: (each.due, each.number)):
                run.due, moved = None, True
                self._evaluate(run)
            ready = [(r, m) for r, m in self._mails() if m.due is not None and m.due <= self.now]
            for run, mail in sorted(ready, key=lambda each: (each[1].due, each[0].number)):
                moved = True
                self._send(run, mail)
                if mail.status in ENDED:
                    run.due = self.now

    # A run.

    def _evaluate(self, run: Run) -> None:
        while run.live:
            if run.hears(run.plan.stops):
                return self._stop(run, "run_stopped")
            if run.place is None:
                self._enter(run, 0)
                continue
            step = run.plan.steps[run.place]
            if run.over is not None:
                if run.hears(step["action"].get("stop_conditions", [])):
                    return self._stop(run, "run_stopped")
                if self.now < run.over:
                    run.due = run.over
                    return None
                run.over = None
                self._enter(run, self._after(run, step), step["action"].get("stop_conditions", []))
                continue
            mail = run.mail
            assert mail is not None
            if mail.status not in ENDED:
                if not mail.attempts and run.hears(run.armed):
                    return self._stop(run, "stopped_before_send")
                return None
            self._enter(run, self._after(run, step))
        return None

    def _after(self, run: Run, step: Json) -> int:
        """Return the place of what follows a step."""
        assert run.place is not None
        if "progress" in step:
            assert run.mail is not None
            rules = {rule["outcome"]: rule["to_step"] for rule in step["progress"]}
            to = rules.get(run.mail.reason) if run.mail.status == "cancelled" else None
            return run.plan.place(to or "end")
        match step.get("next"):
            case None:
                return run.place + 1
            case {"repeat": back, "times": times, "then": then}:
                run.rounds[step["id"]] += 1
                return run.plan.place(back if run.rounds[step["id"]] <= times else then)
            case str(to):
                return run.plan.place(to)
        raise AssertionError(step)

    def _enter(self, run: Run, place: int, armed: list[Json] | None = None) -> None:
        if place == len(run.plan.steps):
            run.state, run.ended = "completed", self.now
            return
        run.place, run.armed = place, armed or []
        run.visit += 1
        step = run.plan.steps[place]
        action = step["action"]
        if action["type"] == "notify":
            run.state = "active"
            run.mail = self._plan(run, step["id"], action)
            run.mails.append(run.mail)
            return
        run.state = "waiting"
        zone = self.settings.zone
        if "duration" in action:
            run.over = later(self.now, action["duration"], zone)
        else:
            on = action["until"]["on"]
            days, holidays = (
                (self.settings.working, self.settings.holidays) if on == "working_days" else (on, ())
            )
            run.over = next_at(self.now, action["until"]["at"], zone, days, holidays)

    def _stop(self, run: Run, reason: str) -> None:
        run.state, run.ended, run.due = "stopped", self.now, None
        if run.mail is not None and run.mail.status not in ENDED:
            run.mail.end("cancelled", reason, self.now)

    # A message.

    def _plan(self, run: Run, step: str, action: Json) -> Mail:
        mail = Mail(step, run.visit, action["channel"], self.now, due=self.now)
        said = self._judge(run, mail)
        if said.kind == "suppress":
            self._note(mail, "planned", said)
            mail.end("suppressed", _word(said), self.now)
        elif mail.channel == "in_app":
            self._note(mail, "planned", said)
            self._count(mail)
            mail.end("succeeded", None, self.now)
        elif mail.channel not in self.addresses:
            mail.end("suppressed", "no_address", self.now)
        else:
            self._note(mail, "planned", said)
            if said.kind == "defer":
                mail.status, mail.due = "deferred", said.until
        return mail

    def _send(self, run: Run, mail: Mail) -> None:
        said = self._judge(run, mail)
        if mail.attempts and (said.until or self.now) > mail.attempts[0][0] + OLDEST:
            return mail.end("cancelled", "retries_exhausted", self.now)  # also what hours let out only then
        if said.kind != "send":
            self._note(mail, "before_send", said)
            if said.kind == "suppress":
                return mail.end("suppressed", _word(said), self.now)
            mail.status, mail.due = "deferred", said.until
            return None
        mail.address = mail.address or self.addresses.get(mail.channel)
        if mail.address is None:
            return mail.end("suppressed", "no_address", self.now)
        self._note(mail, "before_send", said)
        if not mail.attempts:
            self._count(mail)
        waiting = self.failures[mail.channel]
        failure = waiting.popleft() if waiting else None
        mail.attempts.append((self.now, "succeeded" if failure is None else failure.kind))
        if failure is None or failure.arrived:
            self.sent.append((mail.channel, mail.address, self.now, len(mail.attempts)))
        if failure is None:
            return mail.end("succeeded", None, self.now)
        return self._failed(mail, failure)

    def _failed(self, mail: Mail, failure: Failing) -> None:
        """Exponential, with full jitter; what was rate limited does not count, and waits as long again."""
        draw, first = self._draw(), mail.attempts[0][0]
        if failure.kind in {"permanent", "bounced"}:
            reason = "bounced" if failure.kind == "bounced" else "permanent_failure"
            return mail.end("cancelled", reason, self.now)
        counted = sum(kind != "rate_limited" for _, kind in mail.attempts)
        ceiling = 2.0 * 2 ** (counted - 1)
        if failure.kind == "rate_limited":
            ceiling = (self.now - first).total_seconds()
        elif counted >= MOST_ATTEMPTS:
            return mail.end("cancelled", "retries_exhausted", self.now)
        at = self.now + timedelta(seconds=failure.after_s + draw * min(3600.0, max(2.0, ceiling)))
        if at > first + OLDEST:
            return mail.end("cancelled", "retries_exhausted", self.now)
        mail.status, mail.due = "failed", at
        return None

    def _judge(self, run: Run, mail: Mail) -> Said:
        """Judge it by what holds now; a retry is the same message, and no cap holds for it."""
        settings = self.settings
        if mail.attempts:
            settings = replace(settings, own=replace(settings.own, caps=[]))
        assert run.place is not None
        action: dict[str, Any] = run.plan.steps[run.place]["action"]
        plan = run.plan
        wanted = Wanted(mail.channel, plan.key, plan.category, plan.critical, action.get("send_window"))
        return says(settings, wanted, self.now, self.counted[mail.channel])

    def _note(self, mail: Mail, stage: str, said: Said) -> None:
        if not said.silent:
            mail.judged.append(Judged(stage, said, self.now))

    def _count(self, mail: Mail) -> None:
        """Count a send, where a cap is there; as many are remembered as the widest cap lets through."""
        limits = [cap["limit"] for cap in self.settings.held("caps") if cap["channel"] == mail.channel]
        if limits:
            sent = self.counted[mail.channel]
            sent.append(self.now)
            del sent[: -max(limits)]


def _word(said: Said) -> str | None:
    """Return the word for a message that is never sent: hours that never allow it are all quiet hours."""
    return "quiet_hours" if said.reason == "send_window" else said.reason

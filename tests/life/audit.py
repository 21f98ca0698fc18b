"""What must hold of a life that was lived, seen from outside: its sentences, and what was really sent."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from chimeway.client.explanation import Explanation
from chimeway.store.views import DeliveryView, VerdictView
from life.cast import PLANS
from life.clocks import later
from life.model import Life
from life.records import Judged, Mail
from life.wants import Settings, Wanted, calm

TOLD = 3
"""Times that a message was put off, of which `explain` tells each."""


def assert_told(explanation: Explanation, mails: list[Mail], who: str) -> None:
    """Each verdict's row, and the sentence about it, name the rule, whose it was, and the zone."""
    told = " ".join(explanation.why)
    for row, mail in zip(explanation.deliveries, mails, strict=True):
        for verdict, judged in zip(row.verdicts, mail.judged, strict=True):
            _assert_inputs(verdict, judged)
        for wanted in _sentences(row, mail, explanation.zone, who):
            assert wanted in told, f"{wanted!r} is not told in:\n{told}"


def _assert_inputs(verdict: VerdictView, judged: Judged) -> None:
    inputs, said = verdict.inputs, judged.said
    if said.kind == "send":
        return
    assert inputs["zone"] == said.zone
    owners: dict[str | None, set[str]] = {
        "preference": {one["whose"] for one in inputs.get("statements", []) if one["decided"]},
        "quiet_hours": {one["whose"] for one in inputs.get("quiet_hours", []) if one["holds"]},
        "cap": {one["whose"] for one in inputs.get("caps", []) if one["full"]},
        "send_window": {"step"} if not inputs.get("send_window", {"open": True})["open"] else set(),
    }
    assert said.whose in owners[said.reason], (said, inputs)


def _sentences(row: DeliveryView, mail: Mail, zone: str, who: str) -> Iterator[str]:
    """Yield what must be told of a message: when it was not sent, why, and until when."""
    deferred = [each for each in mail.judged if each.said.kind == "defer"]
    for each in deferred if len(deferred) <= TOLD else [*deferred[: TOLD - 1], deferred[-1]]:
        yield f"at {_moment(each.at, zone)}: "
        yield f"put off until {_moment(each.said.until, zone)}."
        yield _because(each, who)
    if mail.status == "suppressed" and mail.judged and mail.judged[-1].said.kind == "suppress":
        yield f"at {_moment(mail.judged[-1].at, zone)}, "
        yield _because(mail.judged[-1], who)
    if row.status == "succeeded" and row.attempts:
        yield f"was sent at {_moment(mail.attempts[-1][0], zone)}, with attempt {len(mail.attempts)}"


def _because(judged: Judged, who: str) -> str:
    said = judged.said
    owner = "the tenant's" if said.whose == "tenant" else f"{who}'s own"
    refusing = "the tenant" if said.whose == "tenant" else who
    return {
        "quiet_hours": f" in {said.zone} are {owner} quiet hours (quiet_hours)",
        "send_window": f" in {said.zone} (send_window)",
        "cap": f"and {owner} cap is ",
        "preference": f"{refusing} does not want it: ",
    }[said.reason or ""]


def _moment(at: datetime | None, zone: str) -> str:
    assert at is not None
    utc, local = at.astimezone(UTC), at.astimezone(ZoneInfo(zone))
    if local.utcoffset() == utc.utcoffset():
        return f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    shown = "%H:%M:%S" if local.date() == utc.date() else "%Y-%m-%d %H:%M:%S"
    return f"{local:%Y-%m-%d %H:%M:%S} {zone} ({utc.strftime(shown)} UTC)"


def assert_respected(explanations: list[Explanation], life: Life) -> None:
    """Look at each call of a provider and each item of the inbox by what was wanted then."""
    calls: dict[str, list[datetime]] = {}
    for run, row, at, first in sorted(_calls(explanations), key=lambda each: each[2]):
        plan = PLANS[run.run.workflow_key]
        action: dict[str, Any] = plan.steps[plan.place(row.step_id)]["action"]
        wanted = Wanted(row.channel, plan.key, plan.category, plan.critical, action.get("send_window"))
        settings = _in_force(life, at)
        assert any(calm(each, wanted, at) for each in settings), (run.run.id, row.step_id, at)
        if first and not plan.critical:
            before = calls.get(row.channel, [])
            assert any(_has_place(life, each, row.channel, before, at) for each in settings), (
                row.step_id,
                at,
            )
        if first:
            calls.setdefault(row.channel, []).append(at)


def _calls(explanations: list[Explanation]) -> Iterator[tuple[Explanation, DeliveryView, datetime, bool]]:
    for told in explanations:
        for row in told.deliveries:
            if row.channel == "in_app" and row.status == "succeeded":
                yield told, row, row.created_at, True
            for attempt in row.attempts:
                yield told, row, attempt.started_at, attempt.number == 1


def _in_force(life: Life, at: datetime) -> list[Settings]:
    """Return what was wanted at a moment: of one at which it changed, what was before and what came then."""
    before = [settings for since, settings in life.kept if since < at][-1:]
    return [*before, *(settings for since, settings in life.kept if since == at)]


def _has_place(life: Life, settings: Settings, channel: str, calls: list[datetime], at: datetime) -> bool:
    """Count what was really sent since there has been this cap: a new one begins at nothing."""
    return all(
        sum(each >= _since(life, cap, at) and later(each, cap["per"], settings.zone) > at for each in calls)
        < cap["limit"]
        for cap in settings.held("caps")
        if cap["channel"] == channel
    )


def _since(life: Life, cap: dict[str, Any], at: datetime) -> datetime:
    begun = at
    for since, settings in reversed([each for each in life.kept if each[0] <= at]):
        if cap not in settings.held("caps"):
            break
        begun = since
    return begun

"""The verdict on one message at one moment. The theory stands at the top of the package."""

from datetime import UTC, datetime

from chimeway.progression.policy.case import Case, Finding, case_of
from chimeway.progression.policy.counting import Count, count
from chimeway.progression.policy.evidence import inputs_of
from chimeway.progression.policy.hours import Move
from chimeway.progression.policy.preferences import Preferences
from chimeway.progression.policy.verdict import Asked, Verdict


def judge(preferences: Preferences, asked: Asked, now: datetime) -> Verdict:
    """Judge a message.

    Args:
        preferences: of recipient and tenant, `merged`.
        asked: the message.
        now: the moment; aware.

    Returns:
        The verdict. What is deferred is to be judged again at `until`, which is later than `now`.
    """
    at = now.astimezone(UTC)
    case = case_of(preferences, asked)
    otherwise = _judged(case, at)
    found = _critical(case, at) if asked.critical else otherwise
    return Verdict(
        kind=found.kind,
        reason=found.reason,
        until=found.until,
        inputs=inputs_of(case, found, otherwise, at),
        counts=bool(case.caps),
        silent=case.silent,
    )


def _judged(case: Case, now: datetime) -> Finding:
    if not case.decided.says:
        return Finding("suppress", "preference")
    moves: list[Move] = []
    delaying = tuple(_count(case, "delay", now))
    at = case.hours.allow_from(now, moves)
    last = max(delaying, key=lambda each: each.free, default=None)
    if at is not None and last is not None and last.free > at:
        moves.append(Move("cap", last.cap.path, last.free))
        at = case.hours.allow_from(last.free, moves)
    if at is None:
        return _never(moves, delaying)
    counts = (*delaying, *_count(case, "drop", at))
    if any(each.full for each in counts if each.cap.then == "drop"):
        return Finding("suppress", "cap", None, tuple(moves), counts)
    return _sent_at(at, moves, counts)


def _critical(case: Case, now: datetime) -> Finding:
    moves: list[Move] = []
    at = case.with_window_only().hours.allow_from(now, moves)
    return _never(moves, ()) if at is None else _sent_at(at, moves, ())


def _count(case: Case, then: str, at: datetime) -> list[Count]:
    return [count(cap, case.sent, at, case.hours.zone) for cap in case.caps if cap.then == then]


def _sent_at(at: datetime, moves: list[Move], counts: tuple[Count, ...]) -> Finding:
    if not moves:
        return Finding("send", counts=counts)
    return Finding("defer", moves[0].reason, at, tuple(moves), counts)


def _never(moves: list[Move], counts: tuple[Count, ...]) -> Finding:
    """Suppress what no hours will ever allow: the reason is the first of them."""
    held = next(move for move in moves if move.reason != "cap")
    return Finding("suppress", held.reason, None, tuple(moves), counts)

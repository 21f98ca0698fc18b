"""How pages tell moments, states and ways: pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from xml.etree.ElementTree import fromstring

import pytest

from chimeway.store.console_sights import Hour, Lately
from chimeway.store.views import RunView, TransitionView
from chimeway.web.console import showing
from chimeway.web.console.charts import Bar, bars, share
from chimeway.web.console.outcomes import code_of, message_of
from chimeway.web.console.overview import charts
from chimeway.web.console.runs import actions_for
from chimeway.web.console.signing_in import ours
from chimeway.web.console.trail import told, trail_of
from chimeway.workflow.parse import parse
from chimeway.workflow.svg import figure
from store.verify_world import ESCALATION

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
LATE = timedelta(seconds=5)
RUN = RunView(
    id=UUID(int=1), tenant_id="t", recipient_id="ada", workflow_key="escalation", workflow_version=1,
    state="waiting", step="wait", visit=2, status_reason="waiting_for_step_progression", status_context={},
    pending_signals=("read",), wake_at=NOW + timedelta(hours=2), held_reason=None, held_at=None,
    waiting_for_node=None, cancellation_key=None, event_id=UUID(int=2), created_at=NOW, ended_at=None,
)  # fmt: skip


def test_spans_have_two_units() -> None:
    """The largest two, and nothing that is zero in between."""
    cases = {
        0: "0 s",
        40: "40 s",
        60: "1 min",
        3_600: "1 h",
        5_400: "1 h 30 min",
        90_061: "1 d 1 h",
        86_460: "1 d",
    }
    assert {seconds: showing.span(timedelta(seconds=seconds)) for seconds in cases} == cases
    assert showing.ago(NOW - timedelta(seconds=200), NOW) == "3 min ago"
    assert showing.ago(NOW + timedelta(hours=2, seconds=59), NOW) == "in 2 h"
    assert showing.ago(NOW, NOW) == "now"


def test_moments_are_told_in_a_zone_and_in_utc() -> None:
    """A zone that is not known here is UTC."""
    assert showing.local(NOW, "Europe/Berlin") == "2026-01-05 10:00:00 Europe/Berlin"
    assert showing.local(NOW, "Mars/Phobos") == showing.utc(NOW) == "2026-01-05 09:00:00 UTC"
    assert showing.as_instant(showing.as_field(NOW)) == NOW
    assert showing.as_instant("2026-01-05T09:00:00Z") == NOW
    assert [showing.as_instant(text) for text in ("", "soon", "2026-13-01T09:00", "2026-01-05")] == [None] * 4


@pytest.mark.parametrize(
    ("change", "word", "tone", "actions"),
    [
        ({}, "waiting", "waits", ("retime", "hold", "cancel")),
        ({"wake_at": NOW - timedelta(seconds=6)}, "overdue", "bad", ("wake", "retime", "hold", "cancel")),
        ({"wake_at": NOW - timedelta(seconds=4)}, "waiting", "waits", ("retime", "hold", "cancel")),
        ({"held_reason": "held_by_request"}, "held", "bad", ("retime", "resume", "cancel")),
        ({"waiting_for_node": "sms"}, "no node", "bad", ("wake", "retime", "hold", "cancel")),
        ({"state": "active", "wake_at": None}, "active", "busy", ("hold", "cancel")),
        ({"state": "active", "step": None}, "active", "busy", ("hold", "cancel")),
        ({"state": "completed", "ended_at": NOW, "wake_at": None}, "completed", "good", ()),
        ({"state": "stopped", "ended_at": NOW, "wake_at": None}, "stopped", "calm", ()),
        ({"state": "failed", "ended_at": NOW, "wake_at": None}, "failed", "bad", ()),
    ],
)
def test_how_a_run_stands(change: dict[str, Any], word: str, tone: str, actions: tuple[str, ...]) -> None:
    """Each state has a word, a tone, and what can be done."""
    run = replace(RUN, **change)
    stands = showing.standing(run, NOW, LATE)
    assert (stands.word, stands.tone) == (word, tone)
    assert stands.about
    assert actions_for(run, stands.word) == actions


def _row(seq: int, reason: str, to_step: str | None, to_state: str = "active") -> TransitionView:
    return TransitionView(
        seq=seq, decision_id=UUID(int=seq), reason=reason, from_state=None, to_state=to_state, from_step=None,
        to_step=to_step, visit=seq, status_reason="", context={}, signal_id=None, signal_type=None,
        note=None, at=NOW,
    )  # fmt: skip


def test_a_way_is_marked_in_the_graph() -> None:
    """What was entered and taken, and where it is; the rest is as it was, and the words say the same."""
    audit = [
        _row(1, "workflow_started", None), _row(2, "step_activated", "in_app"),
        _row(3, "step_activated", "wait"),
        _row(4, "waiting_for_step_progression", "wait", "waiting"),
    ]  # fmt: skip
    trail = trail_of(RUN, audit)
    assert trail.took == {(None, "in_app"), ("in_app", "wait")}
    assert told(RUN, trail) == "This run went through in_app, wait. It stands on wait: waiting."
    drawn = figure(parse(ESCALATION), trail, about=told(RUN, trail))
    assert drawn.count('class="arrow taken"') == 2
    assert drawn.count('class="box taken"') == 1
    assert drawn.count('class="box waits taken here"') == 1
    assert "It stands on wait" in drawn
    assert "<style" not in drawn
    ended = replace(RUN, state="stopped", ended_at=NOW, wake_at=None)
    assert trail_of(ended, audit).took == {*trail.took, ("wait", "stopped")}
    assert figure(parse(ESCALATION), trail_of(ended, audit)).count('class="arrow taken"') == 3
    assert trail_of(RUN, audit[:1]).took == frozenset()


def test_charts_are_drawn_to_a_round_number() -> None:
    """Each part is there, the least one is seen, and the words say the same to who cannot see it."""
    two = [Bar("08:00", (("good", 8), ("bad", 1))), Bar("09:00", ())]
    drawn = bars([*two, Bar("10:00", (("good", 0.001),))], "a & b")
    root = fromstring(drawn)  # noqa: S314  (ours)
    assert root.attrib["aria-label"] == "a & b"
    heights = [float(each.attrib["height"]) for each in root.iter("rect")]
    assert len(heights) == 3
    assert heights[0] == pytest.approx(8 * heights[1], rel=0.05)
    assert heights[2] == 1.5
    assert "10" in [text.text for text in root.iter("text")]
    assert "<rect" not in bars([], "nothing")
    assert ">1 s<" in bars([Bar("08:00", (("waits", 0.04),))], "late", " s", 1.0), "what is not late looks so"
    assert 'width="25.0"' in share(1, 4)
    assert 'width="0.0"' in share(0, 0)


def test_the_last_hours_add_up() -> None:
    """What is told of a day is the sum of its hours; an hour without a wait says nothing of lateness."""
    hours = (Hour(NOW, 3, 1, 1, 0.25), Hour(NOW + timedelta(hours=1), 0, 0, 0, None))
    shown = charts(Lately(hours, whole=True))
    assert (shown["planned"], shown["failed"], shown["late_s"]) == (5, 1, 0.25)
    assert charts(Lately((hours[1],), whole=True))["late_s"] is None


def test_only_our_own_paths_are_led_back_to() -> None:
    """No other place, and no sign-in page after a sign-in."""
    assert ours("/runs?state=waiting") == "/runs?state=waiting"
    for wanted in (
        "",
        "runs",
        "//evil",
        "/\\evil",
        "https://evil",
        "/a\\b",
        "/a\nb",
        "/sign-in",
        "/" + "x" * 2_000,
    ):
        assert ours(wanted) == "", wanted


def test_messages_are_known_by_codes() -> None:
    """No address can put words into our pages."""
    assert message_of("<b>hello</b>") is None
    assert message_of(None) is None
    good = message_of("stopped")
    assert good is not None
    assert good.tone == "good"
    pairs = [
        ("cancel", "ended"),
        ("wake", "held"),
        ("wake", "paused"),
        ("retry", "held"),
        ("retry", "succeeded"),
    ]
    assert all(message_of(code_of(*pair)) for pair in pairs)

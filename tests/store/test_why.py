"""Why was this sent, or not sent? Journeys really played, against the golden texts of why.golden.txt."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from chimeway.client.why import why
from chimeway.store import callers, reads
from chimeway.store.pool import Database
from chimeway.store.views import Story
from kit.golden import agrees, sections
from store import why_at_night, why_cases
from store.journey import journey
from store.why_cases import ADA, DOC, MENTION, mention

GOLDEN = Path(__file__).with_name("why.golden.txt")
CASES = why_cases.CASES | why_at_night.CASES


def _named(text: str, story: Story) -> str:
    """Return the text without the ids of its messages: they are not the same twice."""
    for row in story.deliveries:
        text = text.replace(str(row.id), f"<{row.step_id}>")
    return text


@pytest.mark.parametrize("name", CASES)
async def test_why(clock_database: Database, name: str) -> None:
    """The sentences are the golden ones; an unknown definition or zone costs words, not the explanation."""
    case = CASES[name]
    async with journey(clock_database, case.workflow, case.data, **case.begins, **case.profile) as ada:
        await case.play(ada)
        story = await callers.run(clock_database, reads.read_story("default", ada.run_id))
    agrees(GOLDEN, name, _named("\n".join(why(story)), story))
    poorer = why(replace(story, definition=None, zone="No/Where"))
    assert poorer[0].endswith(":00 UTC.")
    assert all(sentence.endswith(".") for sentence in poorer)


async def test_the_timeline_is_in_the_order_of_causes(clock_database: Database) -> None:
    """At one instant a step is entered, its message planned, attempted, ended; then the run goes on."""
    async with journey(clock_database, mention(), DOC, **ADA, phone="+44") as ada:
        await ada.attempt(1, "succeeded")
        await ada.attempt(2, "cancelled", "permanent_failure", error_class="permanent", note="blocked")
        found = await ada.explain()
    assert [(each.kind, each.what, each.step) for each in found.timeline] == [
        ("transition", "workflow_started", None),
        ("transition", "step_activated", "step_email"),
        ("delivery", "planned", "step_email"),
        ("attempt", "attempt_started", "step_email"),
        ("attempt", "succeeded", "step_email"),
        ("delivery", "succeeded", "step_email"),
        ("transition", "progressed_on_delivery_outcome", "step_email"),
        ("transition", "step_activated", "step_sms"),
        ("delivery", "planned", "step_sms"),
        ("attempt", "attempt_started", "step_sms"),
        ("attempt", "failed", "step_sms"),
        ("delivery", "cancelled", "step_sms"),
        ("transition", "workflow_completed", "step_sms"),
    ]
    assert found.timeline[-2].detail == "sms mention_sms: permanent_failure"
    assert [attempt.outcome for attempt in found.attempts] == ["succeeded", "failed"]


@pytest.mark.parametrize(("release", "word"), [(True, "released"), (False, "dropped")])
async def test_the_timeline_tells_what_a_restore_held_back(
    clock_database: Database, release: bool, word: str
) -> None:
    """When it was held, of which backup, and who decided; the explanation bears the same."""
    async with journey(clock_database, MENTION, DOC, **ADA) as ada:
        await why_at_night.then(why_at_night.restored, release=release)(ada)
        found = await ada.explain()
    email = [(each.what, each.detail) for each in found.timeline if each.kind == "delivery"][2:]
    assert email[:3] == [
        ("planned", "email mention_email"),
        ("held_after_restore", "email mention_email: the backup of 2026-01-05T11:00:00Z"),
        (word, "email mention_email: by eve (command line)"),
    ]
    assert [what for what, _ in email[3:]] == ([] if release else ["cancelled"])
    was = found.deliveries[-1].restored
    assert was is not None
    assert (was.decision, was.decided_by) == (word, "eve (command line)")
    assert was.decided_at == was.held_at + timedelta(minutes=30) == was.taken_at + timedelta(minutes=150)


def test_no_golden_text_is_left_over() -> None:
    """Each golden text belongs to a case."""
    assert set(sections(GOLDEN)) == set(CASES)

"""The guide's words in Python, through both clients: class, dict, `Trigger.trigger`, `Signal.track`."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum
from typing import Any

import pytest

import chimeway.sync
from chimeway import Chimeway, DatabaseUnavailable, InvalidDefinition, Signal, Trigger


class Kind(StrEnum):
    """Atoms, as Python writes them."""

    notify = "notify"
    wait = "wait"
    in_app = "in_app"
    email = "email"
    signal_received = "signal_received"


class Loud(Enum):
    """What is no text."""

    notify = "notify"


def _written(args: Mapping[str, Any]) -> dict[str, Any]:
    assert args["document_id"]
    return {
        "key": "mention_escalation",
        "version": 1,
        "steps": [
            {
                "id": "step_in_app",
                "action": {"type": Kind.notify, "channel": Kind.in_app, "render_key": "mention_notification"},
            },
            {
                "id": "step_wait_for_read",
                "action": {
                    "type": Kind.wait,
                    "duration": "PT2H",
                    "stop_conditions": [
                        {"type": Kind.signal_received, "signal_type": "notification_read"},
                    ],
                },
            },
            {
                "id": "step_email_escalation",
                "action": {"type": Kind.notify, "channel": Kind.email, "render_key": "mention_email"},
            },
        ],
    }


class MentionEscalation:
    """The guide's workflow."""

    def workflow(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as a plain dict."""
        return _written(args)


ARGS = {"actor_id": "user_123", "tenant_id": "org_456", "document_id": "doc_789"}
FORMS: list[Any] = [MentionEscalation, MentionEscalation(), _written(ARGS)]


@pytest.fixture
def blocking(database_url: str) -> Iterator[chimeway.sync.Chimeway]:
    """The client without a loop."""
    with chimeway.sync.Chimeway.connect(database_url) as client:
        yield client


@pytest.mark.parametrize("form", FORMS, ids=["class", "instance", "dict"])
async def test_the_guides_calls(form: Any, database_url: str) -> None:
    """Trigger and signal as the guide writes them reach the one run of the person whom the data names."""
    async with Chimeway.connect(database_url) as client:
        receipt = await Trigger.trigger(form, ARGS, tenant_id="org_456")
        signal_id = await Signal.track("user_123", "org_456", "notification_read", {"document_id": "doc_789"})
        run = await client.get_run(receipt.run_ids[0], tenant="org_456")
        assert (run.recipient_id, run.workflow_key) == ("user_123", "mention_escalation")
        assert signal_id


@pytest.mark.parametrize("form", FORMS, ids=["class", "instance", "dict"])
def test_the_guides_calls_without_a_loop(form: Any, blocking: chimeway.sync.Chimeway) -> None:
    """The same without an event loop."""
    receipt = chimeway.sync.Trigger.trigger(form, ARGS, tenant_id="org_456")
    signal_id = chimeway.sync.Signal.track(
        "user_123", "org_456", "notification_read", {"document_id": "doc_789"}
    )
    run = blocking.get_run(receipt.run_ids[0], tenant="org_456")
    assert (run.recipient_id, run.workflow_key) == ("user_123", "mention_escalation")
    assert signal_id


def test_atoms_are_texts(blocking: chimeway.sync.Chimeway) -> None:
    """A StrEnum's member is its text everywhere; a member of another enum is no text and is named."""
    for name in (Kind.email, "email"):
        assert len(blocking.trigger(FORMS[2], ARGS, recipients=[name], tenant=name).run_ids) == 1
    assert len(blocking.list_runs(tenant="email")) == 2
    assert blocking.signal(Kind.notify, actor=Kind.email, tenant=Kind.email)
    wrong = _written(ARGS)
    wrong["steps"][0]["action"]["type"] = Loud.notify
    with pytest.raises(InvalidDefinition, match=r"steps\[0\]\.action\.type"):
        blocking.trigger(wrong, ARGS)


async def test_without_an_open_client_they_say_what_to_open() -> None:
    """The forms that name no client use the newest one; without any they say so."""
    with pytest.raises(DatabaseUnavailable, match=r"open one: async with Chimeway\.connect\(dsn\)"):
        await Signal.track("user_123", "org_456", "notification_read")
    with pytest.raises(DatabaseUnavailable, match=r"open one: async with Chimeway\.connect\(dsn\)"):
        await Trigger.trigger(MentionEscalation, ARGS)


def test_without_its_package_the_client_names_the_extra() -> None:
    """Where psycopg is not installed, the import of chimeway.sync says what to type."""
    code = "import sys; sys.modules['psycopg'] = None\nfrom chimeway.sync import Chimeway"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == (
        "chimeway.errors.MissingExtra: missing_extra: this needs the package psycopg, which is not "
        "installed: pip install 'chimeway[sync]'"
    )

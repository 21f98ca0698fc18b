"""The guide's workflow in Python, for tests of the client."""

from typing import Any

from chimeway import Notify, Wait, Workflow, from_data, signal_received


def mention(**more: Any) -> Workflow:
    """Return the guide's workflow."""
    seen = signal_received("notification_read", match={"document_id": from_data("document_id")})
    steps = [
        Notify("step_in_app", channel="in_app", render_key="mention"),
        Wait("step_wait", duration="PT2H", stop_conditions=[seen]),
        Notify("step_email", channel="email", render_key="mention_email"),
    ]
    return Workflow(**{"key": "mention_escalation", "version": 1, "steps": steps} | more)


DATA = {"document_id": "doc_789"}

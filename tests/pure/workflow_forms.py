"""Definitions in their JSON form, for the tests of the workflow room."""

from typing import Any

NOTIFY: dict[str, Any] = {"type": "notify", "channel": "email", "render_key": "hello"}
WAIT: dict[str, Any] = {"type": "wait", "duration": "PT2H"}


def workflow(*steps: Any, **more: Any) -> dict[str, Any]:
    """Return a definition of these steps."""
    return {"key": "k", "version": 1, "steps": list(steps), **more}


def notify(step_id: str = "a", *rules: Any, **more: Any) -> dict[str, Any]:
    """Return a notify step."""
    progress = {"progress": list(rules)} if rules else {}
    return {"id": step_id, "action": dict(NOTIFY), **progress, **more}


def wait(step_id: str = "w", *conditions: Any, **more: Any) -> dict[str, Any]:
    """Return a wait step of two hours; `action` replaces its keys."""
    action = more.pop("action", dict(WAIT))
    listened = {"stop_conditions": list(conditions)} if conditions else {}
    return {"id": step_id, "action": {**action, **listened}, **more}


def signal(**more: Any) -> dict[str, Any]:
    """Return a condition on the signal `read`."""
    return {"type": "signal_received", "signal_type": "read", **more}


def on(outcome: str, to_step: str, **more: Any) -> dict[str, Any]:
    """Return an on_outcome rule."""
    return {"kind": "on_outcome", "outcome": outcome, "to_step": to_step, **more}


def later(to_step: str, **more: Any) -> dict[str, Any]:
    """Return a wait_until rule, of an hour unless said otherwise."""
    times = {} if {"delay", "delay_seconds"} & set(more) else {"delay": "PT1H"}
    return {"kind": "wait_until", "to_step": to_step, **times, **more}


MENTION: dict[str, Any] = {
    "key": "mention_escalation",
    "version": 1,
    "steps": [
        {
            "id": "step_in_app",
            "action": {"type": "notify", "channel": "in_app", "render_key": "mention_notification"},
        },
        {
            "id": "step_wait_for_read",
            "action": {
                "type": "wait",
                "duration": "PT2H",
                "stop_conditions": [{"type": "signal_received", "signal_type": "notification_read"}],
            },
        },
        {
            "id": "step_email_escalation",
            "action": {"type": "notify", "channel": "email", "render_key": "mention_email"},
        },
    ],
}
"""The guide's journey, key by key."""

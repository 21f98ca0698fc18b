"""What a daemon is given: a folder of workflows and one of templates."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GUIDE = """\
key: mention_escalation
version: 1
steps:
  - id: step_in_app
    action: {type: notify, channel: in_app, render_key: mention_notification}
  - id: step_wait_for_read
    action:
      type: wait
      duration: PT2S
      stop_conditions:
        - {type: signal_received, signal_type: notification_read}
  - id: step_email_escalation
    action: {type: notify, channel: email, render_key: mention_email}
"""
"""The guide's journey, with a wait of two seconds where it has two hours."""

TEMPLATES = {
    "mention_notification.in_app.j2": (
        "{% block subject %}You were mentioned{% endblock %}\n"
        "{% block body %}In {{ document_id | default('a document') }}, {{ recipient.id }}{% endblock %}\n"
    ),
    "mention_email.email.j2": (
        "{% block subject %}You were mentioned, {{ recipient.id }}{% endblock %}\n"
        "{% block body %}<p>{{ document_id | default('It') }} is still unread.</p>{% endblock %}\n"
    ),
}
READ = {"type": "signal_received", "signal_type": "notification_read"}
"""The guide's stop condition."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a daemon finds what it serves, and where its logs go."""

    folder: Path
    workflows: Path
    templates: Path


def home(
    folder: Path, *definitions: str | Mapping[str, Any], templates: Mapping[str, str] = TEMPLATES
) -> Home:
    """Write workflows (YAML text, or dicts) and templates into a folder."""
    made = Home(folder, folder / "workflows", folder / "templates")
    made.workflows.mkdir()
    made.templates.mkdir()
    for number, definition in enumerate(definitions):
        text = definition if isinstance(definition, str) else yaml.safe_dump(dict(definition))
        (made.workflows / f"workflow_{number}.yaml").write_text(text)
    for name, text in templates.items():
        (made.templates / name).write_text(text)
    return made


def in_app(step: str = "step_in_app", **more: Any) -> dict[str, Any]:
    """Return a step that writes an inbox item."""
    action = {"type": "notify", "channel": "in_app", "render_key": "mention_notification"}
    return {"id": step, "action": action, **more}


def email(step: str = "step_email_escalation", **more: Any) -> dict[str, Any]:
    """Return a step that sends an e-mail."""
    action = {"type": "notify", "channel": "email", "render_key": "mention_email"}
    return {"id": step, "action": action, **more}


def wait(step: str = "step_wait_for_read", *conditions: Mapping[str, Any], **how: Any) -> dict[str, Any]:
    """Return a step that waits, by `duration` or `until`; without conditions it hears "read"."""
    stops = [dict(one) for one in conditions] or [READ]
    return {"id": step, "action": {"type": "wait", **how, "stop_conditions": stops}}


def workflow(*steps: Mapping[str, Any], key: str = "mention_escalation", **more: Any) -> dict[str, Any]:
    """Return a definition."""
    return {"key": key, "version": 1, "steps": [dict(step) for step in steps], **more}

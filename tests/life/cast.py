"""The workflows of the life, once for the engine, and once as the model understands them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chimeway import (
    Notify,
    Wait,
    Workflow,
    from_data,
    hours,
    local_time,
    on_outcome,
    repeat,
    signal_received,
    working_days,
)

MENTION = Workflow(
    key="mention",
    version=1,
    category="mentions",
    steps=[
        Notify("item", channel="in_app", render_key="mention"),
        Wait(
            "unread",
            duration="PT2H",
            stop_conditions=[signal_received("read", match={"about": from_data("about")})],
        ),
        Notify("mail", channel="email", render_key="mention"),
    ],
)
OFFER = Workflow(
    key="offer",
    version=1,
    category="marketing",
    stop_conditions=[signal_received("bought")],
    steps=[
        Notify(
            "mail",
            channel="email",
            render_key="offer",
            send_window=hours("10:00", "18:00", on=working_days),
        ),
        Wait("think", duration="P3D"),
        Notify(
            "text", channel="sms", render_key="offer", send_window=hours("09:30", "20:00", on=["fri", "sat"])
        ),
    ],
)
RESET = Workflow(
    key="reset",
    version=1,
    critical=True,
    steps=[
        Notify(
            "mail",
            channel="email",
            render_key="reset",
            progress=[
                on_outcome("bounced", to_step="text"),
                on_outcome("permanent_failure", to_step="text"),
                on_outcome("retries_exhausted", to_step="text"),
            ],
        ),
        Notify("text", channel="sms", render_key="reset"),
    ],
)
NOTICE = Workflow(
    key="notice",
    version=1,
    category="contract",
    critical=True,
    steps=[Notify("text", channel="sms", render_key="notice", send_window=hours("08:00", "20:00"))],
)
WEEKLY = Workflow(
    key="weekly",
    version=1,
    category="reports",
    steps=[
        Wait("monday", until=local_time("09:00", on=["mon"])),
        Notify("mail", channel="email", render_key="weekly"),
    ],
)
MORNING = Workflow(
    key="morning",
    version=1,
    category="reminders",
    steps=[
        Wait(
            "morning",
            until=local_time("06:30", on=working_days),
            stop_conditions=[signal_received("done", match={"about": from_data("about")})],
        ),
        Notify("nudge", channel="push", render_key="morning", next=repeat("morning", times=3, then="last")),
        Notify("last", channel="email", render_key="morning"),
    ],
)
INVOICE = Workflow(
    key="invoice",
    version=1,
    stop_conditions=[signal_received("paid", match={"about": from_data("about")})],
    steps=[
        Notify("mail", channel="email", render_key="invoice"),
        Wait("week", duration="P7D"),
        Notify("again", channel="email", render_key="invoice"),
        Wait("fortnight", duration="P2W"),
        Notify("text", channel="sms", render_key="invoice"),
    ],
)
WORKFLOWS = (MENTION, OFFER, RESET, NOTICE, WEEKLY, MORNING, INVOICE)
KEYS = tuple(workflow.key for workflow in WORKFLOWS)


@dataclass(frozen=True)
class Plan:
    """A workflow, as the model has it: plain forms, read with none of the engine's readers."""

    key: str
    category: str | None
    critical: bool
    stops: list[dict[str, Any]]
    steps: list[dict[str, Any]]

    def place(self, step: str) -> int:
        """Return where a step stands; behind the last one for "end"."""
        return next((n for n, each in enumerate(self.steps) if each["id"] == step), len(self.steps))

    @property
    def hears(self) -> set[str]:
        """Return the types of signals that it names."""
        waits = [each["action"].get("stop_conditions", []) for each in self.steps]
        return {each["signal_type"] for group in (self.stops, *waits) for each in group}


def plan_of(workflow: Workflow) -> Plan:
    """Return it, of what the author wrote."""
    form = workflow.as_dict()
    return Plan(
        form["key"],
        form.get("category"),
        form.get("critical", False),
        form.get("stop_conditions", []),
        form["steps"],
    )


PLANS = {workflow.key: plan_of(workflow) for workflow in WORKFLOWS}

TEMPLATES = {
    f"{step['action']['render_key']}.{step['action']['channel']}.j2": (
        "{% block subject %}{{ about }}{% endblock %}"
        "{% block body %}for {{ recipient.id }}: {{ about }}{% endblock %}"
    )
    for plan in PLANS.values()
    for step in plan.steps
    if step["action"]["type"] == "notify"
}


def meets(condition: Mapping[str, Any], signal: tuple[str, dict[str, Any]], data: Mapping[str, Any]) -> bool:
    """Say whether a signal meets a condition; `match` refers to the trigger's data only."""
    kind, payload = signal
    match = condition.get("match", {})
    return kind == condition["signal_type"] and all(
        payload.get(name) == data[wanted["data"]] for name, wanted in match.items()
    )

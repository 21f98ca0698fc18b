"""The guide's journey, as its user wrote it."""

from chimeway import Notify, Wait, Workflow, signal_received

mention_escalation = Workflow(
    key="mention_escalation",
    version=1,
    steps=[
        Notify("step_in_app", channel="in_app", render_key="mention_notification"),
        Wait(
            "step_wait_for_read",
            duration="PT2H",
            stop_conditions=[
                signal_received("notification_read", match={"document_id": {"data": "document_id"}})
            ],
        ),
        Notify("step_email_escalation", channel="email", render_key="mention_email"),
    ],
)

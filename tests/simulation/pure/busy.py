"""A journey in which much can happen at once: where a missing guard shows soon."""

from chimeway.workflow.parse import parse


def _notify(channel: str) -> dict[str, str]:
    return {"type": "notify", "channel": channel, "render_key": "r"}


def _signal(kind: str, **more: object) -> dict[str, object]:
    return {"type": "signal_received", "signal_type": kind, **more}


BUSY = parse(
    {
        "key": "busy",
        "version": 1,
        "stop_conditions": [_signal("halt")],
        "steps": [
            {
                "id": "gate",
                "action": {
                    "type": "wait",
                    "duration": "PT10M",
                    "stop_conditions": [_signal("read"), _signal("skip", then="continue")],
                },
            },
            {
                "id": "mail",
                "action": _notify("email"),
                "progress": [
                    {"kind": "on_outcome", "outcome": "bounced", "to_step": "sms"},
                    {"kind": "on_outcome", "outcome": "temporary_failure", "to_step": "sms"},
                    {
                        "kind": "wait_until",
                        "delay_seconds": 60,
                        "to_step": "sms",
                        "cancel_signals": [_signal("read")],
                    },
                ],
            },
            {
                "id": "sms",
                "action": _notify("sms"),
                "progress": [{"kind": "stop", "outcome": "delivered"}],
                "next": "rest",
            },
            {
                "id": "rest",
                "action": {"type": "wait", "duration": "PT1H", "stop_conditions": [_signal("read")]},
            },
            {"id": "push", "action": _notify("push")},
        ],
    }
)

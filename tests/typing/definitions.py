"""What a type checker says of definitions in Python. Read by mypy, not run."""

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from chimeway import (
    Definition,
    Notify,
    Wait,
    Workflow,
    from_data,
    goto,
    hours,
    local_time,
    on_outcome,
    rehearse,
    repeat,
    signal_received,
    stop_on,
    wait_until,
    within,
    working_days,
)
from chimeway.progression.rehearse import Rehearsal


class Mention(BaseModel):
    """The data of a mention."""

    document_id: str


read = signal_received("notification_read", match={"document_id": from_data("document_id")}, then=goto("end"))
workflow = Workflow(
    key="mention",
    version=1,
    steps=[
        Notify("app", channel="in_app", render_key="m", progress=[on_outcome("bounced", to_step="mail")]),
        Wait("wait", duration=timedelta(hours=2), stop_conditions=[read]),
        {"id": "raw", "action": {"type": "wait", "duration": "PT1H"}},
        Wait("morning", until=local_time("09:00", on=working_days)),
        Wait("office", until=within(time(9), time(17), on=["mon", "thu"])),
        Notify("text", channel="sms", render_key="m", send_window=hours("09:00", "20:00", on={"sat"})),
        Wait("again", duration="P1D", next=repeat("morning", times=4, then="mail")),
        Notify("mail", channel="email", render_key="m", progress=[stop_on("delivered")]),
    ],
    data=Mention,
)
assert_type(workflow.key, str)
assert_type(workflow.version, int)
assert_type(workflow.digest, str)
assert_type(workflow.definition, Definition)
assert_type(workflow.data_model, type[BaseModel] | None)
assert_type(rehearse(workflow), Rehearsal)
form: Mapping[str, Any] = workflow.as_dict()

Notify("app", channel="in_app")  # type: ignore[call-arg]  # what is rendered is left out
Notify("app", channel=7, render_key="m")  # type: ignore[arg-type]  # no channel
Notify(id="app", channel="in_app", render_key="m")  # type: ignore[call-arg]  # the id comes first
Wait("wait", duration=7)  # type: ignore[arg-type]  # seconds? hours? a text or a timedelta says it
Workflow(key="k", version="1", steps=[])  # type: ignore[arg-type]  # a version is a number
Workflow(key="k", version=1, steps=["app"])  # type: ignore[list-item]  # no step
Workflow(key="k", version=1, steps=[], data=dict)  # type: ignore[arg-type]  # no model
local_time("09:00", on=["monday"])  # type: ignore[list-item]  # no day is written so
repeat("morning", then="end")  # type: ignore[call-arg]  # how often is left out
local_time(9)  # type: ignore[arg-type]  # nine what?
within("09:00")  # type: ignore[call-arg]  # until when is left out
on_outcome("bouncd", to_step="mail")  # type: ignore[arg-type]  # no outcome
signal_received("read", then="halt")  # type: ignore[arg-type]  # no such end
wait_until(delay="PT1H")  # type: ignore[call-arg]  # where it then goes is left out
workflow.definition = workflow.definition  # type: ignore[misc]  # a definition never changes

"""Every way to be wrong: a definition, the code, the path and words of the message."""

from typing import Any

from pure.workflow_forms import NOTIFY, WAIT, later, notify, on, signal, wait, workflow

C = "steps[0].action.stop_conditions[0]"
P = "steps[0].progress[0]"
NESTED: Any = []
for _ in range(80):
    NESTED = [NESTED]

FAULTS: list[tuple[Any, str, str, str]] = [
    # the whole
    (5, "wrong_type", "", "given 5; wanted an object"),
    ([workflow(notify())], "wrong_type", "", "given a list of 1; wanted an object"),
    ({}, "missing_key", "key", "the key 'key' is missing"),
    (workflow(notify(), stepz=1), "unknown_key", "stepz", "did you mean 'steps'?"),
    (workflow(notify(), key=""), "invalid_value", "key", "given an empty string; wanted a name"),
    (workflow(notify(), key="k\n"), "invalid_value", "key", "wanted no control characters"),
    (workflow(notify(), key="k" * 256), "invalid_value", "key", "given 256 characters; wanted at most 255"),
    (workflow(notify(), version="1"), "wrong_type", "version", "given '1'; wanted an integer"),
    (workflow(notify(), version=True), "wrong_type", "version", "given true; wanted an integer"),
    (workflow(notify(), version=0), "invalid_value", "version", "given 0; wanted 1 to 2147483647"),
    (workflow(notify(), critical="yes"), "wrong_type", "critical", "given 'yes'; wanted true or false"),
    (workflow(notify(), description=1), "wrong_type", "description", "given 1; wanted a string"),
    # values that no definition can hold
    (
        workflow(notify(description=None) | {"action": NESTED}),
        "too_deep",
        "steps[0].action" + "[0]" * 61,
        "64",
    ),
    (workflow(notify(), description="x" * 300_000), "too_large", "", "262144"),
    (workflow(notify(), description="\0"), "invalid_value", "description", "holds the character NUL"),
    (workflow(notify(), description="\ud800"), "invalid_value", "description", "half of a surrogate pair"),
    (workflow(notify(), category=float("nan")), "invalid_value", "category", "finite numbers only"),
    (workflow(notify(), category=2**53), "invalid_value", "category", "write it as a string"),
    (workflow(notify(), category=b"x"), "wrong_type", "category", "the Python type bytes; wanted JSON"),
    (workflow(notify()) | {5: 1}, "wrong_type", "", "given the key 5; keys are strings"),
    # steps
    (workflow(), "empty_steps", "steps", "given no step; wanted at least one"),
    (workflow() | {"steps": {}}, "wrong_type", "steps", "wanted a list"),
    (workflow(None), "wrong_type", "steps[0]", "given null; wanted an object"),
    (workflow(*(notify(f"s{i}") for i in range(101))), "too_many_steps", "steps", "given 101 steps"),
    (
        workflow(notify(), notify()),
        "duplicate_step_id",
        "steps[1].id",
        "given 'a', the id of steps[0] already",
    ),
    (workflow(notify("end")), "invalid_value", "steps[0].id", "the word for where a run ends"),
    (workflow({"action": NOTIFY}), "missing_key", "steps[0].id", "'id' is missing"),
    (workflow({"id": "a"}), "missing_key", "steps[0].action", "'action' is missing"),
    (workflow(notify(nxt="b")), "unknown_key", "steps[0].nxt", "did you mean 'next'?"),
    (workflow(notify(next="b")), "unknown_step", "steps[0].next", "given 'b'; wanted a step's id or `end`"),
    (workflow(notify("a_step", next="a_stepp")), "unknown_step", "steps[0].next", "did you mean 'a_step'?"),
    (
        workflow(wait(progress=[])),
        "progress_on_wait",
        "steps[0].progress",
        "use `stop_conditions` and `next`",
    ),
    # actions
    (workflow(notify() | {"action": "x"}), "wrong_type", "steps[0].action", "given 'x'; wanted an object"),
    (
        workflow(notify() | {"action": {}}),
        "missing_key",
        "steps[0].action.type",
        "wanted one of notify, wait",
    ),
    (
        workflow(wait(action={"type": "wiat"})),
        "invalid_value",
        "steps[0].action.type",
        "did you mean 'wait'?",
    ),
    (workflow(wait(action={**NOTIFY, "chanel": 1})), "unknown_key", "steps[0].action.chanel", "'channel'?"),
    (
        workflow(wait(action={**NOTIFY, "data": [1]})),
        "wrong_type",
        "steps[0].action.data",
        "wanted an object",
    ),
    (workflow(wait(action={"type": "notify"})), "missing_key", "steps[0].action.render_key", "is missing"),
    (
        workflow(wait(action={"type": "wait"})),
        "missing_key",
        "steps[0].action",
        "neither 'duration' nor 'until'",
    ),
    (
        workflow(wait(action={**WAIT, "until": "2026-01-01T00:00:00Z"})),
        "conflicting_keys",
        "steps[0].action",
        "given both 'duration' and 'until'; wanted one of them",
    ),
    (
        workflow(notify(), wait(action={**WAIT, "duration": "2h"})),
        "invalid_duration",
        "steps[1].action.duration",
        "given '2h'; wanted an ISO 8601 duration such as PT2H, P3D or P1DT12H30M",
    ),
    (
        workflow(wait(action={**WAIT, "duration": "PT0S"})),
        "invalid_duration",
        "steps[0].action.duration",
        "zero",
    ),
    (
        workflow(wait(action={**WAIT, "duration": "-PT1H"})),
        "invalid_duration",
        "steps[0].action.duration",
        "-PT",
    ),
    (
        workflow(wait(action={**WAIT, "duration": "P11Y"})),
        "invalid_duration",
        "steps[0].action.duration",
        "10 years",
    ),
    (
        workflow(wait(action={**WAIT, "duration": "PT1.5H"})),
        "invalid_duration",
        "steps[0].action.duration",
        "1.5H",
    ),
    (
        workflow(wait(action={**WAIT, "duration": 60})),
        "wrong_type",
        "steps[0].action.duration",
        "such as PT2H",
    ),
    (
        workflow(wait(action={"type": "wait", "until": "soon"})),
        "invalid_value",
        "steps[0].action.until",
        "offset",
    ),
    (
        workflow(wait(action={"type": "wait", "until": "2026-02-29T00:00:00Z"})),
        "invalid_value",
        "steps[0].action.until",
        "which is no instant",
    ),
    (
        workflow(wait(action={"type": "wait", "until": {"date": "x"}})),
        "unknown_key",
        "steps[0].action.until.date",
        "did you mean 'data'?",
    ),
    # rules
    (
        workflow(notify("a", {"outcome": "bounced"})),
        "missing_key",
        f"{P}.kind",
        "on_outcome, stop, wait_until",
    ),
    (
        workflow(notify("a", {"kind": "on_outcom"})),
        "invalid_value",
        f"{P}.kind",
        "did you mean 'on_outcome'?",
    ),
    (workflow(notify("a", on("bounce", "a"))), "unknown_outcome", f"{P}.outcome", "did you mean 'bounced'?"),
    (
        workflow(notify("a", on("bounced", "b"))),
        "unknown_step",
        f"{P}.to_step",
        "given 'b'; wanted a step's id",
    ),
    (workflow(notify("a", on("bounced", "end"))), "unknown_step", f"{P}.to_step", "`end` is for `next` only"),
    (
        workflow(notify("a", on("bounced", "b", keep_retrying=1)), notify("b")),
        "wrong_type",
        f"{P}.keep_retrying",
        "given 1; wanted true or false",
    ),
    (
        workflow(notify("a", later("a"), later("a"))),
        "conflicting_keys",
        "steps[0].progress[1]",
        "at most one",
    ),
    (
        workflow(notify("a", later("a", anchor="x"))),
        "invalid_value",
        f"{P}.anchor",
        "prior_delivery_terminal_at",
    ),
    (workflow(notify("a", {"kind": "wait_until", "to_step": "a"})), "missing_key", P, "'delay_seconds'"),
    (workflow(notify("a", later("a", delay="x"))), "invalid_duration", f"{P}.delay", "given 'x'"),
    (
        workflow(notify("a", later("a", delay_seconds=0))),
        "invalid_duration",
        f"{P}.delay_seconds",
        "given 0;",
    ),
    (workflow(notify("a", later("a", delay_seconds=True))), "wrong_type", f"{P}.delay_seconds", "given true"),
    (
        workflow(notify("a", later("a", delay="PT1H", delay_seconds=5))),
        "conflicting_keys",
        P,
        "given both 'delay' and 'delay_seconds'",
    ),
    (
        workflow(notify("a", later("a", cancel_signals=[signal(match={"d": 1})]))),
        "invalid_value",
        f"{P}.cancel_signals[0].match",
        "conditions of `cancel_signals` have none",
    ),
    (
        workflow(notify("a", later("a", cancel_signals=[signal(then="continue")]))),
        "invalid_value",
        f"{P}.cancel_signals[0].then",
        "can only `stop`",
    ),
    # conditions
    (workflow(wait("w", {"signal_type": "x"})), "missing_key", f"{C}.type", "is missing"),
    (workflow(wait("w", signal(type="x"))), "invalid_value", f"{C}.type", "wanted one of signal_received"),
    (workflow(wait("w", signal(signal_type=""))), "invalid_value", f"{C}.signal_type", "an empty string"),
    (workflow(wait("w", signal(mach={}))), "unknown_key", f"{C}.mach", "did you mean 'match'?"),
    (workflow(wait("w", signal(match=[]))), "wrong_type", f"{C}.match", "wanted an object"),
    (workflow(wait("w", signal(match={"d": {"x": 1}}))), "invalid_value", f"{C}.match.d", "{value: {...}}"),
    (workflow(wait("w", signal(match={"a b": {}}))), "invalid_value", f'{C}.match["a b"]', "an empty object"),
    (
        workflow(wait("w", signal(match={"d": {"delivery": "w"}}))),
        "invalid_value",
        f"{C}.match.d.delivery",
        "a wait has no delivery",
    ),
    (
        workflow(wait("w", signal(match={"d": {"delivery": "b"}}))),
        "unknown_step",
        f"{C}.match.d.delivery",
        "given 'b'; wanted a step's id",
    ),
    (
        workflow(wait("w", signal(then="halt"))),
        "invalid_value",
        f"{C}.then",
        "wanted stop, continue or {goto:",
    ),
    (workflow(wait("w", signal(then={"goto": "b"}))), "unknown_step", f"{C}.then.goto", "given 'b'"),
    (workflow(wait("w", signal(since="ever"))), "invalid_value", f"{C}.since", "wanted one of run, entered"),
    (
        workflow(notify(), stop_conditions=[signal(then="continue")]),
        "invalid_value",
        "stop_conditions[0].then",
        "a condition of the whole workflow can only `stop`",
    ),
    (
        workflow(notify(), stop_conditions=[signal(since="entered")]),
        "invalid_value",
        "stop_conditions[0].since",
        "belongs to no step",
    ),
    # the journey
    (
        workflow(notify("a"), notify("b", next="a")),
        "endless_cycle",
        "steps[0]",
        "given the cycle a -> b -> a, which can go round without end",
    ),
]
REMARKS: list[tuple[Any, str, str, str]] = [
    (workflow(wait()), "nothing_is_sent", "steps", "given no notify step"),
    (
        workflow(notify("a", next="c"), notify("b"), notify("c")),
        "unreachable_step",
        "steps[1]",
        "leads to 'b'",
    ),
    (
        workflow(notify() | {"action": {**NOTIFY, "channel": "emial"}}),
        "unknown_channel",
        "steps[0].action.channel",
        "did you mean 'email'?",
    ),
    (
        workflow(notify("a", {"kind": "stop", "outcome": "bounced"}, on("bounced", "b")), notify("b")),
        "never_used",
        "steps[0].progress[1]",
        "an earlier rule takes 'bounced'",
    ),
    (
        workflow(notify("a", later("b"), next="b"), notify("b")),
        "never_used",
        "steps[0].next",
        "always decides before",
    ),
]

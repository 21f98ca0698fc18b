"""Files of definitions that are not right: a name that tells the format, and the file's bytes."""

import json
from typing import Any

GOOD = """\
key: mention
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: mention}
  - id: wait
    action: {type: wait, duration: PT2H, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: email
    action: {type: notify, channel: email, render_key: mention_email}
"""
_JSON: dict[str, Any] = {
    "key": "mention",
    "version": 1,
    "steps": [{"id": "a", "action": {"type": "notify", "channel": "email", "render_key": "r"}}],
}


def _yaml(old: str, new: str) -> bytes:
    assert old in GOOD, old
    return GOOD.replace(old, new, 1).encode()


def _json(**changes: Any) -> bytes:
    return json.dumps({**_JSON, **changes}).encode()


def _raw_json(member: str) -> bytes:
    return f"{{{member}, {json.dumps(_JSON)[1:]}".encode()


def _steps(many: int) -> list[dict[str, Any]]:
    return [{"id": f"s{n}", "action": _JSON["steps"][0]["action"]} for n in range(many)]


def _bomb() -> bytes:
    lines = ["x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x{n}: &x{n} [{', '.join(['*x' + str(n - 1)] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


CASES: dict[str, bytes] = {
    "empty.yaml": b"",
    "empty.json": b"",
    "blanks.yaml": b"\n  \n# nothing but this\n",
    "only_marks.yaml": b"---\n---\n...\n",
    "null.json": b"null",
    "number.yaml": b"5",
    "text.json": b'"mention"',
    "empty_list.json": b"[]",
    "empty_object.json": b"{}",
    "empty_key.yaml": _yaml("key: mention", 'key: ""'),
    "key_of_256.yaml": _yaml("key: mention", f"key: {'k' * 256}"),
    "key_number.yaml": _yaml("key: mention", "key: 7"),
    "key_nul.yaml": _yaml("key: mention", 'key: "a\\0b"'),
    "key_half_pair.json": _raw_json('"description": "\\ud800"'),
    "key_blank_end.yaml": _yaml("key: mention", 'key: "mention "'),
    "key_two_lines.yaml": _yaml("key: mention", 'key: "men\\ntion"'),
    "key_date.yaml": _yaml("key: mention", "key: {2026-03-29: 1}"),
    "nested_key_nul.json": _json(description={"a\0": 1}),
    "version_zero.yaml": _yaml("version: 1", "version: 0"),
    "version_negative.yaml": _yaml("version: 1", "version: -1"),
    "version_float.yaml": _yaml("version: 1", "version: 1.0"),
    "version_text.yaml": _yaml("version: 1", 'version: "1"'),
    "version_2_31.yaml": _yaml("version: 1", "version: 2147483648"),
    "version_octal.yaml": _yaml("version: 1", "version: 0o0"),
    "version_yes.yaml": _yaml("version: 1", "version: yes"),
    "version_true.yaml": _yaml("version: 1", "version: true"),
    "version_null.yaml": _yaml("version: 1", "version:"),
    "version_missing.yaml": _yaml("version: 1\n", ""),
    "critical_yes.yaml": _yaml("version: 1", "version: 1\ncritical: yes"),
    "near_miss.yaml": _yaml("steps:", "setps:"),
    "near_miss_deep.yaml": _yaml("render_key", "rendr_key"),
    "steps_object.yaml": _yaml("steps:\n", "description: 1\nsteps: {}\nx:\n"),
    "steps_empty.json": _json(steps=[]),
    "steps_101.json": _json(steps=_steps(101)),
    "steps_text.json": _json(steps="abc"),
    "step_twice.yaml": _yaml("id: email", "id: wait"),
    "step_end.yaml": _yaml("id: email", "id: end"),
    "channel_list.yaml": _yaml("channel: email", "channel: [email]"),
    "to_step_unknown.yaml": _yaml("- id: email", "- id: email\n    next: emial"),
    "cycle.yaml": _yaml(
        "- id: email",
        "- id: sms\n    next: email\n    action: {type: notify, channel: sms,"
        " render_key: r}\n  - id: email\n    next: sms",
    ),
    "duration_negative.yaml": _yaml("PT2H", "-PT2H"),
    "duration_zero.yaml": _yaml("PT2H", "PT0S"),
    "duration_words.yaml": _yaml("PT2H", "2 hours"),
    "duration_fraction.yaml": _yaml("PT2H", "P1.5M"),
    "duration_long.yaml": _yaml("PT2H", "P10Y1D"),
    "duration_digits.yaml": _yaml("PT2H", f"P{'9' * 400}D"),
    "duration_number.yaml": _yaml("PT2H", "7200"),
    "duration_sexagesimal.yaml": _yaml("PT2H", "2:00:00"),
    "until_naive.yaml": _yaml("duration: PT2H", "until: 2026-03-29T09:00:00"),
    "until_date.yaml": _yaml("duration: PT2H", "until: 2026-03-29"),
    "until_no_day.yaml": _yaml("duration: PT2H", "until: 2026-02-30T09:00:00Z"),
    "at_one_digit.yaml": _yaml("duration: PT2H", "until: {at: 9:00}"),
    "at_number.yaml": _yaml("duration: PT2H", "until: {at: 900}"),
    "at_24.yaml": _yaml("duration: PT2H", "until: {at: 24:00}"),
    "at_not_wrapped.yaml": _yaml("duration: PT2H", "until: 09:00"),
    "at_monday.yaml": _yaml("duration: PT2H", "until: {at: 09:00, on: [monday]}"),
    "at_on_mon.yaml": _yaml("duration: PT2H", "until: {at: 09:00, on: mon}"),
    "at_workdays.yaml": _yaml("duration: PT2H", "until: {at: 09:00, on: workdays}"),
    "at_no_days.yaml": _yaml("duration: PT2H", "until: {at: 09:00, on: []}"),
    "at_and_within.yaml": _yaml("duration: PT2H", "until: {at: 09:00, within: {from: 09:00, to: 17:00}}"),
    "within_open.yaml": _yaml("duration: PT2H", "until: {within: {from: 09:00}}"),
    "within_list.yaml": _yaml("duration: PT2H", "until: {within: [09:00, 17:00]}"),
    "until_near_miss.yaml": _yaml("duration: PT2H", "until: {witin: {from: 09:00, to: 17:00}}"),
    "send_window_in_app.yaml": _yaml(
        "render_key: mention}", "render_key: mention, send_window: {from: 09:00, to: 17:00}}"
    ),
    "send_window_text.yaml": _yaml("render_key: mention_email", "render_key: m, send_window: 9-17"),
    "repeat_unknown.yaml": _yaml("- id: email", "- id: email\n    next: {repeat: wiat, times: 5, then: end}"),
    "repeat_forward.yaml": _yaml("- id: wait", "- id: wait\n    next: {repeat: email, times: 5, then: end}"),
    "repeat_times_0.yaml": _yaml("- id: email", "- id: email\n    next: {repeat: wait, times: 0, then: end}"),
    "repeat_times_101.yaml": _yaml(
        "- id: email", "- id: email\n    next: {repeat: wait, times: 101, then: end}"
    ),
    "repeat_no_bound.yaml": _yaml("- id: email", "- id: email\n    next: {repeat: wait}"),
    "repeat_then_itself.yaml": _yaml(
        "- id: email", "- id: email\n    next: {repeat: wait, times: 2, then: wait}"
    ),
    "repeat_at_once.yaml": _yaml(
        "- id: email", "- id: email\n    next: {repeat: email, times: 2, then: end}"
    ),
    "nan.json": _raw_json('"category": NaN'),
    "infinity.json": _raw_json('"category": -Infinity'),
    "1e400.json": _raw_json('"category": 1e400'),
    "digits_400.json": _raw_json(f'"category": {"9" * 400}'),
    "digits_5000.json": _raw_json(f'"category": {"9" * 5000}'),
    "nan.yaml": _yaml("version: 1", "version: .nan"),
    "inf.yaml": _yaml("version: 1", "version: -.inf"),
    "digits_5000.yaml": _yaml("version: 1", f"version: {'9' * 5000}"),
    "depth_1000.json": b"[" * 1000 + b"]" * 1000,
    "depth_1000_objects.json": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "depth_1000.yaml": b"[" * 1000 + b"]" * 1000,
    "depth_1000_block.yaml": b"\n".join(b" " * n + b"a:" for n in range(1000)),
    "bomb.yaml": _bomb(),
    "alias_unknown.yaml": _yaml("channel: email", "channel: *nowhere"),
    "alias_in_itself.yaml": b"&a [*a]",
    "tag_python.yaml": _yaml("key: mention", "key: !!python/object/apply:os.system [id]"),
    "tag_int.yaml": _yaml("version: 1", "version: !!int 1"),
    "tag_unknown.yaml": _yaml("key: mention", "key: !mine mention"),
    "merge_key.yaml": _yaml("key: mention", "<<: {critical: true}\nkey: mention"),
    "key_twice.yaml": _yaml("version: 1", "version: 1\nversion: 2"),
    "key_twice.json": b'{"key": "a", "key": "b", "version": 1, "steps": []}',
    "key_is_list.yaml": b"? [a, b]\n: 1\n",
    "tab.yaml": _yaml("    action", "\taction"),
    "not_closed.yaml": b"key: [mention",
    "not_closed.json": b'{"key": "mention"',
    "comma_at_end.json": b'{"key": "mention",}',
    "more_after.json": b"{} {}",
    "utf16.yaml": GOOD.encode("utf-16"),
    "utf16.json": json.dumps(_JSON).encode("utf-16"),
    "latin1.yaml": _yaml("key: mention", "key: méntion").decode().encode("latin-1"),
    "control.yaml": b"key: a\x01b\n",
    "nul.json": json.dumps(_JSON).encode() + b"\0",
    "mib_2.yaml": b"# " + b"x" * 2_097_152,
    "mib_2.json": b" " * 2_097_153,
    "definition_large.json": _json(description="x" * 262_144),
    "second_is_bad.yaml": GOOD.encode() + b"---\nkey: other\n",
    "bom_and_bad.json": b"\xef\xbb\xbf" + _json(version=0),
    "ten_thousand_keys.json": json.dumps({f"k{n}": n for n in range(10_000)}).encode(),
}
RIGHT: dict[str, bytes] = {
    "bom.yaml": b"\xef\xbb\xbf" + GOOD.encode(),
    "bom.json": b"\xef\xbb\xbf" + _json(),
    "two_documents.yaml": GOOD.encode() + b"---\n" + _yaml("version: 1", "version: 2"),
    "several.json": json.dumps([_JSON, {**_JSON, "version": 2}]).encode(),
    "hexadecimal.yaml": _yaml("version: 1", "version: 0x10"),
    "alias.yaml": _yaml("channel: email", "channel: &c email").replace(b"mention_email}", b"*c }"),
}
"""What looks odd and is right."""

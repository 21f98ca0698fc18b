"""Definitions as text: lines, what YAML and JSON can get wrong, and texts that mean harm."""

import json
from typing import Any

import pytest

from chimeway.errors import InvalidDefinition
from chimeway.limits import MAX_DEFINITIONS_TEXT_BYTES
from chimeway.workflow.parse import parse
from chimeway.workflow.text import TextFormat, check_text, loads
from pure.workflow_forms import MENTION

GUIDE = """\
# When somebody is mentioned.
key: mention_escalation
version: 1
steps:
  - id: step_in_app
    action: {type: notify, channel: in_app, render_key: mention_notification}
  - id: step_wait_for_read
    action:
      type: wait
      duration: PT2H
      stop_conditions:
        - {type: signal_received, signal_type: notification_read}
  - id: step_email_escalation
    action: {type: notify, channel: email, render_key: mention_email}
"""
DESCRIBED = (
    "key: k\nversion: 1\nsteps: [{id: a, action: {type: notify, channel: c, render_key: r}}]\ndescription: "
)


def found(text: str | bytes, text_format: TextFormat = "yaml") -> list[tuple[str, str, int | None]]:
    """Return code, path and line of all that is wrong."""
    return [
        (each.code, each.path, each.line)
        for checked in check_text(text, format=text_format)
        for each in checked.problems
    ]


def read(plain: str) -> Any:
    """Return what a plain word of YAML is read as."""
    return loads(f"x: {plain}", format="yaml", source="x")[0]["x"]


def test_the_guide_is_read() -> None:
    """YAML, with comments, gives the dict."""
    assert loads(GUIDE, format="yaml", source="x") == [MENTION]
    assert loads(GUIDE.encode(), format="yaml", source="x") == [MENTION]
    assert loads("\ufeff" + json.dumps(MENTION), format="json", source="x") == [MENTION]
    assert check_text(GUIDE, format="yaml")[0].definition == parse(MENTION)


def test_every_fault_has_its_line() -> None:
    """Of the key or value itself; what is missing has the line of what lacks it."""
    text = GUIDE.replace("PT2H", "2h").replace("channel: email, ", "").replace("version: 1", "version: one")
    text = text.replace("signal_type: notification_read", "signal_typ: notification_read") + "more: 1\n"
    assert found(text) == [
        ("wrong_type", "version", 3),
        ("invalid_duration", "steps[1].action.duration", 10),
        ("unknown_key", "steps[1].action.stop_conditions[0].signal_typ", 12),
        ("missing_key", "steps[1].action.stop_conditions[0].signal_type", 12),
        ("missing_key", "steps[2].action.channel", 14),
        ("unknown_key", "more", 15),
    ]


def test_a_missing_key_has_the_line_of_what_lacks_it() -> None:
    """Not that of a key that only begins alike."""
    assert found("key: k\nversion: 1\n\nstep: []") == [
        ("missing_key", "steps", 1),
        ("unknown_key", "step", 4),
    ]


def test_json_has_lines_too() -> None:
    """The strict reader of JSON knows where things stand, whatever ends its lines."""
    text = json.dumps({**MENTION, "version": 0}, indent=1).replace("PT2H", "2h")
    assert found(text, "json") == [
        ("invalid_value", "version", 3),
        ("invalid_duration", "steps[1].action.duration", 17),
    ]
    assert found(text.replace("\n", "\r\n"), "json") == found(text, "json")
    assert found(text) == found(text, "json")


def test_many_definitions_in_one_text() -> None:
    """YAML documents, and lists in either format, are judged one by one."""
    two = f"---\n{GUIDE}---\n---\n{GUIDE.replace('PT2H', '2h')}"
    good, bad = check_text(two, format="yaml")
    assert good.definition is not None
    assert [each.line for each in bad.problems] == [27]
    members = json.dumps([MENTION, {**MENTION, "version": 0}])
    assert found(members, "json") == [("invalid_value", "version", 1)]
    assert len(loads(f"- {json.dumps(MENTION)}\n- {json.dumps(MENTION)}", format="yaml", source="x")) == 2


def test_a_fault_of_the_text_stays_with_its_definition() -> None:
    """A key written twice in one member of a list is no fault of the other."""
    first, second = check_text(f"- {{key: a, key: b}}\n- {json.dumps(MENTION)}", format="yaml")
    assert ("duplicate_key", "key") in [(each.code, each.path) for each in first.problems]
    assert second.problems == ()


@pytest.mark.parametrize("text", ["", "   \n", "# nothing\n", "---\n---\n", "~"])
def test_a_text_without_a_definition(text: str) -> None:
    """It says so, in line 1."""
    assert found(text) == [("no_definition", "", 1)]


@pytest.mark.parametrize(
    ("text", "text_format", "line"),
    [
        ("", "json", 1),
        ('{"key": 1,\n "version" 2}', "json", 2),
        ("{'key': 1}", "json", 1),
        ('{"a": 01}', "json", 1),
        ('{"a": 1}\n{"b": 2}', "json", 2),
        ('{"a": "tab\there"}', "json", 1),
        ('{"a": 1,}', "json", 1),
        ("// why\n{}", "json", 1),
        ("key: [1, 2\nversion: 1\n", "yaml", 2),
        ("key: a\n\tversion: 1\n", "yaml", 2),
        ("a: b: c", "yaml", 1),
        ("a: *nobody", "yaml", 1),
        ("a: &a [*a]", "yaml", 1),
        ("? [a, b]\n: c", "yaml", 1),
        ('a: 1\nb: "\\UFFFFFFFF"', "yaml", None),
        ("a: 1\nb: \0", "yaml", 2),
        ("%YAML 3.0\n---\na: 1", "yaml", 1),
    ],
)
def test_what_is_no_json_or_no_yaml(text: str, text_format: TextFormat, line: int | None) -> None:
    """One fault, with its line: nothing else can be said of such a text."""
    [checked] = check_text(text, format=text_format)
    assert [(each.code, each.line) for each in checked.problems] == [("malformed", line)]
    with pytest.raises(InvalidDefinition, match="malformed"):
        loads(text, format=text_format, source="file.txt")


@pytest.mark.parametrize(
    ("encoded", "line"),
    [(b"key: \xff\n", 1), (GUIDE.encode("utf-16"), 1), (b"key: k\nversion: 1\n# caf\xe9\n", 3)],
)
def test_what_is_not_utf_8(encoded: bytes, line: int) -> None:
    """Latin-1 and UTF-16 are refused, with the line of the first wrong byte."""
    assert found(encoded) == [("malformed", "", line)]


@pytest.mark.parametrize("text_format", ["json", "yaml"])
def test_a_key_written_twice(text_format: TextFormat) -> None:
    """It is refused where it stands again, in both formats: a later one never wins silently."""
    text = '{"key": "k",\n"version": 1,\n"key": "l", "steps": [{"id": "a",\n"id": "b", "action": {}}]}'
    codes = [("duplicate_key", "key", 3), ("duplicate_key", "steps[0].id", 4)]
    assert [each for each in found(text, text_format) if each[0] == "duplicate_key"] == codes
    with pytest.raises(InvalidDefinition, match="given 'key' twice"):
        loads(text, format=text_format, source="x")


def test_a_key_written_twice_in_a_block() -> None:
    """The same in YAML's own style."""
    assert ("duplicate_key", "version", 4) in found("key: k\nversion: 1\nsteps: []\nversion: 2\n")


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        *(
            (word, word)
            for word in ("yes", "no", "on", "off", "y", "N", "1:30", "2026-03-29", "0b1", "1_000", "<<", "=")
        ),
        ("2026-03-29T09:00:00Z", "2026-03-29T09:00:00Z"),
        ("'true'", "true"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("Null", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+5", 5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("tRue", "tRue"),
        ("P1D", "P1D"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(plain: str, value: Any) -> None:
    """`no` is a word, `1:30` is no number of seconds, `010` is ten."""
    assert read(plain) == value
    assert type(read(plain)) is type(value)


def test_a_step_may_be_called_no() -> None:
    """The pitfall of YAML 1.1 does not exist: the key and the id are strings."""
    text = "key: on\nversion: 1\nsteps: [{id: no, action: {type: notify, channel: off, render_key: yes}}]"
    [checked] = check_text(text, format="yaml")
    assert checked.definition is not None
    assert (checked.definition.key, checked.definition.steps[0].id) == ("on", "no")


@pytest.mark.parametrize(
    ("plain", "code"),
    [
        (".nan", "invalid_value"),
        ("-.inf", "invalid_value"),
        ("1e999", "invalid_value"),
        ("9" * 5_000, "invalid_value"),
        ("9007199254740993", "invalid_value"),
        ("!!python/object/apply:os.system [ls]", "invalid_value"),
        ("!!binary aGk=", "invalid_value"),
        ("!!set {a, b}", "invalid_value"),
        ("!env HOME", "invalid_value"),
        ('"\\0"', "invalid_value"),
        ('"\\ud83d"', "invalid_value"),
    ],
)
def test_values_that_no_definition_can_hold(plain: str, code: str) -> None:
    """Numbers that are not finite or exact, tags, NUL and half characters: refused in their place."""
    assert (code, "description", 4) in found(DESCRIBED + plain)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5_000])
def test_numbers_that_are_no_json(number: str) -> None:
    """What the standard library lets through is refused in its place."""
    text = json.dumps({**MENTION, "category": "HERE"}, indent=1).replace('"HERE"', number)
    [(code, path, _)] = found(text, "json")
    assert (code, path) == ("invalid_value", "category")


def test_surrogate_pairs_are_one_character() -> None:
    """Escaped as JSON does it, in JSON and within a block of YAML."""
    assert loads(r'{"x": "\ud83d\ude00"}', format="yaml", source="x") == [{"x": "\U0001f600"}]
    assert read(r'"\ud83d\ude00"') == "\U0001f600"


def test_json_is_yaml() -> None:
    """Tabs between tokens, long keys and JSON's own line ends do not disturb the YAML reader."""
    value = {"k" * 2_000: ["a\u2028b", "\x85", "\x7f", {"n": None}]}
    text = json.dumps(value, ensure_ascii=False, indent="\t")
    assert loads(text, format="yaml", source="x") == [value]


def test_aliases_share_a_value() -> None:
    """An anchor is a way of not writing things twice."""
    text = GUIDE.replace(
        "action: {type: notify, channel: in_app", "action: &a {type: notify, channel: in_app"
    )
    text = text.replace("action: {type: notify, channel: email, render_key: mention_email}", "action: *a")
    [checked] = check_text(text, format="yaml")
    assert checked.definition is not None
    assert checked.definition.steps[0].action == checked.definition.steps[2].action


def test_a_billion_laughs_are_not_laughed() -> None:
    """What aliases blow up to is bounded before it is built."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert found("\n".join(lines)) == [("too_large", "", 1)]


@pytest.mark.parametrize(
    ("text", "text_format"),
    [
        ("[" * 100_000, "json"),
        ("[" * 100_000, "yaml"),
        ('{"a":' * 100_000, "json"),
        ("{a: " * 100_000, "yaml"),
        ("- " * 100_000, "yaml"),
    ],
)
def test_nesting_without_end(text: str, text_format: TextFormat) -> None:
    """It is refused at the limit, however deep it goes on."""
    [(code, _, line)] = found(text, text_format)
    assert (code, line) == ("too_deep", 1)


@pytest.mark.parametrize("text_format", ["json", "yaml"])
def test_a_huge_text(text_format: TextFormat) -> None:
    """Above the limit it is not even read; one definition below it may still be too large."""
    assert found(b" " * (MAX_DEFINITIONS_TEXT_BYTES + 1), text_format) == [("too_large", "", 1)]
    assert found(json.dumps({**MENTION, "description": "x" * 300_000}), text_format) == [("too_large", "", 1)]


def test_a_line_is_known_for_places_of_any_depth() -> None:
    """Very deep places have the line of what is around them."""
    deep: Any = "\ud800"
    for _ in range(50):
        deep = {"k" * 30: deep}
    data = {"type": "notify", "channel": "c", "render_key": "r", "data": deep}
    text = json.dumps({"key": "k", "version": 1, "steps": [{"id": "a", "action": data}]}, indent=1)
    [(code, _, line)] = found(text, "json")
    assert code == "invalid_value"
    assert line in range(12, 30)

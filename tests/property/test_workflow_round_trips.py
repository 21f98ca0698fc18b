"""Whatever is given: a definition or problems; and what is a definition stays the same."""

import json

from hypothesis import given
from hypothesis import strategies as st

from chimeway.workflow.conditions import json_equal
from chimeway.workflow.definition import Definition, Json
from chimeway.workflow.durations import parse_duration, parse_instant
from chimeway.workflow.encode import canonical_json, digest, encode, required_data, signal_types
from chimeway.workflow.graph import graph_of
from chimeway.workflow.parse import check, parse
from chimeway.workflow.text import check_text, loads
from property.definitions import definitions, forms, json_values, texts

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.builds(lambda: 2**20_000),  # longer than Python writes an integer, also in a strategy's name
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
)


@given(definitions())
def test_a_definition_encoded_and_parsed_is_the_same(definition: Definition) -> None:
    """`parse` undoes `encode`, also by way of the canonical text and of pretty YAML."""
    assert parse(encode(definition)) == definition
    assert parse(json.loads(canonical_json(definition))) == definition
    text = json.dumps(encode(definition), indent=1)
    assert parse(loads(text, format="json", source="x")[0]) == definition
    assert digest(parse(encode(definition))) == digest(definition)


keys = st.sampled_from(["at", "on", "within", "from", "to", "data", "repeat", "times", "then", "until"])
words = keys | st.sampled_from(["a", "w", "end", "09:00", "24:00", "mon", "working_days", "PT1H"])
junk = st.recursive(
    words | st.none() | st.booleans() | st.integers(-1, 101),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@given(until=junk, window=junk, following=junk)
def test_whatever_stands_where_a_time_is_meant_is_judged(until: Json, window: Json, following: Json) -> None:
    """No value there makes the check fail; what it takes stays the same, encoded and parsed."""
    send = {"type": "notify", "channel": "email", "render_key": "r"}
    waiting = {"id": "w", "action": {"type": "wait", "until": until}}
    for steps in (
        [waiting, {"id": "a", "action": send}],
        [{"id": "a", "action": {**send, "send_window": window}}],
        [
            {"id": "a", "action": send},
            {**waiting, "action": {"type": "wait", "duration": "PT1H"}, "next": following},
        ],
    ):
        checked = check({"key": "k", "version": 1, "steps": steps})
        assert (checked.definition is None) is bool(checked.errors)
        if checked.definition is not None:
            assert parse(encode(checked.definition)) == checked.definition


@given(forms(), st.randoms(use_true_random=False))
def test_the_digest_knows_no_order_of_keys(form: dict[str, Json], chance: object) -> None:
    """Keys in another order are the same definition."""

    def shuffled(value: Json) -> Json:
        if isinstance(value, list):
            return [shuffled(each) for each in value]
        if isinstance(value, dict):
            keys = list(value)
            chance.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return value

    assert parse(shuffled(form)) == parse(form)
    assert digest(parse(shuffled(form))) == digest(parse(form))


@given(forms())
def test_defaults_written_out_change_nothing(form: dict[str, Json]) -> None:
    """A field that equals its default is as good as absent."""
    definition = parse(form)
    defaults = {"stop_conditions": [], "critical": False, "category": None, "description": None}
    full = {**defaults, **encode(definition)}
    for step, parsed in zip(full["steps"], definition.steps, strict=True):
        step.setdefault("next", definition.after(parsed))
        if step["action"]["type"] == "notify":
            step.setdefault("progress", [])
            step["action"].setdefault("data", {})
    assert parse(full) == definition
    assert digest(parse(full)) == digest(definition)


@given(anything)
def test_no_value_breaks_the_check(value: object) -> None:
    """Any value at all gives problems or a definition, and every message can be printed."""
    checked = check(value)
    assert (checked.definition is None) == bool(checked.errors)
    "\n".join(problem.printed("x") for problem in checked.problems).encode()


@given(forms(), st.data())
def test_no_mutation_breaks_the_check(form: dict[str, Json], data: st.DataObject) -> None:
    """Something else put anywhere into a valid definition gives problems or a definition."""
    place: Json = form
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(anything)
            break
        place = inner
    checked = check(form)
    assert (checked.definition is None) == bool(checked.errors)
    if checked.definition is not None:
        assert parse(encode(checked.definition)) == checked.definition


@given(st.text() | st.binary(), st.sampled_from(["json", "yaml"]))
def test_no_text_breaks_the_check(text: str | bytes, text_format: str) -> None:
    """Any text gives answers, each with a definition or an error."""
    for checked in check_text(text, format=text_format):
        assert (checked.definition is None) == bool(checked.errors)


@given(st.text('{}[],:"\\-&*!|>%@#?~ \n\tab01.eE<=', max_size=40), st.sampled_from(["json", "yaml"]))
def test_no_text_of_signs_breaks_the_check(text: str, text_format: str) -> None:
    """The same for texts made of the signs that mean something."""
    assert check_text(text, format=text_format)


@given(json_values)
def test_json_is_read_as_the_standard_library_reads_it(value: Json) -> None:
    """On what both accept, the strict reader and `json.loads` agree; YAML reads JSON alike."""
    text = json.dumps(value)
    read = loads(f"[{text}]", format="json", source="x")
    assert json_equal(read, [value])


@given(forms(), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_yaml_reads_json_alike(form: dict[str, Json], ascii_only: bool, indent: int | str | None) -> None:
    """JSON is YAML: the same text gives the same definition from either reader."""
    text = json.dumps(form, ensure_ascii=ascii_only, indent=indent)
    [from_json] = check_text(text, format="json")
    [from_yaml] = check_text(text, format="yaml")
    assert from_yaml.definition == from_json.definition is not None


@given(texts)
def test_json_within_yaml_is_read_alike(text: str) -> None:
    """A string escaped as JSON does is the same where it stands in a block of YAML."""
    written = json.dumps({"description": text})
    [block] = loads(f"definition: {written}", format="yaml", source="x")
    assert block == {"definition": json.loads(written)}


@given(json_values, json_values)
def test_json_equality_is_an_equivalence(left: Json, right: Json) -> None:
    """Equality is reflexive and symmetric, and survives a round trip through text."""
    assert json_equal(left, left)
    assert json_equal(left, json.loads(json.dumps(left)))
    assert json_equal(left, right) == json_equal(right, left)


@given(definitions())
def test_what_is_extracted_agrees_with_the_definition(definition: Definition) -> None:
    """Signal types are sorted and unique; references are of the two kinds; the graph is whole."""
    types = signal_types(definition)
    assert list(types) == sorted(set(types))
    assert set(required_data(definition).values()) <= {"any", "instant"}
    graph = graph_of(definition.steps)
    assert list(graph.edges) == [step.id for step in definition.steps]
    assert graph.reachable() <= set(graph.edges)
    assert graph.endless_cycles() == ()


@given(st.text("PTYMWDHS0123456789.,- ", max_size=14))
def test_no_text_breaks_the_readers_of_time(text: str) -> None:
    """Durations and instants are read or refused with ValueError, nothing else."""
    for read in (parse_duration, parse_instant):
        try:
            read(text)
        except ValueError:
            continue

"""Random definitions that are valid, and random JSON: for every room's property tests.

`forms()` gives the JSON form, with defaults written out here and there; `definitions()` the parsed
one. Ways that cost no time lead only forward, so that no cycle is endless.
"""

from datetime import UTC, date, datetime

from hypothesis import strategies as st

from chimeway.workflow.calendar import DAYS, WorkingCalendar
from chimeway.workflow.definition import OUTCOMES, Definition, Json
from chimeway.workflow.durations import iso_instant
from chimeway.workflow.parse import check, parse

SAFE = 2**53 - 1
names = st.text("abcXYZ_09-é", min_size=1, max_size=8).filter(lambda text: text != "end")
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
scalars = (
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.floats(-1e15, 1e15, allow_nan=False) | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
durations = st.sampled_from(
    ["PT1S", "PT2H", "PT0.5S", "P1D", "P1W", "P1M", "P1Y2M3W4DT5H6M7.000008S", "P10Y"]
)
instants = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001  (the strategy wants its bounds naive)
    datetime(2100, 1, 1),  # noqa: DTZ001  (likewise)
    timezones=st.just(UTC),
).map(iso_instant)


days = st.just("working_days") | st.lists(st.sampled_from(DAYS), min_size=1, unique=True)
local_times = st.sampled_from(["00:00", "02:30", "09:00:00", "12:34:56", "23:59"])
hours = st.fixed_dictionaries(
    {"from": local_times, "to": local_times | st.just("24:00")}, optional={"on": days}
)
_TIMES: dict[str, st.SearchStrategy[dict[str, Json]]] = {
    "duration": durations.map(lambda text: {"duration": text}),
    "at": st.fixed_dictionaries({"at": local_times}, optional={"on": days}).map(lambda at: {"until": at}),
    "until": (
        instants | names.map(lambda name: {"data": name}) | hours.map(lambda each: {"within": each})
    ).map(lambda until: {"until": until}),
}


calendars = st.builds(
    WorkingCalendar,
    st.frozensets(st.sampled_from(DAYS), min_size=1),
    st.frozensets(st.dates(date(2025, 12, 25), date(2026, 1, 25)), max_size=12),
)


@st.composite
def forms(draw: st.DrawFn, min_steps: int = 1) -> dict[str, Json]:
    """Return the JSON form of a valid definition."""
    ids = draw(st.lists(names, min_size=min_steps, max_size=6, unique=True))
    kinds = [draw(st.sampled_from(["notify", "duration", "until", "at"])) for _ in ids]
    notifies = [step_id for step_id, kind in zip(ids, kinds, strict=True) if kind == "notify"]
    steps = [draw(_step(ids, kinds, place, notifies)) for place in range(len(ids))]
    form = {"key": draw(names), "version": draw(st.integers(1, 2**31 - 1)), "steps": steps}
    while none := _rounds_that_are_none(form):  # taking one away may leave another without a way back
        for step in none:
            step["next"] = step["next"]["then"]
    if draw(st.booleans()):
        form["stop_conditions"] = draw(st.lists(_condition(notifies, []), max_size=2))
    for key, values in (
        ("critical", st.booleans()),
        ("category", st.none() | names),
        ("description", st.none() | texts),
    ):
        if draw(st.booleans()):
            form[key] = draw(values)
    return form


def definitions(min_steps: int = 1) -> st.SearchStrategy[Definition]:
    """Return valid definitions, parsed."""
    return forms(min_steps).map(parse)


@st.composite
def _step(
    draw: st.DrawFn, ids: list[str], kinds: list[str], place: int, notifies: list[str]
) -> dict[str, Json]:
    later = ids[place + 1 :]
    targets = ids if kinds[place] in ("duration", "at") else later
    step: dict[str, Json] = {"id": ids[place]}
    if kinds[place] == "notify":
        step["action"] = draw(_notify())
        if draw(st.booleans()):
            step["progress"] = draw(_rules(ids, later))
    else:
        step["action"] = draw(_wait(kinds[place], notifies, targets))
    if draw(st.booleans()):
        step["next"] = draw(st.sampled_from([*targets, "end"]))
    elif targets and draw(st.booleans()):
        back, then = draw(st.sampled_from(targets)), draw(st.sampled_from([*targets, "end"]))
        if back != then:
            step["next"] = {"repeat": back, "times": draw(st.integers(1, 3)), "then": then}
    return step


def _rounds_that_are_none(form: dict[str, Json]) -> list[dict[str, Json]]:
    """Return the steps that would repeat what does not lead back to them."""
    found = check(form).errors
    assert all(problem.path.endswith(".next.repeat") for problem in found), found
    return [form["steps"][int(problem.path.split("[")[1].split("]")[0])] for problem in found]


@st.composite
def _notify(draw: st.DrawFn) -> dict[str, Json]:
    action = {"type": "notify", "channel": draw(names), "render_key": draw(names)}
    if draw(st.booleans()):
        action["data"] = draw(st.dictionaries(texts, json_values, max_size=3))
    if action["channel"] != "in_app" and draw(st.integers(0, 3)) == 3:
        action["send_window"] = draw(hours)
    return action


@st.composite
def _wait(draw: st.DrawFn, kind: str, notifies: list[str], targets: list[str]) -> dict[str, Json]:
    action = {"type": "wait", **draw(_TIMES[kind])}
    if draw(st.booleans()):
        thens = [{"goto": step_id} for step_id in targets] + ["continue", "stop"]
        action["stop_conditions"] = draw(st.lists(_condition(notifies, thens), max_size=2))
    return action


@st.composite
def _rules(draw: st.DrawFn, ids: list[str], later: list[str]) -> list[Json]:
    rules: list[Json] = []
    for outcome in draw(st.lists(st.sampled_from(OUTCOMES), unique=True, max_size=3)):
        if later and draw(st.booleans()):
            rule = {
                "kind": "on_outcome",
                "outcome": outcome,
                "to_step": draw(st.sampled_from(later)),
            }
            if draw(st.booleans()):
                rule["keep_retrying"] = draw(st.booleans())
            rules.append(rule)
        else:
            rules.append({"kind": "stop", "outcome": outcome})
    if draw(st.booleans()):
        rules.insert(draw(st.integers(0, len(rules))), draw(_wait_until(ids)))
    return rules


@st.composite
def _wait_until(draw: st.DrawFn, ids: list[str]) -> dict[str, Json]:
    rule: dict[str, Json] = {"kind": "wait_until", "to_step": draw(st.sampled_from(ids))}
    if draw(st.booleans()):
        rule["delay"] = draw(durations)
    else:
        rule["delay_seconds"] = draw(st.integers(1, 10**8) | st.floats(0.001, 1e8))
    if draw(st.booleans()):
        rule["anchor"] = "prior_delivery_terminal_at"
    if draw(st.booleans()):
        signals = names.map(lambda name: {"type": "signal_received", "signal_type": name})
        rule["cancel_signals"] = draw(st.lists(signals, max_size=2))
    return rule


@st.composite
def _condition(draw: st.DrawFn, notifies: list[str], thens: list[Json]) -> dict[str, Json]:
    """Return a condition; without `thens` it is one of the whole workflow."""
    condition: dict[str, Json] = {"type": "signal_received", "signal_type": draw(names)}
    terms = (
        scalars
        | st.lists(json_values, max_size=2)
        | names.map(lambda name: {"data": name})
        | json_values.map(lambda value: {"value": value})
    )
    if notifies:
        terms |= st.sampled_from([{"delivery": step_id} for step_id in notifies])
    if draw(st.booleans()):
        condition["match"] = draw(st.dictionaries(texts, terms, max_size=2))
    if draw(st.booleans()):
        condition["then"] = draw(st.sampled_from(thens or ["stop"]))
    if draw(st.booleans()):
        condition["since"] = draw(st.sampled_from(["run", "entered"] if thens else ["run"]))
    return condition

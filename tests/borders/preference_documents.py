"""Documents of preferences, good and bad: a table, and any number more by hypothesis."""

from typing import Any

from hypothesis import strategies as st

_HOURS = {"from": "22:00", "to": "07:00"}
_CAP = {"channel": "email", "limit": 3, "per": "PT24H", "then": "delay"}
_WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

GOOD: list[Any] = [
    {},
    {"channels": {}},
    {"channels": None},
    {"channels": {"email": False, "sms": True, "push": None}},
    {"channels": {"é💌": False, "a\u2028b": True}},
    {"channels": {"x" * 255: False}},
    {"channels": {"in_app": False}},
    {"categories": {"marketing": False, "mentions": {"email": False}, "news": {}, "old": None}},
    {"categories": {"mentions": {"*": False, "email": True}}},
    {"categories": None, "workflows": None, "quiet_hours": None, "caps": None},
    {"workflows": {"mention_escalation": {"email": None}, "*": False}},
    {"quiet_hours": []},
    {"quiet_hours": _HOURS},
    {"quiet_hours": [_HOURS, {"from": "12:00", "to": "13:30:30"}]},
    {"quiet_hours": {"from": "00:00", "to": "24:00", "days": ["sat", "sun"]}},
    {"quiet_hours": {"from": "00:00:00", "to": "24:00:00", "days": ["sun", "sun"]}},
    {"quiet_hours": {"from": "07:00", "to": "07:00", "days": _WEEK[1:]}},
    {"quiet_hours": {"from": "23:59:59", "to": "00:00"}},
    {"quiet_hours": {**_HOURS, "channels": ["email", "sms"]}},
    {"quiet_hours": {**_HOURS, "channels": ["x" * 255], "days": _WEEK}},
    {"quiet_hours": [_HOURS] * 20},
    {"caps": []},
    {"caps": _CAP},
    {"caps": [_CAP, {**_CAP, "then": "drop", "limit": 500, "per": "P10Y"}]},
    {"caps": [{**_CAP, "channel": "in_app", "then": "drop", "limit": 1}]},
    {"caps": [{**_CAP, "per": per} for per in ("P1W", "P1M", "P1Y2M3W4DT5H6M7S", "PT0.000001S", "PT0,5S")]},
    {"caps": [{**_CAP, "per": per} for per in ("P3653D", "P120M", "PT87672H", "P9Y365D", "PT315619200S")]},
    {"caps": [_CAP] * 20},
    {"channels": {f"c{i}": True for i in range(500)}},
    {"channels": {f"c{i}": None for i in range(600)}},
    {"channels": {"x" * 200 + str(i): False for i in range(70)}},
]
BAD: list[Any] = [
    None, [], "none", 7, True, [{}], "",
    {"chanels": {}},
    {"Channels": {}, "caps": 1},
    {"": {}},
    {"x" * 300: 1},
    {"z": 1, "é": 2, "~": 3},
    {"channels": []},
    {"channels": "email"},
    {"channels": True},
    {"channels": {"email": "no"}},
    {"channels": {"email": 0}},
    {"channels": {"email": 1.5}},
    {"channels": {"email": {"sms": True}}},
    {"channels": {"e mail": []}},
    {"channels": {"é\n\"'\\\u2028\x7f": ["x", "y"]}},
    {"channels": {"": True}},
    {"channels": {"": None, "email": 3}},
    {"channels": {"x" * 256: False}},
    {"channels": {"*": False}},
    {"channels": {"*": None, "a": 3}},
    {"channels": {"b": 1, "a": 2, "ab": 3, "B": 4}},
    {"channels": {"x" * 61: "y" * 61, "y" * 60: 3}},
    {"channels": {"x" * 61: "é" * 61}},
    {"channels": {"email": 123456789012345678901234567890}},
    {"channels": {"email": 1e16}},
    {"channels": {"email": 1e-7}},
    {"channels": {"email": -0.0}},
    {"channels": {"email": 10**80}},
    {"categories": [True]},
    {"categories": False},
    {"categories": {"mentions": "off"}},
    {"categories": {"mentions": ["email"]}},
    {"categories": {"mentions": {"email": "off"}}},
    {"categories": {"mentions": {"email": {"x": True}}}},
    {"categories": {"mentions": {"": True}}},
    {"workflows": {"w": 1}},
    {"workflows": {"": False}},
    {"workflows": {"w": {"*": 1}}},
    {"workflows": "w", "categories": "c"},
    {"channels": {f"c{i}": True for i in range(501)}},
    {"categories": {f"c{i}": {"a": True, "b": None} for i in range(501)}},
    {"channels": {"x" * 200 + str(i): False for i in range(90)}},
    {"nonsense": "x" * 20_000},
    {"quiet_hours": "22:00"},
    {"quiet_hours": 22},
    {"quiet_hours": {}},
    {"quiet_hours": [None]},
    {"quiet_hours": [_HOURS, "22:00"]},
    {"quiet_hours": [[_HOURS]]},
    {"quiet_hours": [_HOURS] * 21},
    {"quiet_hours": {"from": "22:00"}},
    {"quiet_hours": [{"to": "22:00"}]},
    {"quiet_hours": {**_HOURS, "on": ["mon"]}},
    {"quiet_hours": {**_HOURS, "zone": "UTC", "days": 3}},
    *({"quiet_hours": {**_HOURS, "from": at}} for at in (
        "24:00", "25:00", "9:00", "09:60", "09:00:60", "0900", "09:00Z", " 09:00", "", 9, None,
        "\u0660\u0669:\u0660\u0660", "09:00\n")),
    *({"quiet_hours": {**_HOURS, "to": at}} for at in ("24:00:01", "24:01", "24", "07", 7.5, [], {}, False)),
    {"quiet_hours": {**_HOURS, "days": []}},
    {"quiet_hours": {**_HOURS, "days": "mon"}},
    {"quiet_hours": {**_HOURS, "days": None}},
    {"quiet_hours": {**_HOURS, "days": ["mon", "monday"]}},
    {"quiet_hours": {**_HOURS, "days": ["Mon"]}},
    {"quiet_hours": {**_HOURS, "days": [1]}},
    {"quiet_hours": {**_HOURS, "days": {"mon": True}}},
    {"quiet_hours": {**_HOURS, "channels": []}},
    {"quiet_hours": {**_HOURS, "channels": "email"}},
    {"quiet_hours": {**_HOURS, "channels": ["in_app"]}},
    {"quiet_hours": {**_HOURS, "channels": ["email", "in_app", 3]}},
    {"quiet_hours": {**_HOURS, "channels": ["", "in_app"]}},
    {"quiet_hours": {**_HOURS, "channels": [3]}},
    {"quiet_hours": {**_HOURS, "channels": ["x" * 256]}},
    {"quiet_hours": {"from": "07:00", "to": "07:00"}},
    {"quiet_hours": {"from": "07:00", "to": "07:00:00", "days": _WEEK}},
    {"quiet_hours": [{"from": "00:00", "to": "24:00", "channels": ["email"]}]},
    {"caps": 3},
    {"caps": "email"},
    {"caps": {}},
    {"caps": [3]},
    {"caps": [_CAP] * 21},
    {"caps": {**_CAP, "window": "PT1H"}},
    *({"caps": {name: value for name, value in _CAP.items() if name != lacking}} for lacking in _CAP),
    *({"caps": [{**_CAP, "limit": limit}]} for limit in (
        0, -1, 501, 1000, 3.0, 2.5, "3", None, True, 10**40)),
    *({"caps": [{**_CAP, "per": per}]} for per in (
        "", "24h", "P", "PT", "P0D", "PT0S", "P1.5D", "P10Y1D", "P3654D", "P121M", "-P1D", "P1DT", "pt1h",
        24, None, "PT0.0000001S", "PT1H\n", "P" + "0" * 13 + "D", "P1Y" + "1" * 100 + "D", "P1M1Y",
        "PT999999999999S")),
    *({"caps": [{**_CAP, "then": then}]} for then in ("wait", "Drop", None, True, ["drop"])),
    *({"caps": [{**_CAP, "channel": channel}]} for channel in ("", 3, None, "x" * 256, ["email"])),
    {"caps": {**_CAP, "channel": "in_app"}},
]  # fmt: skip

_letters = st.characters(codec="utf-8", exclude_characters="\0")
_junk = st.none() | st.booleans() | st.integers(-3, 600) | st.floats(-9, 9) | st.text(_letters, max_size=6)
_says = st.booleans() | st.none()
_good_names = st.sampled_from(["email", "sms", "w", "mentions", "a b", "é"])
_good_times = st.sampled_from(["00:00", "07:00", "22:00", "23:59:59"])
_good_spans = st.sampled_from(["PT1H", "P1D", "P10Y", "P1M", "PT0.5S"])


def _documents(
    names: st.SearchStrategy[str],
    times: st.SearchStrategy[str],
    spans: st.SearchStrategy[str],
    flaw: st.SearchStrategy[Any],
    extra: dict[str, st.SearchStrategy[Any]],
) -> st.SearchStrategy[Any]:
    days = st.lists(st.sampled_from(_WEEK[:6]) | flaw, min_size=1, max_size=3)
    hours = st.fixed_dictionaries(
        {"from": times, "to": times},
        optional={"days": days, "channels": st.lists(names, min_size=1, max_size=2) | flaw, **extra},
    )
    kinds = {"channel": names, "limit": st.integers(1, 500) | flaw, "per": spans}
    caps = st.fixed_dictionaries({**kinds, "then": st.sampled_from(["delay", "drop"]) | flaw}, optional=extra)
    says = _says | flaw
    topics = st.dictionaries(names, says | st.dictionaries(names, says, max_size=2), max_size=2)
    parts = {
        "channels": st.dictionaries(names, says, max_size=2),
        "categories": topics,
        "workflows": topics,
        "quiet_hours": hours | st.lists(hours, max_size=2),
        "caps": caps | st.lists(caps, max_size=2),
    }
    return st.fixed_dictionaries({}, optional={**parts, **extra})


good_documents = _documents(_good_names, _good_times, _good_spans, st.nothing(), {})
"""Documents that are right (but for hours that may never end)."""
flawed_documents = _documents(
    _good_names | st.sampled_from(["in_app", "*", ""]) | st.text(_letters, max_size=4),
    _good_times | st.sampled_from(["24:00", "7:00", "24:01"]),
    _good_spans | st.from_regex(r"P[0-9YMWDTHS.,]{1,8}", fullmatch=True),
    _junk | st.lists(_junk, max_size=2) | st.dictionaries(st.text(_letters, max_size=2), _junk, max_size=2),
    {"chanel": _junk},
)
"""Documents that may be wrong anywhere."""

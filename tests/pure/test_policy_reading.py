"""Reading preferences: all faults at once where people write, no fault at all where rows are read."""

from typing import Any

import pytest

from borders.preference_documents import BAD, GOOD
from chimeway.errors import InvalidInput
from chimeway.progression.policy import NONE, merged, parse_preferences, read_preferences
from chimeway.progression.policy.reading import PARTS
from chimeway.workflow.calendar import DAYS

PER = 'give an ISO 8601 duration of more than zero and at most ten years, such as "PT24H"'
_HOURS = {"from": "22:00", "to": "07:00"}


def _faults(document: Any, **how: Any) -> list[str]:
    with pytest.raises(InvalidInput) as refusal:
        parse_preferences(document, **how)
    found: list[str] = refusal.value.details["faults"]
    return found


def test_all_faults_are_told_at_once() -> None:
    """Each with its place, what stands there and what would be right; near words are named."""
    told = _faults(
        {
            "chanels": {"email": False},
            "channels": {"email": "no", "*": True},
            "categories": {"a b": {"é": 3}},
            "quiet_hours": [
                {"fron": "22:00", "to": "7"},
                {**_HOURS, "days": ["tues"], "channels": ["in_app"]},
            ],
            "caps": {"channel": "in_app", "limit": 0, "per": "24h", "then": "delay"},
        },
        place="settings.preferences",
    )
    keys = "from, to, days, channels"
    short = [line.removeprefix("settings.preferences") for line in told]
    assert short == [
        f' has the unknown key "chanels": known are {", ".join(PARTS)}; did you mean "channels"?',
        '.channels has the key "*": name each channel',
        '.channels.email is "no": give true or false',
        '.categories["a b"]["é"] is 3: give true or false',
        f'.quiet_hours[0] has the unknown key "fron": known are {keys}; did you mean "from"?',
        '.quiet_hours[0] lacks "from": give a local time from "00:00" to "23:59"',
        '.quiet_hours[0].to is "7": give a local time from "00:00" to "24:00"',
        f'.quiet_hours[1].days[0] is "tues": give one of {", ".join(DAYS)}; did you mean "tue"?',
        '.quiet_hours[1].channels[0] is "in_app": leave it out: the inbox disturbs nobody',
        ".caps.limit is 0: give a whole number from 1 to 500",
        f'.caps.per is "24h": {PER}',
        '.caps.then is "delay": give "drop": the inbox disturbs nobody, and is never delayed',
    ]  # fmt: skip


def test_the_error_names_the_first_and_tells_the_others() -> None:
    """Its field and hint are those of the first fault; of very many the message tells twenty."""
    with pytest.raises(InvalidInput) as refusal:
        parse_preferences({"channels": {f"c{place:02}": 1 for place in range(30)}})
    assert refusal.value.details["field"] == "preferences.channels.c00"
    assert refusal.value.details["hint"] == "give true or false"
    lines = str(refusal.value).splitlines()
    assert lines[0] == "invalid_input: preferences.channels.c00 is 1: give true or false"
    assert (len(lines), lines[-1]) == (21, "  and 10 more")


def test_null_removes_in_a_change_and_means_nothing_in_a_whole() -> None:
    """Only a change of what is there can take something away."""
    change = {"channels": {"email": None}, "workflows": {"w": {"sms": None}}, "caps": None}
    assert parse_preferences(change, partial=True) == NONE
    assert len(_faults(change)) == 3
    assert _faults({"channels": 3}, partial=True)[0].endswith(", or null to remove it")
    assert len(_faults({"quiet_hours": {**_HOURS, "days": None}}, partial=True)) == 1


def test_good_ones_are_read_the_same_in_both_ways() -> None:
    """What passes at the border says at run time what it said there."""
    for document in GOOD:
        assert read_preferences(document) == parse_preferences(document, partial=True)


def test_a_row_is_always_read() -> None:
    """What cannot be read of a stored document is silent; all else holds."""
    for document in BAD:
        merged(read_preferences(document), read_preferences(document))
    read = read_preferences(
        {
            "older": [1],
            "channels": {"email": False, "sms": "no"},
            "categories": {"c": {"email": False, "sms": 3}, "d": "off"},
            "quiet_hours": [{**_HOURS, "days": ["someday"]}, _HOURS],
            "caps": [{"channel": "email"}],
        }
    )
    assert {name: each.says for name, each in read.channels.items()} == {"email": False}
    assert list(read.categories) == ["c"]
    assert read.quiet_hours is not None
    assert [each.path for each in read.quiet_hours] == ["quiet_hours[1]"]
    assert read.caps is None
    assert len(read_preferences({"quiet_hours": [_HOURS] * 21}).quiet_hours or ()) == 20


def test_a_row_is_read_however_long_it_is() -> None:
    """What is stored may be longer than what may be given: by what somebody has unsubscribed from."""
    document = {"workflows": {f"{n}".zfill(30): {"email": False} for n in range(501)}}
    read = read_preferences(document)
    assert not any(topic.channels["email"].says for topic in read.workflows.values())
    assert len(read.workflows) == 501
    with pytest.raises(InvalidInput, match="bytes of JSON: give at most 16384 bytes"):
        parse_preferences(document)


def test_caps_that_cannot_be_read_leave_the_tenants_in_force() -> None:
    """Silence is not "none": an empty list says that."""
    tenant = read_preferences({"caps": [{"channel": "sms", "limit": 1, "per": "PT1H", "then": "drop"}]})
    assert merged(tenant, read_preferences({"caps": ["old"]})).caps == merged(tenant, NONE).caps != ()
    assert merged(tenant, read_preferences({"caps": []})).caps == ()


def test_a_star_is_a_word_on_all_other_channels() -> None:
    """Beside single channels it says what one word would say."""
    read = read_preferences({"workflows": {"w": {"*": False, "email": True}, "v": {"*": False}, "u": False}})
    words = {name: topic.word for name, topic in read.workflows.items()}
    assert {name: word.says for name, word in words.items() if word} == {"w": False, "v": False, "u": False}
    assert list(read.workflows["w"].channels) == ["email"]

"""Who wins: tenant or recipient, workflow, category or channel, yes, no or silence."""

from datetime import UTC, datetime
from functools import cache
from itertools import product
from typing import Any

import pytest

from chimeway.progression.policy import Asked, Preferences, Verdict, judge, merged, read_preferences
from chimeway.progression.policy.deciding import decide

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ASKED = Asked("email", "w", "c")
Says = tuple[bool | None, ...]
_SAYS = (True, False, None)
# The places at which a document may speak of one message, the most specific first.
PLACES = (
    ("workflows", "w", "email"),
    ("categories", "c", "email"),
    ("workflows", "w"),
    ("categories", "c"),
    ("channels", "email"),
)
_EVERY = tuple(product(_SAYS, repeat=len(PLACES)))


def _document(said: Says) -> dict[str, Any]:
    """Return a document that says this at these places."""
    found: dict[str, Any] = {}
    for path, says in zip(PLACES, said, strict=True):
        if says is None:
            continue
        inside = found.setdefault(path[0], {})
        if path[0] == "channels":
            inside[path[1]] = says
        else:
            inside.setdefault(path[1], {})["*" if len(path) == 2 else path[2]] = says
    return found


def _judged(tenant: object, recipient: object) -> Verdict:
    return judge(merged(read_preferences(tenant), read_preferences(recipient)), ASKED, NOW)


@cache
def _sent() -> dict[tuple[Says, Says], bool]:
    """Ask every two documents there are on a message: 59,049 of them."""
    read: dict[Says, Preferences] = {said: read_preferences(_document(said)) for said in _EVERY}
    return {
        (tenant, recipient): decide(merged(read[tenant], read[recipient]), ASKED).says
        for tenant in _EVERY
        for recipient in _EVERY
    }


def _expected(tenant: Says, recipient: Says) -> bool:
    """Say what the rules of the package come to, in other words than its own."""
    lower = list(tenant)
    for word, single in ((2, 0), (3, 1)):
        if recipient[word] is not None and lower[single] is not recipient[word]:
            lower[single] = None
    both = tuple(mine if mine is not None else its for mine, its in zip(recipient, lower, strict=True))
    return _of_one(recipient) is not False and _of_one(both) is not False


def _of_one(says: Says) -> bool | None:
    single = [each for each in says[2:] if each is not None]
    words = all(single) if single else None
    return next((each for each in (*says[:2], words) if each is not None), None)


def test_every_two_documents() -> None:
    """The recipient's word over the tenant's, the special over the general, and no tenant over a no."""
    for (tenant, recipient), sent in _sent().items():
        assert sent == _expected(tenant, recipient), (_document(tenant), _document(recipient))


@pytest.mark.parametrize("word", [False, True])
def test_a_word_more_never_works_against_itself(word: bool) -> None:
    """A no where nothing was said never makes a message be sent, nor a yes that it is not."""
    sent = _sent()
    for (tenant, recipient), before in sent.items():
        if before is not word:
            continue
        for place in range(len(PLACES)):
            if tenant[place] is None:
                assert sent[_with(tenant, place, word=word), recipient] == before, (tenant, recipient, place)
            if recipient[place] is None:
                assert sent[tenant, _with(recipient, place, word=word)] == before, (tenant, recipient, place)


def _with(said: Says, place: int, *, word: bool) -> Says:
    return (*said[:place], word, *said[place + 1 :])


@pytest.mark.parametrize(
    ("tenant", "recipient", "by", "sent"),
    [
        ({}, {}, [], True),
        ({}, {"channels": {"sms": False}, "workflows": {"v": False}, "categories": {"d": False}}, [], True),
        ({}, {"channels": {"email": False}}, ["channels.email"], False),
        ({}, {"categories": {"c": False}, "channels": {"email": True}}, ["categories.c"], False),
        ({}, {"categories": {"c": False}, "workflows": {"w": False}}, ["workflows.w", "categories.c"], False),
        ({}, {"categories": {"c": {"email": True}}, "channels": {"email": False}},
         ["categories.c.email"], True),
        ({}, {"categories": {"c": {"*": False, "email": True}}}, ["categories.c.email"], True),
        ({}, {"categories": {"c": {"*": False, "sms": True}}}, ['categories.c["*"]'], False),
        ({"channels": {"email": False}}, {"channels": {"email": True}}, ["channels.email"], True),
        ({"categories": {"c": False}}, {"channels": {"email": True}}, ["categories.c"], False),
        ({"categories": {"c": {"email": False}}}, {"categories": {"c": True}}, ["categories.c"], True),
        ({"categories": {"c": {"email": True}}}, {"channels": {"email": False}}, ["channels.email"], False),
    ],
)  # fmt: skip
def test_the_verdict_names_who_decided(tenant: Any, recipient: Any, by: list[str], sent: bool) -> None:
    """The inputs list every statement on the message, those that decided first."""
    verdict = _judged(tenant, recipient)
    statements = verdict.inputs.get("statements", [])
    assert [each["path"] for each in statements if each["decided"]] == by
    assert (verdict.kind, verdict.reason) == (("send", None) if sent else ("suppress", "preference"))
    assert verdict.silent == (not statements)
    assert not verdict.counts


def test_whose_word_it_was_is_told() -> None:
    """Each statement says whether the recipient or the tenant made it, also those that were overruled."""
    verdict = _judged({"channels": {"email": True}, "categories": {"c": True}}, {"workflows": {"w": False}})
    told = {
        each["path"]: (each["whose"], each["says"], each["decided"]) for each in verdict.inputs["statements"]
    }
    assert told == {
        "workflows.w": ("recipient", False, True),
        "categories.c": ("tenant", True, False),
        "channels.email": ("tenant", True, False),
    }


def test_what_is_critical_is_sent_and_the_trace_says_in_spite_of_what() -> None:
    """Preferences do not hold for it, and the inputs say what they would have come to."""
    no = merged(read_preferences({}), read_preferences({"channels": {"email": False}}))
    verdict = judge(no, Asked("email", "w", critical=True), NOW)
    assert verdict.kind == "send"
    assert verdict.inputs["critical"] is True
    assert verdict.inputs["otherwise"] == {"verdict": "suppress", "reason": "preference", "until": None}
    assert not verdict.silent

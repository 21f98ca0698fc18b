"""The signed word in a link: what was put in comes out, and nothing that we did not sign passes."""

import base64
import hmac
import string
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chimeway.limits import MAX_UNSUBSCRIBE_TOKEN_CHARS
from chimeway.unsubscribe_tokens import Subscription, read, signed

KEY, OTHER = b"k" * 32, b"o" * 32
ID = UUID("019df2c7-1e00-7b4e-8b2d-6b1f2a0c9d11")
ADA = Subscription("org_456", "user_123", "mention", "email", ID)
GOLDEN = (
    "AQGd8sceAHtOiy1rHyoMnREAB29yZ180NTYACHVzZXJfMTIzAAdtZW50aW9uAAVlbWFpbGXwGA_ybyAJrgq7jCDwuhyrEySO55RT"
    "9txwqqyY244_"
)
"""A token of ADA by KEY: links in mail that is out must be read by all programs to come."""

_ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
_subscriptions = st.builds(Subscription, _ids, _ids, _ids, _ids, st.uuids())
_word = st.text(string.ascii_letters + string.digits + "-_", max_size=400)


@given(_subscriptions)
def test_what_was_put_in_comes_out(what: Subscription) -> None:
    """Whatever the ids are; and the token stands in a URL as it is."""
    token = signed(what, [KEY, OTHER])
    assert token is not None
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")
    assert read(token, [KEY]) == read(token, [OTHER, KEY]) == what
    assert read(token, [OTHER]) is None
    assert read(token, []) is None


@given(_subscriptions, st.data())
def test_a_token_with_one_thing_changed_is_none(what: Subscription, data: st.DataObject) -> None:
    """One character changed, left out or put in, anywhere; cut off anywhere, or with something behind it."""
    token = signed(what, [KEY])
    assert token is not None
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_=.~%/ é\n"))
    if other != token[place]:
        assert read(token[:place] + other + token[place + 1 :], [KEY]) is None
    assert read(token[:place], [KEY]) is None
    assert read(token + other, [KEY]) is None
    assert read(token[:place] + token[place + 1 :], [KEY]) is None


@given(_word)
def test_what_anybody_writes_is_none(word: str) -> None:
    """No word of the alphabet is a token by chance, and none makes the reader fail."""
    assert read(word, [KEY]) is None


@given(st.binary(max_size=120))
def test_what_we_signed_in_another_form_is_none(content: bytes) -> None:
    """Signed rightly, and not what this version writes: no token, and no failure."""
    mac = hmac.digest(KEY, b"chimeway unsubscribe 1\0" + content, "sha256")
    token = base64.urlsafe_b64encode(content + mac).rstrip(b"=").decode()
    found = read(token, [KEY])
    assert found is None or signed(found, [KEY]) == token


def test_a_token_is_read_for_ever() -> None:
    """Links are in mail that lies about for years: this one must always mean what it means."""
    assert signed(ADA, [KEY]) == GOLDEN
    assert read(GOLDEN, [OTHER, KEY]) == ADA


def test_borders_between_ids_are_signed_too() -> None:
    """The same letters in other ids are another token, and none can be made of the other."""
    one = Subscription("a", "bc", "w", "email", ID)
    other = Subscription("ab", "c", "w", "email", ID)
    token = signed(one, [KEY]) or ""
    assert token != signed(other, [KEY])
    whole = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    moved = whole.replace(b"\0\1a\0\2bc", b"\0\2ab\0\1c")
    assert moved != whole
    assert read(base64.urlsafe_b64encode(moved).rstrip(b"=").decode(), [KEY]) is None


def test_ids_that_no_header_could_hold_make_no_link() -> None:
    """Ids of 36 characters fit by far; three of 255 beyond ASCII do not, and there is none."""
    usual = signed(Subscription("t" * 36, "r" * 36, "w" * 36, "email", ID), [KEY])
    assert usual is not None
    assert len(usual) < 260
    assert signed(Subscription("\u00e4" * 255, "\u00e4" * 255, "w", "email", ID), [KEY]) is None
    assert read("A" * (MAX_UNSUBSCRIBE_TOKEN_CHARS + 1), [KEY]) is None

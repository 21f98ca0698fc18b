"""What an e-mail is made of; pure."""

import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest

from chimeway.delivery.channel import ConfigurationFailure, Message, PermanentFailure
from chimeway.delivery.channels.mail import composed

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def made(reply_to: str | None = None, **changes: Any) -> tuple[bytes, EmailMessage]:
    """Compose a message to Ada; return its bytes, and what a mailbox reads in them."""
    parts: dict[str, Any] = {
        "delivery_id": "d1", "run_id": "r1", "tenant_id": "t", "recipient_id": "ada", "channel": "email",
        "address": "ada@example.org", "subject": "Hello", "body": "<p>Hello</p>", "text": "Hello",
    }  # fmt: skip
    content = composed(Message(**(parts | changes)), "a@example.org", NOW, reply_to=reply_to).content
    return content, BytesParser(EmailMessage, policy=email.policy.default).parsebytes(content)


def test_unsubscribing_with_one_click() -> None:
    """An https URL stands whole in its header, however long, with the header for one click beside it."""
    url = "https://example.org/unsubscribe/" + "a" * 300 + "?of=ada%40example.org&list=mentions"
    content, mail = made(unsubscribe_url=url)
    assert f"List-Unsubscribe: <{url}>\r\n".encode() in content
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Subject"] == "Hello"


@pytest.mark.parametrize("url", ["http://example.org/u", "mailto:leave@example.org?subject=leave"])
def test_unsubscribing_without_one_click(url: str) -> None:
    """The header for one click stands only beside https, as its RFC wants it."""
    _, mail = made(unsubscribe_url=url)
    assert mail["List-Unsubscribe"] == f"<{url}>"
    assert mail["List-Unsubscribe-Post"] is None


def test_no_unsubscribing_where_nothing_is_set_up() -> None:
    """Without an URL there is no such header."""
    content, _ = made()
    assert b"List-Unsubscribe" not in content


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://x/\r\nBcc: all@example.org",
        "https://x/>, <https://y",
        "https://x/ y",
        "javascript:1",
        "https://\u00e4",
    ],
)
def test_no_header_from_an_url(url: str) -> None:
    """What is no URL for a header is refused, and not shown."""
    with pytest.raises(PermanentFailure) as caught:
        made(unsubscribe_url=url)
    assert "example.org" not in str(caught.value)


def test_reply_to() -> None:
    """Answers can go elsewhere, to several, with names beyond ASCII."""
    _, mail = made(reply_to="H\u00e4lp <help@example.org>, desk@example.org")
    assert [one.addr_spec for one in mail["Reply-To"].addresses] == ["help@example.org", "desk@example.org"]
    assert mail["Reply-To"].addresses[0].display_name == "H\u00e4lp"


@pytest.mark.parametrize("reply_to", ["", "nobody", "a@x\r\nBcc: b@x", "a@"])
def test_a_bad_reply_to_is_configuration(reply_to: str) -> None:
    """It is ours, not the message's."""
    with pytest.raises(ConfigurationFailure):
        made(reply_to=reply_to)


def test_html_without_text() -> None:
    """Where there is no text the mail is HTML alone: an empty text would be what some people see."""
    _, mail = made(text=None, body="<p>Gr\u00fc\u00dfe</p>")
    assert mail.get_content_type() == "text/html"
    assert mail.get_content().strip() == "<p>Gr\u00fc\u00dfe</p>"


def test_lines_are_short_and_seven_bit() -> None:
    """However long a line of the body, on the wire none is longer than servers take, and all is ASCII."""
    content, mail = made(body="<p>" + "\u00e4\u4f60x" * 5_000 + "</p>", text="y" * 5_000)
    assert content.isascii()
    assert max(len(line) for line in content.split(b"\r\n")) <= 998
    text, html = mail.iter_parts()
    assert text.get_content().strip() == "y" * 5_000
    assert html.get_content().strip().count("\u4f60") == 5_000


INJECTING = "=?utf-8?q?a=0D=0ABcc:_all=40example.org=0D=0A?="


@pytest.mark.parametrize(
    "subject",
    [
        INJECTING,
        f"Ada wrote {INJECTING} today",
        "=?utf-8?b?DQpCY2M6IGFsbEBleGFtcGxlLm9yZw==?=",
        "a" * 2_000,
        f"{'a' * 80}=?utf-8?q?b?=",
        "  two  blanks  ",
        "a\x07b",
        "\U0001f600" * 100,
        "",
    ],
)
def test_a_subject_arrives_as_it_is(subject: str) -> None:
    """Whatever strangers wrote into it, also an encoded word, is read as it was written, and no more."""
    content, mail = made(subject=subject)
    assert mail["Subject"] == subject
    assert mail.keys() == made()[1].keys()
    assert max(len(line) for line in content.split(b"\r\n")) < 100


@pytest.mark.parametrize(
    "address",
    [
        '"a\tb"@example.org',
        "a@[\\]]",
        "a@[]",
        "a@[",
        "a@example.org?x",
        "a@b/c",
        f"{INJECTING}@example.org",
        f'"{INJECTING}"@example.org',
        f'"x {INJECTING}"@example.org',
        f"a@{INJECTING}",
    ],
)
def test_odd_addresses_are_refused(address: str) -> None:
    """What could not be said to a server as it stands, or could be read in two ways, is no address."""
    with pytest.raises(PermanentFailure):
        made(address=address)


@pytest.mark.parametrize(
    "address", ['"a b"@example.org', "a%b@example.org", "a+b@[192.0.2.1]", '"x> "@example.org', "a@b_c"]
)
def test_unusual_addresses_are_said_as_they_are(address: str) -> None:
    """Quotes, percent signs and bare addresses are no fault."""
    assert made(address=address)[1]["To"] == address

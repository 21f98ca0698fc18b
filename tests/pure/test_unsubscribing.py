"""Where a recipient unsubscribes: the setting filled in for one message."""

from dataclasses import replace
from uuid import UUID

from structlog.testing import capture_logs

from chimeway.daemon.door import doubts, unsubscribing
from chimeway.delivery.unsubscribing import NOWHERE, Unsubscribing, unsubscribe_url
from chimeway.settings import Settings
from chimeway.store.deliveries import Sendable
from chimeway.unsubscribe_tokens import Subscription, read
from chimeway.workflow.parse import parse

FORM = "https://h/out/{delivery_id}?t={tenant_id}&r={recipient_id}&w={workflow}"
ID = UUID("019df2c7-1e00-7b4e-8b2d-6b1f2a0c9d11")
DEFINITION = parse(
    {
        "key": "mention", "version": 1,
        "steps": [{"id": "mail", "action": {"type": "notify", "channel": "email", "render_key": "mention"}}],
    }
)  # fmt: skip
DELIVERY = Sendable(
    ID,
    ID,
    1,
    "mail",
    "org 456",
    "ä&b/c",
    "email",
    "mention",
    "pending",
    1,
    0,
    0,
    None,
    None,
    None,
    None,
    None,
    [],
)


def test_what_fills_it_is_percent_encoded() -> None:
    """No id can add a parameter, a path or a host."""
    assert unsubscribe_url(FORM, DELIVERY, DEFINITION) == (
        f"https://h/out/{ID}?t=org%20456&r=%C3%A4%26b%2Fc&w=mention"
    )


def test_there_is_none_where_nothing_is_set_or_nobody_may_leave() -> None:
    """Without the setting, for a critical workflow, and where the definition is not known."""
    assert unsubscribe_url(None, DELIVERY, DEFINITION) is None
    assert unsubscribe_url(FORM, DELIVERY, replace(DEFINITION, critical=True)) is None
    assert unsubscribe_url(FORM, DELIVERY, None) is None


def test_machines_get_the_signed_link_and_people_the_page() -> None:
    """Where both are set up; where one is, both get that; and of what is critical nobody gets any."""
    key = b"k" * 32
    page, link = Unsubscribing(FORM), Unsubscribing(None, "https://h/chimeway", [key, b"o" * 32])
    both = Unsubscribing(FORM, "https://h/chimeway", [key])
    signed = link.link(DELIVERY, DEFINITION)
    assert signed is not None
    token = signed.removeprefix("https://h/chimeway/v1/unsubscribe/")
    assert read(token, [key]) == Subscription("org 456", "\u00e4&b/c", "mention", "email", ID)
    assert signed == link.page(DELIVERY, DEFINITION) == both.link(DELIVERY, DEFINITION)
    shown = unsubscribe_url(FORM, DELIVERY, DEFINITION)
    assert shown == page.page(DELIVERY, DEFINITION) == page.link(DELIVERY, DEFINITION)
    assert shown == both.page(DELIVERY, DEFINITION)
    critical = replace(DEFINITION, critical=True)
    for one in (
        page,
        link,
        both,
        NOWHERE,
        Unsubscribing(None, None, [key]),
        Unsubscribing(None, "https://h"),
    ):
        assert one.link(DELIVERY, critical) is one.page(DELIVERY, critical) is None
    assert NOWHERE.link(DELIVERY, DEFINITION) is None
    long = replace(DELIVERY, recipient_id="\u00e4" * 255, tenant_id="\u00e4" * 255)
    assert link.link(long, DEFINITION) is None
    assert (both.link(long, DEFINITION) or "").startswith("https://h/out/")


def test_that_there_can_be_no_link_is_said_once() -> None:
    """Who looks after the node learns that some have no way to unsubscribe; no id is in what is said."""
    link = Unsubscribing(None, "https://h", [b"k" * 32])
    long = replace(DELIVERY, recipient_id="\u00e4" * 255, tenant_id="\u00e4" * 255, channel="a channel")
    with capture_logs() as lines:
        assert [link.link(long, DEFINITION), link.page(long, DEFINITION)] == [None, None]
    assert lines == [
        {
            "event": "unsubscribe.no_link",
            "log_level": "warning",
            "workflow": "mention",
            "channel": "a channel",
        }
    ]


def test_links_are_signed_where_there_are_keys() -> None:
    """Without keys there is no link that anybody could answer."""
    settings = Settings(public_url="https://h", unsubscribe_keys="k" * 32, unsubscribe_url=FORM)
    assert unsubscribing(settings) == Unsubscribing(FORM, "https://h", (b"k" * 32,))
    assert unsubscribing(Settings()) == NOWHERE


def test_what_is_doubtful_is_said() -> None:
    """Keys without a place for links, a place that is not https, and a node that answers none of them."""
    keys = "k" * 32
    assert list(doubts(Settings())) == []
    assert list(doubts(Settings(unsubscribe_keys=keys, public_url="HTTPS://h"))) == []
    (without,) = doubts(Settings(unsubscribe_keys=keys))
    assert "CHIMEWAY_PUBLIC_URL" in without
    (keyless,) = doubts(Settings(public_url="https://h"))
    assert "CHIMEWAY_UNSUBSCRIBE_KEYS" in keyless
    plain, deaf = doubts(Settings(unsubscribe_keys=keys, public_url="http://h", http_bind=""))
    assert "https" in plain
    assert "CHIMEWAY_HTTP_BIND" in deaf
    assert keys not in f"{without}{plain}{deaf}"
    (browsers,) = doubts(Settings(inbox_origins="https://app.example.org"))
    assert "CHIMEWAY_INBOX_KEYS" in browsers
    (silent,) = doubts(Settings(inbox_keys=keys, http_bind=""))
    assert "no front end" in silent

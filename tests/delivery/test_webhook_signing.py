"""Signatures of Standard Webhooks: the published example, another's reading, secrets of tenants; pure."""

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chimeway import webhook_secret
from chimeway.delivery.channels.webhook_signing import Secrets, read_secrets, signature
from chimeway.errors import InvalidInput

PUBLISHED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
MASTER = "whsec_" + base64.b64encode(b"m" * 64).decode()
ID, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'


def test_the_published_example() -> None:
    """The example that implementations of Standard Webhooks are tested by."""
    (key,) = read_secrets(PUBLISHED)
    assert signature(key, ID, 1614265330, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_receivers_verify_each_of_several() -> None:
    """While a secret is replaced, who has the old and who has the new one both find theirs."""
    now = int(datetime.now(UTC).timestamp())
    secrets = Secrets(read_secrets(f"{OTHER} {PUBLISHED}"))
    body = '{"a":"gr\u00fc\u00dfe"}'
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(now),
        "webhook-signature": secrets.signatures("any", ID, now, body.encode()),
    }
    for secret in (OTHER, PUBLISHED):
        assert Webhook(secret).verify(body, headers) == {"a": "gr\u00fc\u00dfe"}
    with pytest.raises(WebhookVerificationError):
        Webhook(MASTER).verify(body, headers)


def test_secrets_of_tenants() -> None:
    """A tenant's own secret goes before the master key, and that before the secret of all."""
    (own,), masters = read_secrets(OTHER), read_secrets(MASTER)
    secrets = Secrets(read_secrets(PUBLISHED), {"a": (own,)}, masters)
    assert secrets.of("a") == (own,)
    (b,), (c,) = secrets.of("b"), secrets.of("c")
    assert len({own, b, c, *masters}) == 4
    assert Secrets(read_secrets(PUBLISHED), {"a": (own,)}).of("b") == read_secrets(PUBLISHED)
    assert Secrets(of_tenants={"a": (own,)}).of("b") == ()


def test_a_tenants_secret_can_be_shown_to_it() -> None:
    """What `webhook_secret` returns is what a node with the same master key signs by, also by hand."""
    by_hand = "whsec_zewrRcCS/5D7DTUAhaTQMa7Y87nIo5Wj06LfSa8jPSM="
    assert webhook_secret(MASTER, "org_456") == by_hand
    assert read_secrets(by_hand) == Secrets(masters=read_secrets(MASTER)).of("org_456")
    with pytest.raises(InvalidInput, match="master_key"):
        webhook_secret("hunter2", "org_456")


@pytest.mark.parametrize(
    "text", ["", " ", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", PUBLISHED[6:], f"{PUBLISHED} x"]
)
def test_what_is_no_secret(text: str) -> None:
    """Too short, too long, without its prefix: refused, and not shown."""
    with pytest.raises(ValueError, match=r"^whsec_ and the base64 of 24 to 64 random bytes$"):
        read_secrets(text)
    with pytest.raises(ValueError, match="whsec_"):
        read_secrets("whsec_" + base64.b64encode(b"x" * 65).decode())


def test_secrets_do_not_show() -> None:
    """No repr holds a key."""
    assert "b'" not in repr(
        Secrets(read_secrets(PUBLISHED), {"a": read_secrets(OTHER)}, read_secrets(MASTER))
    )

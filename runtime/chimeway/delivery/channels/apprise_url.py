"""Whose apprise URL a message goes to, and which kinds of URL may be used. Pure.

Either the recipient's address is the URL, or the settings have one with `{address}` in it, where the
recipient's address is put in, percent-encoded, behind the host: so nobody but the operator chooses a host.

What may be used without being named is what is hosted: services at hosts of their own, which the URL does
not say. What is left out calls any host that stands in the URL (`json`, `xml`, `form`, `apprise`, `ntfy`,
`gotify`, `mailto`, ...), reads files (`fcm`, `vapid`), or acts on the node's own machine (`syslog`, `dbus`,
`gnome`, `windows`, `macosx`). Those must be named in `schemes`; the settings' own URL names its own.
"""

import re
from collections.abc import Collection
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from chimeway.delivery.channel import PermanentFailure
from chimeway.errors import InvalidSettings

HOSTED: Final[frozenset[str]] = frozenset(
    {
        # chat
        "discord", "slack", "tgram", "gchat", "wxteams", "webex", "flock", "twist", "zoom", "stackfield",
        "line", "viber", "lark", "feishu", "dingtalk", "wecombot", "whatsapp", "threema", "guilded",
        "revolt",
        # push
        "pover", "pbul", "prowl", "join", "pushy", "psafer", "psafers", "pushed", "push", "spush",
        "simplepush", "onesignal", "chanify", "ifttt",
        # text messages
        "twilio", "vonage", "nexmo", "sinch", "plivo", "msgbird", "telnyx", "telesign", "clickatell",
        "clicksend", "d7sms", "bulksms", "kavenegar", "msg91", "seven", "cm", "46elks", "elks", "sns",
        "atalk", "octopush",
        # e-mail by an API
        "ses", "sendgrid", "mailersend", "postmark", "brevo", "resend",
        # whoever is on call
        "pagerduty", "opsgenie", "splunk", "victorops", "pagertree", "ilert", "incidentio", "firehydrant",
        "signl4", "squadcast", "spike",
    }
)  # fmt: skip
"""Schemes of services at hosts of their own."""
PLACEHOLDER: Final = "{address}"
_SCHEME: Final = re.compile(r"(?P<scheme>[a-z0-9][a-z0-9+.-]*)://(?P<place>[^/?#]*)", re.IGNORECASE)
_LONGEST: Final = 2_048
_SEVERAL: Final = re.compile(r"""[\s,;|\\/<>"'`]""")
"""What would make several addresses of one, or end it."""


def scheme_of(url: str) -> str | None:
    """Return the scheme of a URL in small letters, or None."""
    found = _SCHEME.match(url)
    return found["scheme"].lower() if found else None


def endpoint_of(url: str) -> str | None:
    """Return by what a service's outage is told from others': its scheme, and where it has one its host.

    Of the host a digest, for it may be a secret (a topic of ntfy), and endpoints are logged.
    """
    found = _SCHEME.match(url)
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), found["place"].rpartition("@")[2].lower()
    return scheme if scheme in HOSTED else f"{scheme}-{sha256(host.encode()).hexdigest()[:8]}"


def check_template(url: str) -> None:
    """Look at the URL of the settings.

    Raises:
        InvalidSettings: it cannot be used; the text holds nothing of it.
    """
    found = _SCHEME.match(url)
    if found is None or not url.isprintable() or " " in url:
        raise InvalidSettings("url: it is no apprise URL; right would be scheme://..., without blanks")
    if PLACEHOLDER in f"{found['scheme']}{found['place']}":
        raise InvalidSettings(
            f"url: {PLACEHOLDER} stands before the host's end, where a recipient would choose the host; "
            "right would be in the path or the query"
        )


def filled(template: str, address: str | None) -> str:
    """Return the URL of the settings with the recipient's address in it.

    Raises:
        PermanentFailure: the address would be more than one.
    """
    if PLACEHOLDER not in template:
        return template
    if not address or not address.isprintable() or _SEVERAL.search(address) or len(address) > _LONGEST:
        raise PermanentFailure("the recipient's address has characters that no single address has")
    return template.replace(PLACEHOLDER, quote(address, safe="@+"))


def own(address: str | None) -> str:
    """Return the recipient's own URL.

    Raises:
        PermanentFailure: it is none.
    """
    if not address or len(address) > _LONGEST or not address.isprintable() or re.search(r"\s", address):
        raise PermanentFailure("the recipient's address is no apprise URL: scheme://..., without blanks")
    if scheme_of(address) is None:
        raise PermanentFailure("the recipient's address is no apprise URL: it has no scheme")
    return address


def permitted(scheme: str, allowed: Collection[str]) -> bool:
    """Say whether a kind of URL may be used."""
    return scheme in HOSTED or scheme in allowed

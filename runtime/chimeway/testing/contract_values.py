"""Values that have broken channels before: each must be sent whole, or refused for good, and harm nobody."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from chimeway.delivery.channel import Message
from chimeway.testing.contract_trial import EVIL, Broken
from chimeway.testing.faults import Received

UNICODE: Final = "Gr\u00fc\u00dfe \U0001f44b \u05e9\u05dc\u05d5\u05dd \u6f22\u5b57"
VALUES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "unicode": {"subject": f"{UNICODE} {{word}}", "body": f"<p>{UNICODE}</p>", "text": UNICODE},
        "a long body": {"body": "<p>long</p>" * 30_000, "text": "long " * 60_000},
        "a long subject": {"subject": "{word} " + "s" * 3_000},
        "no subject": {"subject": ""},
        "no body": {"body": "", "text": None},
        "no text": {"text": None},
        "line ends in the subject": {"subject": f"{{word}}\r\nBcc: {EVIL}\r\nX-Evil: 1\r\n\r\nevil"},
        "a lone line feed in the subject": {"subject": f"{{word}}\nX-Evil: 1\nBcc: {EVIL}"},
        "line ends in the address": {"address": f"{{address}}\r\nX-Evil: 1\r\nBcc: {EVIL}"},
        "another recipient in the address": {"address": f"{{address}},{EVIL}"},
        "an empty address": {"address": ""},
        "control characters": {
            "subject": "{word} a\x00b\x07c\x1b[31m",
            "body": "\x00\x07",
            "text": "\x00\x07",
        },
        "markup and formats": {"subject": "{word} <b>&amp;\"' %s %(x)s ${{x}} {{{{ x }}}} {{0}}"},
        "line beginnings of protocols": {
            "text": ".\r\n.\r\nQUIT\r\n--\r\nFrom me",
            "body": ".\r\n..\r\nDATA\r\n",
        },
    }
)
"""Name → changes to a message; `{word}` stands for its word, `{address}` for the contract's address."""
_BEGINNING: Final = 60
FINAL_ANSWERS: Final = frozenset({"sent", "permanent", "configuration", "bounced"})


def check_harmless(received: list[Received]) -> None:
    """Look at what the provider was given: nothing of a value has become more than a value.

    Raises:
        Broken: it has.
    """
    for one in received:
        evil = {"x-evil", "bcc"} & one.headers.keys()
        if evil:
            raise Broken(f"a value became the header {', '.join(sorted(evil))}")
        if any(EVIL in recipient for recipient in one.recipients):
            raise Broken("a value became another recipient")


def check_whole(message: Message, received: list[Received]) -> None:
    """Look whether unicode arrived as it was, and of a long body all, where it arrived.

    Raises:
        Broken: it did not.
    """
    if UNICODE in message.subject and not any(one.says(UNICODE) for one in received):
        raise Broken("unicode did not arrive as it was sent")
    for body in (message.body, message.text or ""):
        begins = any(one.says(body[:_BEGINNING]) for one in received)
        if len(body) > _BEGINNING and begins and not any(one.says(body.strip()) for one in received):
            raise Broken("a part of the body is missing; right is to send it whole, or to refuse it for good")

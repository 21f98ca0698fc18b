"""What an SMTP server's answers mean, as the table of `email.py` says; pure."""

import re
import ssl
from typing import Any, Final, Literal

import aiosmtplib

from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    PermanentFailure,
    RateLimited,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)

Stage = Literal["connect", "starttls", "auth", "mail", "rcpt", "data"]

_ENHANCED: Final = re.compile(r"\s*[245]\.(\d{1,3})\.\d{1,3}\b")
_POLICY: Final = re.compile(
    r"\b5\.7\.\d{1,3}\b|\brelay(?:ing)?\b|\bblack ?list\w*|\bblock ?list\w*|\bspam\w*", re.IGNORECASE
)
"""Servers that give no enhanced status, or at the end: "550 relay not permitted", "553 sorry, that domain
isn't in my list of allowed rcpthosts (#5.7.1)", "550 rejected because 192.0.2.1 is in a black list"."""
_TOO_MANY: Final = re.compile(
    r"\b(?:throttl\w*|rate[ -]?limit\w*|(?:sending|message|connection) (?:rate|limit)|unusual rate"
    r"|too (?:many|much|fast|quickly)|slow down)\b",
    re.IGNORECASE,
)
"""SMTP has no code for "fewer, please". What large servers write: 421 4.7.28 "unusual rate of
unsolicited mail", 450 4.7.1 "too much mail from", 421 4.7.0 "too many connections", 454 "Throttling
failure: Maximum sending rate exceeded"."""
_OF_ONE_MAILBOX: Final = frozenset({"1", "2"})
"""Enhanced subjects that speak of the recipient: 452 4.2.2 "too many messages in the mailbox"."""


def failure(stage: Stage, error: Exception) -> SendFailure | TimeoutError:
    """Return what the table says of an exception at a stage."""
    match error:
        case TimeoutError() if stage == "data":
            return TimeoutError(f"no answer at {stage}")
        case TimeoutError():
            return TransientFailure(f"no answer at {stage}")
        case aiosmtplib.SMTPHeloError():
            return _refusal("connect", error.code, error.message)
        case aiosmtplib.SMTPResponseException():
            return _refusal(stage, error.code, error.message)
        case _ if isinstance(error.__cause__ or error, ssl.SSLCertVerificationError):
            return ConfigurationFailure("the server's certificate is not trusted")
        case aiosmtplib.SMTPConnectError():  # with its name, its port and why: a setting may be wrong
            return TransientFailure(f"the server cannot be reached: {str(error)[:200]}")
        case OSError() if stage == "data":
            return UnknownOutcome("the connection was lost while the content was handed over")
        case OSError():
            return TransientFailure(f"the connection was lost at {stage}")
        case _ if stage == "data":
            return UnknownOutcome(f"{type(error).__name__} at {stage}")
        case aiosmtplib.SMTPException() if stage in {"starttls", "auth"}:
            return ConfigurationFailure(f"the server does not offer {stage}")
        case _:
            return TransientFailure(f"{type(error).__name__} at {stage}")


def _refusal(stage: Stage, code: int, text: str) -> SendFailure:
    """Turn the server's answer into ours."""
    found = _ENHANCED.match(text)
    subject = found[1] if found else "7" if _POLICY.search(text[:500]) else None
    told: dict[str, Any] = {"stage": stage, "smtp_code": code, "smtp_text": text[:200]}
    said = f"the server answered {code} at {stage}"
    if not 400 <= code < 600:  # no refusal, and not the yes that belongs here
        return (UnknownOutcome if stage == "data" else TransientFailure)(said, **told)
    if code < 500 and subject not in _OF_ONE_MAILBOX and _TOO_MANY.search(text[:500]):
        return RateLimited(None, f"{said}: fewer messages, please", **told)
    if code < 500 or stage == "connect":
        return TransientFailure(said, **told)
    match stage:
        case "starttls" | "auth":
            return ConfigurationFailure(said, **told)
        case "mail":
            return (PermanentFailure if code == 552 else ConfigurationFailure)(said, **told)
        case "rcpt" if code in {550, 551, 553} and subject != "7":
            return Bounced(said, **told)
        case "data" if subject == "1":
            return Bounced(said, **told)
        case _:
            return PermanentFailure(said, **told)

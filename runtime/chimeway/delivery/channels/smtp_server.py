"""Where mail is handed in, and as whom: what an SMTP URL says. Pure."""

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from chimeway.errors import InvalidSettings

_FORM: Final = "smtp://user:password@host:port?starttls=true or smtps://user:password@host:port"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in, and as whom."""

    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"]
    username: str | None
    password: str | None = field(repr=False)


def smtp_server(url: str) -> SmtpServer:
    """Read an SMTP URL; what is not understood is refused by name, never by value."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    starttls = options.pop("starttls", "false")
    problem = None
    try:
        port = parts.port
    except ValueError:
        port, problem = None, "its port is no port"
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        problem = "it is no SMTP URL"
    elif starttls not in {"true", "false"} or (starttls == "true" and parts.scheme == "smtps"):
        problem = "starttls is true or false, and for smtp:// only"
    elif options or parts.path not in {"", "/"} or parts.fragment:
        problem = f"it has more than is known: {', '.join(options) or 'a path'}"
    if problem or parts.hostname is None:
        raise InvalidSettings(
            f"CHIMEWAY_SMTP_URL: {problem}; right would be {_FORM}", variable="CHIMEWAY_SMTP_URL"
        )
    implicit = parts.scheme == "smtps"
    tls: Literal["none", "starttls", "implicit"] = (
        "implicit" if implicit else "starttls" if starttls == "true" else "none"
    )
    usual = {"none": 25, "starttls": 587, "implicit": 465}[tls]
    return SmtpServer(
        host=parts.hostname,
        port=port or usual,
        tls=tls,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )

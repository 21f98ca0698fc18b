"""What kinds of values settings have: each judged, with what would be right where it is none.

A fault is a ValueError whose text goes on after "right would be".
"""

import json
import re
from datetime import timedelta
from string import Formatter
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr, TypeAdapter

from chimeway import database_url
from chimeway.errors import InvalidInput
from chimeway.limits import (
    MAX_HTTP_RATE,
    MAX_IDENTIFIER_CHARS,
    MAX_INBOX_ORIGINS,
    MAX_PUBLIC_URL_CHARS,
    MAX_UNSUBSCRIBE_KEYS,
)

_DURATION: Final = re.compile(
    r"P(?!$)(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?"
    r"(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+(?:\.[0-9]+)?)S)?)?"
)
BIND: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]/]+)):(?P<port>[0-9]{1,5})")
UNSUBSCRIBE_PLACEHOLDERS: Final = ("delivery_id", "tenant_id", "recipient_id", "workflow")
_PLACEHOLDERS_TOLD: Final = " ".join(f"{{{name}}}" for name in UNSUBSCRIBE_PLACEHOLDERS)
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?", re.ASCII)
_DEFAULT_PORTS: Final = (("https:", ":443"), ("http:", ":80"))
_KEY: Final = re.compile(r"[A-Za-z0-9+/=_-]{32,512}", re.ASCII)
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
_LONGEST: Final = timedelta(days=36_525)
_LONGEST_INTEGER: Final = 100
_SPAN: Final = TypeAdapter(timedelta)
_IN_A_HEADER: Final = re.compile(r"[!-;=?-z|~]+")


def _duration(value: object) -> timedelta:
    """Read an ISO 8601 duration of fixed length; it must be longer than nothing."""
    if isinstance(value, timedelta):
        found = value
    else:
        parts = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if parts is None:
            raise ValueError("an ISO 8601 duration without years and months, like PT3S or P90D")
        try:
            found = timedelta(**{unit: float(n) for unit, n in parts.groupdict().items() if n})
        except OverflowError:
            found = timedelta.max
    if found <= timedelta(0):
        raise ValueError("a duration longer than nothing, like PT3S")
    if found > _LONGEST:
        raise ValueError("a duration of at most 100 years, like P90D")
    return found


def _written(value: timedelta) -> str:
    """Write a duration as it may be given: a year in days, too."""
    rest = str(_SPAN.dump_python(value - timedelta(days=value.days), mode="json"))
    return (
        rest if not value.days else f"P{value.days}D{rest[1:] if value.seconds or value.microseconds else ''}"
    )


def _database_url(value: SecretStr) -> SecretStr:
    """Accept what both drivers read alike."""
    try:
        database_url.read(value.get_secret_value())
    except InvalidInput as fault:
        raise ValueError(f"one without this fault: {fault.details['reason']}") from None
    return value


def _smtp_url(value: SecretStr) -> SecretStr:
    """Accept a URL with a host, and nothing more in it than who connects reads."""
    right = "a URL like smtp://user:password@host:port?starttls=true, or smtps://"
    try:
        found = urlsplit(value.get_secret_value())
        known = (
            not found.fragment
            and found.path in {"", "/"}
            and dict(parse_qsl(found.query)).keys() <= {"starttls"}
        )
        if found.scheme in {"smtp", "smtps"} and found.hostname and found.port != 0 and known:
            return value
    except ValueError:  # a port that is none: it may be a part of a password
        raise ValueError(f"{right}; write / @ : in a password as %2F %40 %3A") from None
    raise ValueError(right)


def _bind(value: str) -> str:
    """Accept host:port, or nothing."""
    found = BIND.fullmatch(value)
    if value and (found is None or int(found["port"]) > 65_535):
        raise ValueError("host:port, like 127.0.0.1:8420 or [::1]:8420, or empty for off")
    return value


def _sender(value: str) -> str:
    """Accept one address, with or without a name before it; no second line."""
    if "@" not in value or not value.isprintable():
        raise ValueError("an e-mail address, like Chimeway <no-reply@example.org>")
    return value


def _name(value: str) -> str:
    """Accept what stands well in a list of nodes."""
    if not 0 < len(value) <= MAX_IDENTIFIER_CHARS or not value.isprintable():
        raise ValueError(f"a text of 1 to {MAX_IDENTIFIER_CHARS} characters, without control characters")
    return value


def _unsubscribe_url(value: str) -> str:
    """Accept a URL whose placeholders are known; what fills them is percent-encoded."""
    right = f"a URL like https://example.org/out?d={{delivery_id}}, with {_PLACEHOLDERS_TOLD} or none of them"
    try:
        found = urlsplit(value)
        parts = list(Formatter().parse(value))
    except ValueError:
        raise ValueError(right) from None
    names = {name: bool(form or conversion) for _, name, form, conversion in parts if name is not None}
    if found.scheme not in {"https", "http"} or not found.hostname or "{" in found.netloc:
        raise ValueError(right)
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{right}, percent-encoded")
    if any(formed or name not in UNSUBSCRIBE_PLACEHOLDERS for name, formed in names.items()):
        raise ValueError(right)
    return value


def _public_url(value: str) -> str:
    """Accept where the node's web door is reached from outside; return it without a slash at its end."""
    right = "a URL like https://example.org or https://example.org/chimeway, without a question mark"
    try:
        found = urlsplit(value)
        port = found.port
    except ValueError:
        raise ValueError(right) from None
    if found.scheme not in {"https", "http"} or not found.hostname or port == 0 or "@" in found.netloc:
        raise ValueError(right)
    if not _IN_A_HEADER.fullmatch(value) or "?" in value or "#" in value or set(unquote(value)) & set("\\{}"):
        raise ValueError(f"{right}, percent-encoded")
    if len(value) > MAX_PUBLIC_URL_CHARS:
        raise ValueError(f"{right}, of at most {MAX_PUBLIC_URL_CHARS} characters")
    return value.rstrip("/")


def _keys_in_one(value: object) -> object:
    """Take a list of keys, as `chimeway.toml` may have it, for the text that it would be elsewhere."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    return value


def _unsubscribe_keys(value: SecretStr) -> SecretStr:
    """Accept keys that cannot be guessed, and not too many."""
    found = keys_in(value)
    if not 0 < len(found) <= MAX_UNSUBSCRIBE_KEYS or not all(_KEY.fullmatch(each) for each in found):
        raise ValueError(
            f"1 to {MAX_UNSUBSCRIBE_KEYS} keys with blanks or commas between them, each of 32 to 512 "
            "characters of base64: openssl rand -base64 32 makes one"
        )
    return value


def _metrics_token(value: SecretStr) -> SecretStr:
    """Accept a token that cannot be guessed, and that a header can bear."""
    if not _BEARER.fullmatch(value.get_secret_value()):
        raise ValueError(
            "16 to 512 characters, as a header can bear them (letters, digits, -._~+/=): openssl rand -hex 32"
        )
    return value


def _origins(value: str) -> str:
    """Accept origins as browsers say them, with blanks or commas between them: no path, no star."""
    right = (
        f"1 to {MAX_INBOX_ORIGINS} origins with blanks or commas between them, each as a browser says it, "
        "like https://app.example.org: small letters, no path, no default port, no star"
    )
    found = origins_in(value)
    if not 0 < len(found) <= MAX_INBOX_ORIGINS or not all(_ORIGIN.fullmatch(one) for one in found):
        raise ValueError(right)
    if any(one.startswith(scheme) and one.endswith(port) for one in found for scheme, port in _DEFAULT_PORTS):
        raise ValueError(right)
    return value


def _rate(value: object) -> int:
    """Accept a whole number, as a number or written out."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip(), re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_HTTP_RATE:
        raise ValueError(f"a whole number, 0 to {MAX_HTTP_RATE}; 0 for no limit")
    return value


def origins_in(value: str) -> list[str]:
    """Return the origins in a text."""
    return value.replace(",", " ").split()


def keys_in(value: SecretStr) -> list[str]:
    """Return the keys in a text, in their order."""
    return value.get_secret_value().replace(",", " ").split()


def read_json(value: object, like: str) -> object:
    """Read JSON where a text is given; a name given twice is a mistake, and so is what JSON does not know.

    Raises:
        ValueError: it is none; the text holds nothing of it.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=_once_each, parse_int=_integer, parse_constant=_no_number)
    except json.JSONDecodeError as fault:
        raise ValueError(f"JSON, like {like} ({fault.msg} at character {fault.pos + 1})") from None
    except RecursionError:
        raise ValueError("JSON that is not nested so deep") from None


def _table(value: object) -> object:
    return read_json(value, '{"email": {...}}')


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise ValueError(f"JSON whose integers have at most {_LONGEST_INTEGER} digits")
    return int(digits)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("JSON whose objects have each name once")
    return found


def _no_number(_: str) -> float:
    raise ValueError("JSON, which has no NaN and no Infinity")


Duration = Annotated[
    timedelta, BeforeValidator(_duration), PlainSerializer(_written, return_type=str, when_used="json")
]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
Bind = Annotated[str, AfterValidator(_bind)]
Sender = Annotated[str, AfterValidator(_sender)]
NodeName = Annotated[str, AfterValidator(_name)]
UnsubscribeUrl = Annotated[str, AfterValidator(_unsubscribe_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
UnsubscribeKeys = Annotated[SecretStr, BeforeValidator(_keys_in_one), AfterValidator(_unsubscribe_keys)]
MetricsToken = Annotated[SecretStr, AfterValidator(_metrics_token)]
Origins = Annotated[str, BeforeValidator(_keys_in_one), AfterValidator(_origins)]
Rate = Annotated[int, BeforeValidator(_rate)]
Table: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_table)]

"""What is said of people and tenants, judged before any SQL is sent; `chimeway.check_...` judge the same.

No address is quoted in a refusal: it is somebody's own, and may be a secret (an URL with a token).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from chimeway.client.checks import identifier, quoted, refused
from chimeway.client.json_values import json_object
from chimeway.client.preferences import written_out
from chimeway.errors import InvalidInput
from chimeway.limits import MAX_ADDRESS_CHARS, MAX_HOLIDAYS
from chimeway.progression.policy.reading import parse_preferences
from chimeway.workflow.calendar import DAYS
from chimeway.workflow.durations import known_zone

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EMAIL_CHARS: Final = 320
_LOCAL: Final = r'[^\][ "(),:;<>@\x00-\x1f\x7f\\]{1,64}'
_LABEL: Final = r"[^\][ \"(),:;<>@\x00-\x1f\x7f\\!#$%&'*+./=?^`{|}~]+"
_EMAIL: Final = re.compile(rf"(?!.*=\?){_LOCAL}@(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Za-z0-9.:]+\])", re.DOTALL)
_PHONE: Final = re.compile(r"\+?[0-9(][0-9 ()./-]*")
_PHONE_DIGITS: Final = range(2, 21)
_ZONE: Final = re.compile(r"UTC|GMT|(?:US|[A-Z][a-z]+)(?:/[A-Z][A-Za-z0-9_+-]*)+")
_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*(?:[.@][A-Za-z0-9._@=-]*)?")
_NO_LOCALE: Final = re.compile(r"(?:posix|und)(?:[.@].*)?", re.IGNORECASE)
_LOCALE_CHARS: Final = 64
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def address(field: str, channel: str, value: object) -> str | None:
    """Return where a channel reaches somebody, or None, which removes it; else raise InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise refused(field, quoted(value) if value != "" else "empty", "give a text, or None to remove it")
    if len(value) > MAX_ADDRESS_CHARS:
        raise refused(field, f"{len(value)} characters long", f"give at most {MAX_ADDRESS_CHARS} characters")
    if _CONTROL.search(value):
        raise refused(field, "a text with control characters", "leave them out")
    if channel == "email" and not (len(value) <= _EMAIL_CHARS and _EMAIL.fullmatch(value)):
        raise refused(
            field, "no e-mail address", "give one such as ada@example.org, without a name beside it"
        )
    if channel == "phone" and not _is_phone(value):
        raise refused(field, "no phone number", "give one such as +44 20 7946 0958")
    if _has_half_a_pair(value):
        raise refused(field, "a text with half of a surrogate pair", "leave it out")
    return str.__str__(value)


def addresses(value: Mapping[Any, Any]) -> dict[str, str | None]:
    """Return addresses by channel, or raise InvalidInput."""
    found = {}
    for channel, where in value.items():
        name = identifier("a channel in addresses", channel)
        found[name] = address(f"addresses.{name}", name, where)
    return found


def time_zone(field: str, value: object) -> str | None:
    """Return an IANA name that database and engine know, or None; else raise InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, str) or not _ZONE.fullmatch(value) or not known_zone(value):
        raise refused(field, quoted(value), 'give an IANA name, such as "Europe/London"')
    return str.__str__(value)


def locale(field: str, value: object) -> str | None:
    """Return a tag as templates look it up, or None; else raise InvalidInput."""
    if value is None:
        return None
    hint = f'give a BCP 47 tag, such as "de-DE", of at most {_LOCALE_CHARS} characters'
    if not isinstance(value, str) or len(value) > _LOCALE_CHARS or not _LOCALE.fullmatch(value):
        raise refused(field, quoted(value), hint)
    if _NO_LOCALE.fullmatch(value):
        raise refused(field, quoted(value), hint)
    return str.__str__(value)


def working_days(value: object) -> list[str] | None:
    """Return days in the order of the week, or None; else raise InvalidInput."""
    if value is None:
        return None
    hint = 'give days, such as ["mon", "tue"], or None for Monday to Friday'
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise refused("working_days", quoted(value), hint)
    given = list(value)
    for day in given:
        if not isinstance(day, str) or day not in DAYS:
            known = f"known are {', '.join(DAYS)}"
            raise InvalidInput(f"working_days has {quoted(day)}: {known}", field="working_days", hint=known)
    if not given:
        raise refused("working_days", "empty", hint)
    return [day for day in DAYS if day in given]


def holidays(value: object) -> list[str] | None:
    """Return days as ISO 8601 has them, each once, in their order, or None; else raise InvalidInput."""
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        hint = "give a list of days, such as [date(2026, 12, 25)], or None for none"
        raise refused("holidays", quoted(value), hint)
    found: set[date] = set()
    for many, day in enumerate(value):
        if many == MAX_HOLIDAYS:  # told at once: what is iterated may have no end
            hint = f"give at most {MAX_HOLIDAYS}"
            raise InvalidInput(f"holidays are too many: {hint}", field="holidays", hint=hint)
        found.add(_day(day))
    return [day.isoformat() for day in sorted(found)]


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    hint = 'give days as date(2026, 12, 25), or "2026-12-25"'
    raise InvalidInput(f"holidays has {quoted(value)}: {hint}", field="holidays", hint=hint)


def preferences(value: object) -> dict[str, Any]:
    """Return what is to be merged into a preferences document, or raise InvalidInput."""
    given = written_out(value) if isinstance(value, Mapping) else value
    found = json_object("preferences", given)
    parse_preferences(found, partial=True)
    return found


def _is_phone(value: str) -> bool:
    digits = sum(char in "0123456789" for char in value)
    return bool(_PHONE.fullmatch(value)) and digits in _PHONE_DIGITS


def _has_half_a_pair(value: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in value)

"""Who a journey is for, and the profile that says how to reach them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Final, TypeAlias

from chimeway.client import checks, profile_checks
from chimeway.errors import InvalidInput
from chimeway.limits import MAX_RECIPIENTS

Text: TypeAlias = str | EllipsisType | None
"""A field of a profile: a text, None to remove it, `...` (left out) to leave it as it is."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient with its profile: to `trigger`, this identifies and triggers in one transaction.

    What is left out stays as it is known; None removes. `addresses` maps other channels to
    addresses, `timezone` is an IANA name, `locale` a tag such as "de-DE".
    """

    id: str
    email: Text = ...
    phone: Text = ...
    timezone: Text = ...
    locale: Text = ...
    addresses: Mapping[str, str | None] | None = None
    preferences: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None

    def profile(self) -> dict[str, Any]:
        """Return what is given, as `chimeway.identify` takes it.

        Raises:
            InvalidInput: a field is not what it must be.
        """
        given: dict[str, Any] = {
            name: judge(name, getattr(self, name)) for name, judge in _TEXTS if getattr(self, name) is not ...
        }
        objects = {"addresses": self.addresses, "preferences": self.preferences, "data": self.data}
        for name, value in objects.items():
            if value is not None and not isinstance(value, Mapping):
                raise checks.refused(name, checks.quoted(value), "give a mapping, such as {}")
        if self.addresses is not None:
            given["addresses"] = profile_checks.addresses(self.addresses)
        if self.preferences is not None:
            given["preferences"] = profile_checks.preferences(self.preferences)
        if self.data is not None:
            given["data"] = self.data
        return checks.json_object("profile", given, path="")


_TEXTS: Final = (
    ("email", lambda field, value: profile_checks.address(field, "email", value)),
    ("phone", lambda field, value: profile_checks.address(field, "phone", value)),
    ("timezone", profile_checks.time_zone),
    ("locale", profile_checks.locale),
)


Recipients: TypeAlias = str | Recipient | Iterable[str | Recipient]
"""One or several, by id or with their profiles."""


@dataclass(frozen=True, slots=True)
class People:
    """Recipients, checked: each once, in the order given, and the profiles that came with them."""

    ids: tuple[str, ...]
    profiles: Mapping[str, Mapping[str, Any]]


def people(recipients: Recipients | None, data: Mapping[str, Any]) -> People:
    """Return who a trigger is for; without recipients, whom `actor_id` in its data names.

    Raises:
        InvalidInput: nobody is named, more than 1,000 are, an id or a profile is at fault, or one
            recipient comes with two profiles.
    """
    if recipients is None:
        recipients = _actor_in(data)
    if isinstance(recipients, str | Recipient):
        recipients = [recipients]
    if isinstance(recipients, bytes | Mapping) or not isinstance(recipients, Iterable):
        raise checks.refused(
            "recipients", checks.quoted(recipients), "give ids or Recipients, one or a list of them"
        )
    hint = f"name 1 to {MAX_RECIPIENTS} in one call"
    profiles: dict[str, dict[str, Any]] = {}
    for place, one in enumerate(recipients):
        name, profile = _person(f"recipients[{place}]", one)
        if profile and profiles.get(name) not in (None, {}, profile):
            raise InvalidInput(
                f"recipients[{place}] is {checks.quoted(name)} again, with another profile: give one each",
                field="recipients",
            )
        profiles[name] = profile or profiles.get(name, {})
        if len(profiles) > MAX_RECIPIENTS:  # told at once: what is iterated may have no end
            raise checks.refused("recipients", f"a list of more than {MAX_RECIPIENTS} ids", hint)
    if not profiles:
        raise checks.refused("recipients", "empty", hint)
    return People(tuple(profiles), {name: profile for name, profile in profiles.items() if profile})


def profiles(recipients: Iterable[object]) -> dict[str, Mapping[str, Any]]:
    """Return the profile of each of many recipients.

    Raises:
        InvalidInput: one is no Recipient, is there twice or is at fault (the message names its place), or
            there are more than 1,000.
    """
    if isinstance(recipients, Recipient | str | bytes | Mapping) or not isinstance(recipients, Iterable):
        raise checks.refused("recipients", checks.quoted(recipients), "give a list of Recipients")
    found: dict[str, Mapping[str, Any]] = {}
    for place, one in enumerate(recipients):
        if not isinstance(one, Recipient):
            hint = 'give Recipient("user_123", email=..., ...)'
            raise checks.refused(f"recipients[{place}]", checks.quoted(one), hint)
        name, profile = _person(f"recipients[{place}]", one)
        if name in found:
            told = f"recipients[{place}] is {checks.quoted(name)} again: give each once"
            raise InvalidInput(told, field="recipients")
        if len(found) == MAX_RECIPIENTS:  # told at once: what is iterated may have no end
            hint = f"at most {MAX_RECIPIENTS} in one call"
            raise InvalidInput(f"recipients are too many: {hint}", field="recipients", hint=hint)
        found[name] = profile
    return found


def _person(place: str, one: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(one, Recipient):
        return checks.identifier(place, one), {}
    try:
        return checks.identifier("id", one.id), one.profile()
    except InvalidInput as fault:
        raise InvalidInput(f"{place}: {fault.message}", **fault.details) from None


def _actor_in(data: Mapping[str, Any]) -> str:
    actor = data.get("actor_id")
    if actor is None:
        hint = 'give recipients=[...], or "actor_id" in the data'
        raise InvalidInput(f"nobody is named: {hint}", field="recipients", hint=hint)
    return checks.identifier("data.actor_id", actor)

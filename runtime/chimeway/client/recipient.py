"""Who a journey is for, and the profile that says how to reach them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

from chimeway.client import checks
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
        texts = {name: getattr(self, name) for name in ("email", "phone", "timezone", "locale")}
        for name, value in texts.items():
            if value is not ... and value is not None and not isinstance(value, str):
                raise InvalidInput(f"{name} is a {type(value).__name__}: give a text or None", field=name)
        objects = {"addresses": self.addresses, "preferences": self.preferences, "data": self.data}
        given = {name: value for name, value in texts.items() if value is not ...}
        given |= {name: dict(value) for name, value in objects.items() if value is not None}
        return checks.json_object("profile", given)


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
    profiles: dict[str, dict[str, Any]] = {}
    for one in recipients:
        recipient = one if isinstance(one, Recipient) else Recipient(one)
        name = checks.identifier("recipient", recipient.id)
        profile = recipient.profile()
        if profile and profiles.get(name) not in (None, {}, profile):
            raise InvalidInput(f'recipient "{name}" comes with two profiles', field="recipients")
        profiles[name] = profile or profiles.get(name, {})
    if not 0 < len(profiles) <= MAX_RECIPIENTS:
        hint = f"name 1 to {MAX_RECIPIENTS} in one call"
        raise InvalidInput(f"{len(profiles)} recipients: {hint}", field="recipients", hint=hint)
    return People(tuple(profiles), {name: profile for name, profile in profiles.items() if profile})


def _actor_in(data: Mapping[str, Any]) -> str:
    actor = data.get("actor_id")
    if not isinstance(actor, str):
        hint = 'give recipients=[...], or "actor_id" in the data'
        raise InvalidInput(f"nobody is named: {hint}", field="recipients", hint=hint)
    return actor

"""The verbs about people and tenants, from what callers give to what is asked. Pure, for both clients."""

from collections.abc import Iterable, Mapping
from datetime import date
from types import EllipsisType
from typing import Any, TypeAlias

from chimeway.client import checks, profile_checks
from chimeway.client.recipient import Recipient, Text
from chimeway.client.recipient import profiles as profiles_of
from chimeway.store import profiles, statements
from chimeway.store.call import Call, known, one
from chimeway.store.profiles import RecipientView, TenantView
from chimeway.store.views import Page

Days: TypeAlias = Iterable[str] | EllipsisType | None
"""Days of the week, "mon" to "sun"; None: Monday to Friday; `...` (left out): as it is."""
Holidays: TypeAlias = Iterable[date | str] | EllipsisType | None
"""Days, as dates or "2026-12-25"; None: none; `...` (left out): as it is."""


def identify(tenant: str, recipient: Recipient) -> Call[None]:
    """Ask for the writing of a profile."""
    name, profile = checks.identifier("recipient", recipient.id), recipient.profile()
    return one(statements.identify(tenant, name, profile), lambda _: None)


def identify_many(tenant: str, recipients: Iterable[Recipient]) -> Call[int]:
    """Ask for the writing of many profiles."""
    found = profiles_of(recipients)
    if not found:
        return known(0)
    return one(statements.identify_many(tenant, found), lambda rows: int(rows[0]["written"]))


def configure_tenant(
    tenant: str,
    *,
    timezone: Text,
    locale: Text,
    working_days: Days,
    holidays: Holidays,
    preferences: Mapping[str, Any] | None,
) -> Call[None]:
    """Ask for the writing of what holds for a tenant."""
    settings: dict[str, Any] = {}
    if timezone is not ...:
        settings["timezone"] = profile_checks.time_zone("timezone", timezone)
    if locale is not ...:
        settings["locale"] = profile_checks.locale("locale", locale)
    if working_days is not ...:
        settings["working_days"] = profile_checks.working_days(working_days)
    if holidays is not ...:
        settings["holidays"] = profile_checks.holidays(holidays)
    if preferences is not None:
        settings["preferences"] = profile_checks.preferences(preferences)
    return one(statements.configure_tenant(tenant, settings), lambda _: None)


def get_recipient(tenant: str, recipient: str) -> Call[RecipientView]:
    """Ask for a profile."""
    return profiles.get_recipient(tenant, checks.identifier("recipient", recipient))


def list_recipients(tenant: str, cursor: str | None, limit: int) -> Call[Page[RecipientView]]:
    """Ask for a page of a tenant's profiles."""
    return profiles.list_recipients(tenant, cursor=cursor, limit=checks.page_size(limit))


def get_tenant(tenant: str) -> Call[TenantView]:
    """Ask for what holds for a tenant."""
    return profiles.get_tenant(tenant)


def list_tenants(cursor: str | None, limit: int) -> Call[Page[TenantView]]:
    """Ask for a page of tenants."""
    return profiles.list_tenants(cursor=cursor, limit=checks.page_size(limit))

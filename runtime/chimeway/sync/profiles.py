"""The half for people and tenants without an event loop: how they are reached, and what they prefer."""

from collections.abc import Iterable, Mapping
from typing import Any

from chimeway.client import profile_calls
from chimeway.client.profile_calls import Days, Holidays
from chimeway.client.recipient import Recipient, Text
from chimeway.store import sync_callers as callers
from chimeway.store.profiles import RecipientView, TenantView
from chimeway.store.views import Page
from chimeway.sync.reading import Reading


class Profiles(Reading):
    """Writes profiles, and reads them. With `connection=`, in the caller's transaction."""

    def identify(  # noqa: PLR0913  (all but the first by name)
        self,
        recipient: str,
        *,
        tenant: str | None = None,
        email: Text = ...,
        phone: Text = ...,
        timezone: Text = ...,
        locale: Text = ...,
        addresses: Mapping[str, str | None] | None = None,
        preferences: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        connection: object | None = None,
    ) -> None:
        """Write a recipient's profile: what is left out stays as it is, None removes.

        Args:
            recipient: who.
            tenant: as for `trigger`.
            connection: as for `trigger`.
            email: the address of the channel email.
            phone: that of the channels phone and sms.
            timezone: an IANA name, such as "Europe/London".
            locale: a tag, such as "de-DE".
            addresses: channel to address, for other channels.
            preferences: merged into what is known, key by key, all the way down; None inside removes a key.
            data: merged into what is known, key by key; None removes a key.
        """
        known = Recipient(recipient, email, phone, timezone, locale, addresses, preferences, data)
        callers.run(self._database, profile_calls.identify(self._of(tenant), known), connection)

    def identify_many(
        self,
        recipients: Iterable[Recipient],
        *,
        tenant: str | None = None,
        connection: object | None = None,
    ) -> int:
        """Write many profiles, all or none, in one statement, as `identify` writes one.

        Args:
            recipients: whom, each once; at most 1,000.
            tenant: as for `trigger`.
            connection: as for `trigger`.

        Returns:
            how many there were.
        """
        call = profile_calls.identify_many(self._of(tenant), recipients)
        return callers.run(self._database, call, connection)

    def configure_tenant(
        self,
        *,
        tenant: str | None = None,
        timezone: Text = ...,
        locale: Text = ...,
        working_days: Days = ...,
        holidays: Holidays = ...,
        preferences: Mapping[str, Any] | None = None,
        connection: object | None = None,
    ) -> None:
        """Write what holds for a tenant, below what each recipient has: left out stays, None removes.

        Args:
            tenant: as for `trigger`.
            connection: as for `trigger`.
            timezone: of recipients who have none.
            locale: of recipients who have none.
            working_days: such as ["mon", "tue"]; None: Monday to Friday. Replaced as a whole.
            holidays: days on which nobody works, as dates or "2026-12-25". Replaced as a whole.
            preferences: merged into what is known, key by key; None inside removes a key.
        """
        call = profile_calls.configure_tenant(
            self._of(tenant),
            timezone=timezone,
            locale=locale,
            working_days=working_days,
            holidays=holidays,
            preferences=preferences,
        )
        callers.run(self._database, call, connection)

    def get_recipient(
        self, recipient: str, *, tenant: str | None = None, connection: object | None = None
    ) -> RecipientView:
        """Return a recipient's own profile.

        Raises:
            RecipientNotFound: nobody was identified by this id; runs need no profile.
        """
        call = profile_calls.get_recipient(self._of(tenant), recipient)
        return callers.run(self._database, call, connection)

    def list_recipients(
        self,
        *,
        tenant: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        connection: object | None = None,
    ) -> Page[RecipientView]:
        """Return a page of profiles in the order of their ids; `page.cursor` leads to the next.

        Args:
            tenant: as for `trigger`.
            cursor: of the page before.
            limit: how many, at most 1,000.
            connection: as for `trigger`.
        """
        call = profile_calls.list_recipients(self._of(tenant), cursor, limit)
        return callers.run(self._database, call, connection)

    def get_tenant(self, *, tenant: str | None = None, connection: object | None = None) -> TenantView:
        """Return what holds for a tenant as a whole; for one never configured, nothing does."""
        call = profile_calls.get_tenant(self._of(tenant))
        return callers.run(self._database, call, connection)

    def list_tenants(
        self, *, cursor: str | None = None, limit: int = 50, connection: object | None = None
    ) -> Page[TenantView]:
        """Return a page of the tenants for which something was written, in the order of their ids.

        Args:
            cursor: of the page before.
            limit: how many, at most 1,000.
            connection: as for `trigger`.
        """
        call = profile_calls.list_tenants(cursor, limit)
        return callers.run(self._database, call, connection)

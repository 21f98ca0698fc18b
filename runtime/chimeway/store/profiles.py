"""Who recipients are and what holds for tenants: what readers get, and how it is asked. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from chimeway.errors import RecipientNotFound
from chimeway.store import cursors
from chimeway.store.call import Call, Row, one, statement
from chimeway.store.queries import SQL
from chimeway.store.rows import instant, moment, page
from chimeway.store.views import Page


@dataclass(frozen=True, slots=True)
class RecipientView:
    """A recipient's own profile; what is None here the tenant may have (`TenantView`)."""

    tenant_id: str
    recipient_id: str
    addresses: Mapping[str, str] = field(hash=False)
    timezone: str | None
    locale: str | None
    preferences: Mapping[str, Any] = field(hash=False)
    data: Mapping[str, Any] = field(hash=False)
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TenantView:
    """What holds for a tenant as a whole, below what each recipient has of his own.

    `working_days` None: Monday to Friday. `created_at` None: nothing was ever written for it.
    """

    tenant_id: str
    timezone: str | None = None
    locale: str | None = None
    working_days: tuple[str, ...] | None = None
    holidays: tuple[date, ...] = ()
    preferences: Mapping[str, Any] = field(default_factory=dict, hash=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None


def get_recipient(tenant: str, recipient: str) -> Call[RecipientView]:
    """Ask for a profile; reading raises RecipientNotFound where nobody of this id was identified."""

    def read(found: Sequence[Row]) -> RecipientView:
        if not found:
            raise RecipientNotFound(
                f'nobody was identified as "{recipient}" in tenant "{tenant}"',
                hint="look at the id and at the tenant, or identify them",
                recipient=recipient,
                tenant=tenant,
            )
        return _recipient(found[0])

    return one(statement(SQL["recipient_row"], tenant, recipient), read)


def list_recipients(tenant: str, *, cursor: str | None, limit: int) -> Call[Page[RecipientView]]:
    """Ask for a page of a tenant's profiles, by their ids."""
    after = None if cursor is None else cursors.read_name(cursor)
    asked = statement(SQL["list_recipients"], tenant, after, limit + 1)
    return one(asked, page(limit, _recipient, lambda row: cursors.written_name(row["recipient_id"])))


def get_tenant(tenant: str) -> Call[TenantView]:
    """Ask for what holds for a tenant; one for which nothing was written has nothing."""
    return one(
        statement(SQL["tenant_row"], tenant),
        lambda found: _tenant(found[0]) if found else TenantView(tenant),
    )


def list_tenants(*, cursor: str | None, limit: int) -> Call[Page[TenantView]]:
    """Ask for a page of the tenants for which something was written, by their ids."""
    after = None if cursor is None else cursors.read_name(cursor)
    asked = statement(SQL["list_tenants"], after, limit + 1)
    return one(asked, page(limit, _tenant, lambda row: cursors.written_name(row["tenant_id"])))


def _recipient(row: Row) -> RecipientView:
    return RecipientView(
        **{**row, "created_at": moment(row["created_at"]), "updated_at": moment(row["updated_at"])}
    )


def _tenant(row: Row) -> TenantView:
    days = row["working_days"]
    return TenantView(
        tenant_id=row["tenant_id"],
        timezone=row["timezone"],
        locale=row["locale"],
        working_days=None if days is None else tuple(days),
        holidays=tuple(date.fromisoformat(day) for day in row["holidays"]),
        preferences=row["preferences"],
        created_at=instant(row["created_at"]),
        updated_at=instant(row["updated_at"]),
    )

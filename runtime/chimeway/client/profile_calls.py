"""The verbs about people and tenants, from what callers give to what is asked. Pure, for both clients."""

from chimeway.client import checks
from chimeway.client.recipient import Recipient
from chimeway.store import profiles, statements
from chimeway.store.call import Call, one
from chimeway.store.profiles import RecipientView, TenantView
from chimeway.store.views import Page


def identify(tenant: str, recipient: Recipient) -> Call[None]:
    """Ask for the writing of a profile."""
    name, profile = checks.identifier("recipient", recipient.id), recipient.profile()
    return one(statements.identify(tenant, name, profile), lambda _: None)


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

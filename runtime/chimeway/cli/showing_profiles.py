"""Profiles and settings of tenants as lines for people. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chimeway.cli.printing import shown
from chimeway.store.profiles import RecipientView, TenantView


def told_recipient(found: RecipientView) -> Iterator[str]:
    """Tell what a profile holds, a line each; what it does not hold is left out."""
    yield f"{found.recipient_id} of {found.tenant_id}"
    for channel, address in sorted(found.addresses.items()):
        yield f"  {channel}: {address}"
    yield from _own("timezone", found.timezone, "locale", found.locale)
    yield from _objects(preferences=found.preferences, data=found.data)
    yield f"  identified {shown(found.created_at)}, written {shown(found.updated_at)}"


def told_tenant(found: TenantView) -> Iterator[str]:
    """Tell what holds for a tenant, a line each."""
    yield found.tenant_id
    yield from _own("timezone", found.timezone, "locale", found.locale)
    yield f"  working days: {shown(found.working_days or ('mon', 'tue', 'wed', 'thu', 'fri'))}"
    if found.holidays:
        yield f"  holidays: {shown(found.holidays)}"
    yield from _objects(preferences=found.preferences)
    yield f"  written {shown(found.updated_at)}" if found.updated_at else "  never configured"


def _own(*pairs: str | None) -> Iterator[str]:
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if value is not None:
            yield f"  {name}: {value}"


def _objects(**objects: Mapping[str, Any]) -> Iterator[str]:
    for name, value in objects.items():
        if value:
            yield f"  {name}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"

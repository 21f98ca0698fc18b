"""What recipients and tenants want, written as their rows hold it."""

from typing import Any

from chimeway.testing.journey import Journey


async def wishes(
    journey: Journey,
    recipient: str,
    preferences: dict[str, Any],
    *,
    zone: str | None = None,
    wake: bool = False,
) -> None:
    """Write a recipient's preferences; `wake`: and have what is deferred looked at again."""
    profile = {"preferences": preferences} | ({} if zone is None else {"timezone": zone})
    async with journey.client.database.acquire() as connection, connection.transaction():
        await connection.execute("select chimeway.identify('default', $1, $2)", recipient, profile)
        if wake:
            await connection.execute("select chimeway.wake_deferred('default', $1)", recipient)


async def tenant_wishes(journey: Journey, preferences: dict[str, Any], *, zone: str | None = None) -> None:
    """Write what holds for a tenant."""
    async with journey.client.database.acquire() as connection:
        await connection.execute(
            """insert into chimeway.tenants (tenant_id, timezone, preferences, created_at, updated_at)
               values ('default', $1, $2, chimeway.clock(), chimeway.clock())""",
            zone, preferences,
        )  # fmt: skip

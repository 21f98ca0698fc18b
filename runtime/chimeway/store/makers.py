"""Who makes databases and drops them shows by a lock that he lives: what the dead have left can be told.

Each maker has a number, which is in the names of what he has made, and a session's lock under it.
"""

from collections.abc import AsyncIterator, Iterable

from chimeway.store.pool import Connection


class Makers:
    """Makers of one kind, as a connection to their server sees them."""

    def __init__(self, connection: Connection, kind: int) -> None:
        """Take the connection, whose session is what lives, and the class of their locks."""
        self._connection = connection
        self._kind = kind

    async def take(self, number: int) -> bool:
        """Be the maker of this number for as long as the session lasts; False: another is."""
        taken = await self._connection.fetchval("select pg_try_advisory_lock($1, $2)", self._kind, number)
        return bool(taken)

    async def dead(self, numbers: Iterable[int]) -> AsyncIterator[int]:
        """Yield those of whom nobody lives, each while nobody can become him."""
        for number in numbers:
            if await self.take(number):
                if not await self._lives_elsewhere(number):
                    yield number
                await self._connection.execute("select pg_advisory_unlock($1, $2)", self._kind, number)

    async def _lives_elsewhere(self, number: int) -> bool:
        """Say whether one lives that came in by another database: locks are of a database each."""
        return bool(
            await self._connection.fetchval(
                """select exists (select from pg_locks where locktype = 'advisory' and objsubid = 2
                    and classid = $1::bigint and objid = $2::bigint and pid <> pg_backend_pid())""",
                self._kind,
                number,
            )
        )

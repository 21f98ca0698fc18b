"""What a producer does to the database, each act in a transaction of its own, and what is kept of it.

Before an act the log says what is meant (`intent`), after it what is known: `committed`, with the answer, or
`unknown` when the commit, or the word of it, was lost. What is unknown is done again under the same key
until the answer comes; only then is it known.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import asyncpg

from faults.journal import Entry, Journal
from faults.plan import Plan

Connection: TypeAlias = "asyncpg.Connection[Any]"
LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a network or a server that fails shows itself as. A refusal of ours is none: see `refused`."""
_TRIGGER: Final = """
select chimeway.trigger($1, tenant_id => $2, recipient_id => $3, data => $4::text::jsonb,
                        idempotency_key => $5, cancellation_key => $5)"""
_SIGNAL: Final = """
select chimeway.signal('read', tenant_id => $1, actor_id => $2, payload => $3::text::jsonb,
                       dedupe_key => $4)"""
_CANCEL: Final = """
select outcome, state, step, cancelled::text[], on_their_way::text[]
  from chimeway.cancel(cancellation_key => $1, tenant_id => $2, note => 'by a fault run')"""
_IDENTIFY: Final = "select chimeway.identify_many($1, $2::text::jsonb)"
_COMMAND_TIMEOUT_S: Final = 6.0


class TakenBack(Exception):  # noqa: N818  (no error: a transaction that was meant to leave nothing)
    """The producer changed its mind."""


class Line:
    """One connection, opened when it is needed and given up when it fails."""

    def __init__(self, url: str) -> None:
        """Take where to connect to."""
        self._url = url
        self._open: Connection | None = None

    async def connected(self) -> Connection:
        """Return the connection, open."""
        if self._open is None or self._open.is_closed():
            self._open = await asyncpg.connect(
                self._url, timeout=_COMMAND_TIMEOUT_S, command_timeout=_COMMAND_TIMEOUT_S
            )
        return self._open

    def drop(self) -> None:
        """Give it up."""
        if self._open is not None:
            self._open.terminate()
            self._open = None


class Acts:
    """A producer's acts, over one connection at a time, with its log."""

    def __init__(self, url: str, journal: Journal) -> None:
        """Take the database and the log."""
        self._line = Line(url)
        self._journal = journal

    async def identify(self, tenant: str, profiles: dict[str, Any]) -> None:
        """Tell who somebody is."""
        await self._until_known(
            [{"act": "identify", "tenant": tenant}],
            lambda one: one.fetchval(_IDENTIFY, tenant, json.dumps(profiles)),
            lambda _: [{"act": "identify", "tenant": tenant}],
        )

    async def trigger(self, plans: Sequence[Plan]) -> None:
        """Begin journeys in one transaction."""

        async def begin(one: Connection) -> list[str]:
            return [await _begin(one, plan) for plan in plans]

        await self._until_known(
            [{"act": "trigger", "j": plan.id, "plan": plan.to_json()} for plan in plans],
            begin,
            lambda runs: [
                {"act": "trigger", "j": plan.id, "run": run} for plan, run in zip(plans, runs, strict=True)
            ],
        )

    async def roll_back(self, plan: Plan) -> None:
        """Begin a journey, and take it back with the transaction that it was part of."""

        async def begin(one: Connection) -> None:
            await _begin(one, plan)
            raise TakenBack

        about = {"act": "trigger", "j": plan.id}
        self._journal.write({"w": "intent", **about, "plan": plan.to_json()})
        try:
            one = await self._line.connected()
            async with one.transaction():
                await begin(one)
        except (TakenBack, *LOST):  # whatever it was: nobody ever asked for a commit
            self._line.drop()
        self._journal.write({"w": "rolled_back", **about})

    async def read(self, plan: Plan) -> None:
        """Say that the person has read what the journey is about."""
        await self._signal(plan, "read", plan.id)

    async def noise(self, plan: Plan) -> None:
        """Say that the person has read something else."""
        await self._signal(plan, "noise", f"not-{plan.id}")

    async def _signal(self, plan: Plan, act: str, mention: str) -> None:
        payload, key = json.dumps({"mention": mention}), f"{plan.id}/{act}"
        about = {"act": act, "j": plan.id}
        await self._until_known(
            [about],
            lambda one: one.fetchval(_SIGNAL, plan.tenant, plan.recipient, payload, key),
            lambda _: [about],
        )

    async def cancel(self, plan: Plan) -> None:
        """Cancel the journey. The answer is kept before the commit, too: it holds if that succeeds."""
        about = {"act": "cancel", "j": plan.id}

        async def stop(one: Connection) -> list[Entry]:
            answer = [dict(row) for row in await one.fetch(_CANCEL, plan.id, plan.tenant)]
            self._journal.write({"w": "answer", **about, "answer": answer})
            return answer

        await self._until_known([about], stop, lambda answer: [{**about, "answer": answer}])

    async def hold(self, plan: Plan, seconds: float) -> None:
        """Sit on the run for so long: cancel it in a transaction that is then taken back.

        The log says since when and until when nobody else could write a decision of it. If the connection
        breaks meanwhile, `held` is not followed by `released`, and says nothing.
        """
        about = {"act": "hold", "j": plan.id}
        try:
            one = await self._line.connected()
            transaction = one.transaction()
            await transaction.start()
            await one.fetch(_CANCEL, plan.id, plan.tenant)
            self._journal.write({"w": "held", **about})
            await asyncio.sleep(seconds)
            until = self._journal.write({"w": "releasing", **about})
            await transaction.rollback()
            self._journal.write({"w": "released", **about, "until": until})
        except LOST as fault:
            self._journal.write({"w": "let_go", **about, "fault": repr(fault)[:200]})
        finally:
            self._line.drop()

    async def _until_known(
        self,
        meant: list[Entry],
        act: Callable[[Connection], Awaitable[Any]],
        told: Callable[[Any], list[Entry]],
    ) -> None:
        """Do something in a transaction, again and again until its commit is known."""
        pause_s = 0.1
        while True:
            self._journal.write(*({"w": "intent", **each} for each in meant))
            try:
                one = await self._line.connected()
                async with one.transaction():
                    answer = await act(one)
            except LOST as fault:
                refused(fault)
                self._line.drop()
                keys = [{"act": each["act"], "j": each.get("j")} for each in meant]
                self._journal.write(*({"w": "unknown", **each, "fault": repr(fault)[:200]} for each in keys))
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)
            else:
                self._journal.write(*({"w": "committed", **each} for each in told(answer)))
                return

    def close(self) -> None:
        """Give up the connection."""
        self._line.drop()


async def _begin(one: Connection, plan: Plan) -> str:
    data = json.dumps(plan.data())
    run = await one.fetchval(_TRIGGER, plan.workflow, plan.tenant, plan.recipient, data, plan.id)
    if plan.act == "read_at_once":
        payload = json.dumps({"mention": plan.id})
        await one.fetchval(_SIGNAL, plan.tenant, plan.recipient, payload, f"{plan.id}/read")
    return str(run)


def refused(fault: BaseException) -> None:
    """Raise what is no fault of the world: one of our functions said no."""
    if (getattr(fault, "sqlstate", None) or "").startswith("CW"):
        raise fault

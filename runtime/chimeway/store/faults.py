"""One answer to the question "is this database error expected?"; every retry asks it here."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import asyncpg

from chimeway.errors import (
    ChimewayError,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidDataReference,
    InvalidDefinition,
    InvalidInput,
    NotPermitted,
    NowInFuture,
    SchemaMismatch,
    UnknownWorkflow,
    WorkflowDefinitionVersionConflict,
    WorkflowRunNotFound,
)

Fault: TypeAlias = Literal["connection", "retry", "broken", "refused", "bad"]
"""connection: the answer may be lost, connect again; retry: the transaction did not happen, do it
again; broken: likewise, but the server failed by itself (its disk, its files, its own confusion), for all
or only for the rows that were touched; refused: our own functions said no; bad: the statement or its
arguments are at fault."""

PASSING: Final[frozenset[Fault | None]] = frozenset({"connection", "retry", "broken"})
"""Nobody who asks is to blame: asked again later it may go well."""

DRIVER_FAULTS: Final = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
"""All that the driver raises when a connection fails, its own confusion after a loss (the last) included."""

LEASE_LOST = "CW009"
READ_ONLY: Final = "25006"
"""A statement that writes came to a standby, or to a server or role that may only read."""


class LeaseLost(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """Another node has taken over."""

    code = "lease_lost"


_REFUSALS: dict[str, type[ChimewayError]] = {
    "CW001": InvalidInput,
    "CW002": UnknownWorkflow,
    "CW003": IdempotencyConflict,
    "CW004": InvalidDataReference,
    "CW005": WorkflowDefinitionVersionConflict,
    "CW006": WorkflowRunNotFound,
    "CW007": InvalidDefinition,
    "CW008": NowInFuture,
    LEASE_LOST: LeaseLost,
    "CW011": SchemaMismatch,
    "CW012": NotPermitted,
}
_RETRY_CLASSES = ("40", "53", "55")
_CONNECTION_CLASSES = ("08", "57")
_BROKEN_CLASSES = ("58", "XX")
"""The machine below the server, and what should not be: a file that cannot be read, a damaged page, something
that vanished while it was looked at (as while somebody migrates)."""
_LIBPQ_DRIVERS: Final = frozenset({"psycopg", "psycopg2"})
_LOST: Final = frozenset({"OperationalError", "InterfaceError"})
_ENDED_BY_THE_SERVER: Final = frozenset({"25P03", "25P04"})
"""A transaction sat idle, or lasted, for longer than the server lets it: the session is gone with it."""
_MOST_WRAPPINGS: Final = 5
_NAMED: Final = re.compile(
    r'([a-z_]+(?:\[\d+\]|\.[^\s".\[]+)*) (?:is|has|lacks|names|holds|would be|")', re.ASCII
)
"""An argument that is not what it must be, at the head of what our functions say of it."""
_HINTS: Final = {
    "40P01": "others lock the same rows in another order, in transactions of their own; it is done again",
    "40001": "somebody asks for a stricter isolation; it is done again",
    "53100": "the server's disk is full: give it room; nothing is lost, and all goes on by itself then",
    "53200": "the server is out of memory: lower work_mem or max_connections, or give it more",
    "53300": "raise max_connections, or let somebody else have fewer: a node takes up to 18",
    "55P03": "lock_timeout of the role or the database ended it while somebody else held the rows",
    "58030": "the disk under the server fails: look at the server's log",
    "XX001": "data is damaged: look at the server's log, and have a backup ready",
    "XX002": "an index is damaged: reindex it, and look for why",
    "57014": "statement_timeout of the role or the database is short for it, or somebody cancelled it",
    READ_ONLY: "it leads to a standby: name all hosts in the URL, with target_session_attrs=read-write",
}


def causes(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to what it wraps: SQLAlchemy's `orig`, Django's `__cause__`, the driver's own."""
    found: BaseException | None = error
    for _ in range(_MOST_WRAPPINGS):
        if found is None:
            return
        yield found
        orig = getattr(found, "orig", None)
        found = orig if isinstance(orig, BaseException) else found.__cause__


def sqlstate_of(error: BaseException) -> str | None:
    """Return the server's SQLSTATE, whichever driver tells it and whatever wraps the driver's error."""
    for each in causes(error):
        for name in ("sqlstate", "pgcode"):
            state = getattr(each, name, None)
            if isinstance(state, str):
                return state
    return None


def hint_of(state: str) -> str | None:
    """Say what to do about a refusal that goes on, where that is known."""
    return _HINTS.get(state)


def told(error: BaseException) -> tuple[str, str | None]:
    """Return what the server said, and its hint, without what a driver puts around it."""
    for each in causes(error):
        diagnosis = getattr(each, "diag", None)
        if diagnosis is not None and diagnosis.message_primary is not None:
            return str(diagnosis.message_primary), diagnosis.message_hint
        if isinstance(each, asyncpg.PostgresError):
            return each.message or " ".join(str(one) for one in each.args), each.hint
    return str(error), None


def behind(error: BaseException) -> BaseException:
    """Return what one of our errors was made of, and any other as it is.

    (A time limit that ends a call has a cause, too: the cancellation by which it ends it.)
    """
    made_of = error.__cause__ if isinstance(error, ChimewayError) else None
    return made_of or error


def fault_of(error: BaseException) -> Fault | None:
    """Say what kind of fault this is; None for what is no database error at all."""
    if isinstance(error, ChimewayError):
        return None  # it says itself what it is
    state = sqlstate_of(error)
    if state is not None:
        return _fault_of_state(state)
    for each in causes(error):
        found = _fault_of_class(each)
        if found is not None:
            return found
    return None


def passes(error: BaseException) -> bool:
    """Say whether it is a fault of a moment: what failed may be done again, as it is."""
    return fault_of(error) in PASSING


def _fault_of_state(state: str) -> Fault:
    if state.startswith("CW"):
        return "refused"
    if state.startswith(_CONNECTION_CLASSES) and state != "57014":
        return "connection"
    if state in _ENDED_BY_THE_SERVER:
        return "connection"
    if state.startswith(_RETRY_CLASSES) or state in {"57014", READ_ONLY}:
        return "retry"
    if state.startswith(_BROKEN_CLASSES):
        return "broken"
    return "bad"


def _fault_of_class(error: BaseException) -> Fault | None:
    if isinstance(error, asyncpg.PostgresError):
        return "bad"
    if isinstance(error, asyncpg.InternalClientError):
        return "connection"  # the driver's own confusion after a connection died under an operation
    if isinstance(error, asyncpg.InterfaceError):
        text = str(error).lower()
        given_back = "released back" in text  # by its caller: a mistake, not a loss
        lost = any(word in text for word in ("closed", "closing", "connection")) and not given_back
        return "connection" if lost else "bad"
    if isinstance(error, OSError | asyncio.TimeoutError | asyncio.IncompleteReadError | EOFError):
        return "connection"
    if isinstance(error, ValueError | asyncpg.DataError | UnicodeError):
        return "bad"
    lineage = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    if ("psycopg", "PipelineAborted") in lineage:
        return "bad"  # what stands in a pipeline behind a refusal is not tried; the connection is there
    if any(module in _LIBPQ_DRIVERS and name in _LOST for module, name in lineage):
        return "connection"  # without an SQLSTATE no server has spoken
    return None


def lost_by(error: BaseException) -> str:
    """Say how the connection was lost; the driver's words about its own state say nothing to a reader."""
    if sqlstate_of(error) is not None:
        return told(error)[0]
    if isinstance(error, asyncio.TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "no host is there that is what target_session_attrs asks for"
    if isinstance(error, asyncpg.InternalClientError | asyncpg.InterfaceError):
        return "the connection was lost"
    return str(error) or type(error).__name__


def translate(error: BaseException) -> ChimewayError | None:
    """Return our error for one of our functions' refusals or for an unreachable database, or None."""
    kind = _REFUSALS.get(sqlstate_of(error) or "")
    if kind is not None:
        message, hint = told(error)
        said = message.partition(": ")[2] or message
        named = _NAMED.match(said) if kind is InvalidInput else None
        return kind(said, hint=hint, field=named[1]) if named else kind(said, hint=hint)
    if fault_of(error) == "connection":
        hint = "look at the database URL, and whether a server runs and listens there"
        return DatabaseUnavailable(f"the database cannot be reached ({lost_by(error)}): {hint}", hint=hint)
    return None

"""One answer to the question "is this database error expected?"; every retry asks it here."""

import asyncio
from typing import Literal, TypeAlias

import asyncpg

from chimeway.errors import (
    ChimewayError,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidDataReference,
    InvalidDefinition,
    InvalidInput,
    NowInFuture,
    UnknownWorkflow,
    WorkflowDefinitionVersionConflict,
    WorkflowRunNotFound,
)

Fault: TypeAlias = Literal["connection", "retry", "refused", "bad"]
"""connection: the answer may be lost, connect again; retry: the transaction did not happen, do it
again; refused: our own functions said no; bad: the statement or its arguments are at fault."""

LEASE_LOST = "CW009"


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
}
_RETRY_CLASSES = ("40", "53", "55")
_CONNECTION_CLASSES = ("08", "57")


def fault_of(error: BaseException) -> Fault | None:
    """Say what kind of fault this is; None for what is no database error at all."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith("CW"):
            return "refused"
        if state.startswith(_CONNECTION_CLASSES) and state != "57014":
            return "connection"
        if state.startswith(_RETRY_CLASSES) or state in {"57014", "25006"}:
            return "retry"
        return "bad"
    if isinstance(error, asyncpg.InternalClientError):
        return "connection"  # the driver's own confusion after a connection died under an operation
    if isinstance(error, asyncpg.InterfaceError):
        closed = "closed" in str(error) or "connection" in str(error).lower()
        return "connection" if closed else "bad"
    if isinstance(error, OSError | asyncio.TimeoutError | asyncio.IncompleteReadError | EOFError):
        return "connection"
    if isinstance(error, ValueError | asyncpg.DataError | UnicodeError):
        return "bad"
    return None


def translate(error: BaseException) -> ChimewayError | None:
    """Return our error for one of our functions' refusals or for an unreachable database, or None."""
    if isinstance(error, asyncpg.PostgresError):
        kind = _REFUSALS.get(error.sqlstate or "")
        if kind is not None:
            message = str(error.message or error).partition(": ")[2] or str(error)
            return kind(message, hint=error.hint)
    if fault_of(error) == "connection":
        text = str(error) or type(error).__name__
        return DatabaseUnavailable(f"the database cannot be reached ({text})")
    return None

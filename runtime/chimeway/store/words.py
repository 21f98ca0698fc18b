"""The database's refusals in our words, whichever driver brought them and whatever wraps it."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from chimeway.errors import ChimewayError, DatabaseUnavailable, NotPermitted, SchemaMismatch
from chimeway.store.faults import READ_ONLY, fault_of, hint_of, sqlstate_of, told, translate

# Schema, table, function: what a database without ours answers.
_NO_FUNCTION: Final = "42883"
_LATER_TABLES: Final = (
    "chimeway.tenants", "chimeway.api_tokens", "chimeway.request_answers", "chimeway.operator_actions",
    "chimeway.producers", "chimeway.restored_deliveries", "chimeway.leases", "chimeway.workflow_runs_waiting",
)  # fmt: skip
"""Of those that came with a later version, what verbs ask."""
_BRING_IT_UP: Final = "bring it up: chimeway db migrate"  # what is missing came with a later version
_ABSENT: Final = frozenset({"3F000", "42P01", _NO_FUNCTION})
# A wrong password, role or database name, too many connections, a database closed for maintenance: the
# server is there, and lets nobody in. No statement of ours gives one of these by itself.
_NO_ENTRY: Final = ("28", "3D000", "53300", "55000")
_REFUSED_LOGIN: Final = re.compile(r"connection to server .* FATAL:\s+(?P<why>(?!the database system is).+)")
_NO_RIGHT: Final = "42501"
AGAIN: Final = ("40001", "40P01")
"""The transaction did not happen: under a strict isolation that the database sets, it is done again."""
TRIES: Final = 5


@contextmanager
def in_our_words(besides: Callable[[Exception], ChimewayError | None] | None = None) -> Iterator[None]:
    """Turn the database's refusals into our errors; what is not ours is raised as it is.

    Args:
        besides: turns what is none of these; for whom more is ours than for a program that asks again.
    """
    try:
        yield
    except ChimewayError:
        raise
    except Exception as error:
        ours = _shown_out(error) or translate(error) or refusal(error)
        if ours is None and besides is not None:
            ours = besides(error)
        if ours is None:
            raise
        raise ours from error


def for_people() -> AbstractContextManager[None]:
    """As `in_our_words`; what the server will not do just now, no node asks again, so that is put so, too."""
    return in_our_words(_not_now)


def _not_now(error: Exception) -> DatabaseUnavailable | None:
    """Return our error for what is no fault of who asks: no room, a time limit, another's lock."""
    if fault_of(error) not in {"retry", "broken"}:
        return None
    state, (message, _) = sqlstate_of(error) or "", told(error)
    hint = None if state in AGAIN else hint_of(state)
    hint = hint or "ask again; if it says so often, look at the server's log"
    return DatabaseUnavailable(f"the database did not do it ({message}): {hint}", hint=hint)


def _shown_out(error: Exception) -> ChimewayError | None:
    """Tell a server that refuses a login from one that is not there: libpq gives no SQLSTATE then."""
    if sqlstate_of(error) is not None or fault_of(error) != "connection":
        return None
    found = _REFUSED_LOGIN.search(str(error))
    return None if found is None else _no_entry(found["why"])


def _no_entry(why: str, hint: str | None = None) -> DatabaseUnavailable:
    hint = hint or "look at the database URL: its user, password and database name"
    return DatabaseUnavailable(f"the database lets nobody in ({why}): {hint}", hint=hint)


def refusal(error: BaseException) -> ChimewayError | None:
    """Return our error for what a server said no to, with what to do; None for anything else."""
    state, (message, _) = sqlstate_of(error) or "", told(error)
    if state in _ABSENT and "chimeway" in message:
        later = state == _NO_FUNCTION or any(table in message for table in _LATER_TABLES)
        return SchemaMismatch(
            f"the database has no chimeway schema that fits ({message})",
            hint=_BRING_IT_UP if later else "install it: chimeway db init",
        )
    if state.startswith(_NO_ENTRY):
        return _no_entry(message, hint_of(state))
    if state == READ_ONLY:
        hint = "name the primary (target_session_attrs=read-write), and begin no READ ONLY transaction"
        return DatabaseUnavailable(f"the database only lets itself be read ({message}): {hint}", hint=hint)
    if state == _NO_RIGHT:
        hint = "grant it one of the roles that `chimeway db roles` makes, or ask somebody who has one"
        return NotPermitted(f"this role may not do this ({message})", hint=hint)
    return None

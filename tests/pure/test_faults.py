"""Every error of PostgreSQL that says something about the server, and what is done about it."""

from typing import Final

import asyncpg
import pytest

from chimeway.store.faults import PASSING, Fault, fault_of, hint_of

BY_CLASS: Final[dict[str, Fault]] = {
    "08": "connection",  # the connection itself
    "0A": "bad",
    "22": "bad",  # data
    "23": "bad",  # constraints
    "25": "bad",  # the state of a transaction: ours are single statements
    "28": "bad",  # who may enter
    "3D": "bad",
    "40": "retry",  # rolled back
    "42": "bad",  # syntax and rights
    "53": "retry",  # resources
    "54": "bad",  # limits of the program
    "55": "retry",  # somebody else is at it
    "57": "connection",  # operators: the session ends
    "58": "broken",  # the system below
    "CW": "refused",
    "P0": "bad",  # somebody's own trigger
    "XX": "broken",  # what should not be
}
EXCEPT: Final[dict[str, Fault]] = {
    "25006": "retry",  # a standby
    "25P03": "connection",
    "25P04": "connection",
    "57014": "retry",  # the statement ends, the session goes on
}
KNOWN: Final = sorted(
    {
        error.sqlstate
        for error in vars(asyncpg).values()
        if isinstance(error, type) and issubclass(error, asyncpg.PostgresError) and error.sqlstate
    }
)


def _said(state: str) -> Exception:
    return asyncpg.PostgresError.new({"C": state, "M": "said", "S": "ERROR"})


@pytest.mark.parametrize("group", BY_CLASS)
def test_every_error_of_a_class_is_taken_as_the_table_says(group: str) -> None:
    """All that the driver knows of this class, and one of it that nobody has heard of yet."""
    states = [state for state in KNOWN if state[:2] == group]
    for state in [*states, f"{group}Z99"]:
        assert fault_of(_said(state)) == EXCEPT.get(state, BY_CLASS[group]), state
    assert states or group == "CW"


def test_what_passes_is_nobodys_fault() -> None:
    """Whoever waits for it to pass need not know why; and a hint names only what passes."""
    assert sorted(map(str, PASSING)) == ["broken", "connection", "retry"]
    hinted = [state for state in KNOWN if hint_of(state)]
    assert {"58030", "XX001", "53100", "25006"} <= set(hinted)
    assert {fault_of(_said(state)) for state in hinted} <= PASSING

"""`connection=`: the verbs take part in the caller's transaction, and leave it to the caller."""

import pytest

from clients.lenders import LENDERS, lender
from clients.play import PLAYS, Bystander


@pytest.mark.parametrize("kind", LENDERS)
def test_each_kind_of_connection(kind: str, database_url: str) -> None:
    """On each kind commit, rollback, savepoint rollback and an error inside are as `play` says."""
    with Bystander(database_url) as other, lender(kind, database_url) as caller:
        for play in PLAYS:
            play(caller, other)

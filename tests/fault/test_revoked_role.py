"""Somebody takes a node's role away while it works: it ends, and says what is to be done."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kit.bare import run
from kit.daemon import running_daemon
from kit.home import GUIDE, home
from kit.logins import as_role, logins


@pytest.fixture
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def test_a_node_whose_role_is_taken_away_says_so(
    names: Mapping[str, str], database_url: str, tmp_path: Path
) -> None:
    """It ends as one does that may not work from the start: exit code 3, the stable code, and the hint."""
    await run(database_url, "select chimeway.grant_roles()")
    async with running_daemon(as_role(database_url, names["daemon"]), home(tmp_path, GUIDE)) as daemon:
        await run(database_url, f"revoke chimeway_daemon from {names['daemon']}")
        assert await daemon.exit_code() == 3, daemon.tail()
        assert "error[not_permitted]: this role may not do this" in daemon.tail()
        assert "chimeway db roles" in daemon.tail()
        assert "Traceback" not in daemon.tail()

"""`chimeway prune`: what leaves is counted first, then removed; and what it says of itself."""

from pathlib import Path

import pytest

from chimeway.store.pool import Database
from kit.command import inside
from store.verify_world import played

KEPT = (
    "ended runs are kept for P90D, signals are kept for P30D, idempotency keys are kept for P30D, "
    "texts of messages are kept for P7D, deeds of operators are kept for P400D\n"
)


async def test_it_counts_and_removes(clock_database: Database, tmp_path: Path) -> None:
    """Nothing is old enough; then a dry run says what would leave, and the real one that it left."""
    world = await played(clock_database)
    url = clock_database.url
    assert (await inside("prune", url=url)).out == f"nothing is old enough to leave\n{KEPT}"
    await world.pass_time(24 * 91)
    counted = await inside("prune", "--dry-run", url=url)
    assert counted.code == 0
    assert counted.out.splitlines()[0].split() == ["TABLE", "WOULD", "LEAVE"]
    assert counted.out.endswith(KEPT)
    assert (await inside("prune", "--tenant", "other", url=url)).out.startswith(
        "nothing of tenant other is old enough to leave\n"
    )
    told = (await inside("prune", "--json", "--batch", "2", "--rest", "0", url=url)).json
    assert (told["dry_run"], told["complete"], told["tenant"]) == (False, True, None)
    assert told["kept"]["ended runs"] == "P90D"
    rows = [line.split() for line in counted.out.splitlines()[1:-1]]
    assert {table: int(many) for table, many in rows} == told["removed"]
    (tmp_path / "chimeway.toml").write_text('retention_completed = "PT1S"\n')
    assert (await inside("prune", url=url, cwd=tmp_path)).out.startswith("nothing is old enough")
    gone = await inside("explain", str(world.runs["reader"]), url=url)
    assert (gone.code, "workflow_run_not_found" in gone.err) == (3, True)
    assert (await inside("verify", "--max-lateness", "P999D", url=url)).code == 0


@pytest.mark.parametrize("args", [("--batch", "0"), ("--batch", "1001"), ("--rest", "-1")])
async def test_a_wrong_option_is_refused(args: tuple[str, str]) -> None:
    """Before anything is asked of a database."""
    assert (await inside("prune", *args, url="postgresql://nobody@127.0.0.1:1/nothing")).code == 2

"""`chimeway replay`: decisions made again, from what was written down."""

import sys
from collections.abc import Sequence
from typing import Annotated, Final, get_args

import typer

from chimeway.cli import finding, session
from chimeway.cli.options import AsJson, DatabaseUrl, EveryTenant, Sample, Seed, Since, examples
from chimeway.cli.printing import plain, print_json, print_line, progress
from chimeway.cli.streams import json_text
from chimeway.cli.tables import print_table
from chimeway.cli.verifying import limits_of, scope_of
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import tenant_of
from chimeway.store.replaying import Replayed, Verdict
from chimeway.store.replays import Replay, replay_all, replay_run
from chimeway.store.verify_walks import Scope
from chimeway.store.views import RunView

app = typer.Typer(rich_markup_mode=None)
_TOLD: Final = {
    "same": "the same",
    "different": "DIFFERENT",
    "not_decided": "nothing to decide",
    "unreadable": "not understood",
}
_KEPT: Final = 100
"""Differences that stand in the JSON of a replay of all; all are counted."""


@app.command(
    epilog=examples(
        "chimeway replay 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21 --tenant org_456",
        "chimeway replay --all",
        "chimeway replay --all --since P1D --json",
    )
)
def replay(
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", help="The run's id; or:", show_default=False)
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All runs there are.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            help="With --all: go on behind this run, where another had come to.", show_default=False
        ),
    ] = None,
    tenant: EveryTenant = None,
    since: Since = None,
    sample: Sample = None,
    seed: Seed = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make decisions again from their inputs; exit 1 if one differs.

    Every decision wrote down what it went by. Decided again by the program that you run, it must come out
    the same: the same transitions, messages and signals. Nothing is written.
    """
    if every == (run_id is not None):
        raise typer.BadParameter("give one of RUN_ID and --all")
    if run_id is None:
        _replay_all(scope_of(tenant, since, sample, seed), after, database_url, as_json=as_json)
    elif (after, since, sample, seed) != (None, None, None, None):
        raise typer.BadParameter("--after, --since, --sample and --seed are of --all")
    else:
        _replay_one(run_id, tenant, database_url, as_json=as_json)


def _replay_one(run_id: str, tenant: str | None, database_url: str | None, *, as_json: bool) -> None:
    async def ask(client: Chimeway) -> tuple[RunView, list[Replayed]]:
        async with finding.in_its_tenant(client, run_id):
            meant = checks.uuid("run_id", run_id)
            return await replay_run(client.database, meant, tenant_of(tenant, None))

    run, found = session.run(database_url, ask)
    if as_json:
        print_json({"run": run, "decisions": found})
    else:
        _tell(run, found)
    sys.exit(1 if any(each.verdict == "different" for each in found) else 0)


def _replay_all(scope: Scope, after: str | None, database_url: str | None, *, as_json: bool) -> None:
    if after is not None and scope.sample is not None:
        raise typer.BadParameter("--after goes by the order of runs: leave --sample out")
    come = Replay(place=None if after is None else checks.uuid("after", after))
    kept: list[Replayed] = []

    def found(one: Replayed) -> None:
        if not as_json:
            _tell_difference(one, str(one.run_id))
        elif len(kept) < _KEPT:
            kept.append(one)

    async def ask(client: Chimeway) -> None:
        with progress("replaying") as tell:
            told = lambda replay: tell(f"{replay.runs} runs so far")  # noqa: E731  (a line where it is used)
            await replay_all(client.database, scope, found, told, come=come)

    try:
        session.run(database_url, ask)
    except BaseException:
        if come.place is not None:
            print(f"replayed as far as run {come.place}: go on with --after {come.place}", file=sys.stderr)
        raise
    different = come.decisions["different"]
    if as_json:
        counts = {name: come.decisions[name] for name in get_args(Verdict)}
        print_json(
            {"runs": come.runs, "decisions": counts, "place": come.place, "scope": scope, "different": kept}
        )
    else:
        _tell_all(come, scope)
    sys.exit(1 if different else 0)


def _tell(run: RunView, found: Sequence[Replayed]) -> None:
    of = f"{run.workflow_key} version {run.workflow_version}"
    print_line(f"run {run.id} of {of} for {run.recipient_id}: {run.state}")
    rows = ((each.at, _numbers(each), ", ".join(each.reasons), _TOLD[each.verdict]) for each in found)
    print_table(("AT", "TRANSITIONS", "WRITTEN", "DECIDED AGAIN"), rows)
    for each in found:
        if each.verdict == "different":
            _tell_difference(each, f"transitions {_numbers(each)}")
    decided = [each.verdict for each in found if each.verdict != "not_decided"]
    wrong = decided.count("different")
    told = f"{wrong} of {len(decided)} differ" if wrong else "all the same"
    print_line(f"{len(decided)} decisions: {told}")


def _tell_difference(one: Replayed, where: str) -> None:
    print_line(f"{where}: decision {one.decision_id}: {one.fault}")
    for name, of in (("written", one.written), ("decided again", one.again)):
        for part, value in (of or {}).items():
            if one.fault is not None and part in one.fault:
                print_line(f"  {name}, {part}: {json_text(plain(value), sys.stdout)}")


def _tell_all(come: Replay, scope: Scope) -> None:
    decided = come.decisions["same"] + come.decisions["different"]
    wrong = come.decisions["different"]
    if unread := come.decisions["unreadable"]:
        print_line(f"{unread} decisions are of definitions that this program does not understand")
    told = f"{wrong} differ" if wrong else "all the same"
    print_line(f"{come.runs} runs{limits_of(scope)}, {decided} decisions: {told}")


def _numbers(one: Replayed) -> str:
    return str(one.first) if one.first == one.last else f"{one.first} to {one.last}"

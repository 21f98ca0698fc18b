"""`chimeway wake` and `retime`: runs that stand are evaluated, waits are moved; one, or many at once."""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import typer

from chimeway.cli import finding, logged_in, session
from chimeway.cli.confirming import confirm
from chimeway.cli.options import AllTenants, AsJson, DatabaseUrl, Note, Tenant, Yes, examples
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.cli.reading_files import instant
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.clock import SystemClock
from chimeway.errors import RunBusy
from chimeway.limits import CONSOLE_AT_ONCE, CONSOLE_PLAN
from chimeway.settings import Settings
from chimeway.store import callers, console, console_actions
from chimeway.store.console import Chosen, WaitFilter
from chimeway.store.console_actions import PlanAction, When
from chimeway.web.console.outcomes import code_of, message_of, told_of_plan
from chimeway.workflow.durations import LONGEST_DAYS, parse_duration

app = typer.Typer(rich_markup_mode=None)
_REFUSED: Final = 3
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Now, by the database's clock, which never moves a wait to before that: ours may be ahead."""
_FARTHEST: Final = timedelta(days=LONGEST_DAYS)
"""Of what the database takes, found before anything is counted."""
_MORE: Final[Mapping[PlanAction, str]] = {
    "wake": "There are more: do it again.",
    # Who was moved waits still, so the same words would choose him once more.
    "retime": "There are more. The same again may move some of these twice: narrow it, by --before, say.",
}
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN_ID]...", help="Which runs; or:", show_default=False)
]
Overdue = Annotated[bool, typer.Option("--overdue", help="All that `chimeway overdue` lists.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="All that wait, or of these only:")]
Workflow = Annotated[str | None, typer.Option(help="Those of this workflow that wait.", show_default=False)]
Step = Annotated[str | None, typer.Option(help="Those that wait at this step.", show_default=False)]
Before = Annotated[
    str | None,
    typer.Option(help="Those whose wait is over before this instant, RFC 3339.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count them, and do nothing.")]


class Which(NamedTuple):
    """Which runs are meant: by id, or by what holds for them."""

    ids: list[str] | None
    overdue: bool
    waiting: bool
    workflow: str | None
    step: str | None
    before: str | None
    tenant: str | None
    all_tenants: bool

    def check(self) -> None:
        """Refuse what names none, or names them twice."""
        waits = self.waiting or any(each is not None for each in self[3:6])
        if sum((bool(self.ids), self.overdue, waits)) != 1:
            raise typer.BadParameter(
                "give RUN_IDs, or --overdue, or some of --waiting, --workflow, --step, --before"
            )
        if self.all_tenants and (self.ids or self.tenant is not None):
            raise typer.BadParameter("--all-tenants goes with neither RUN_IDs nor --tenant")

    @property
    def whose(self) -> str | None:
        """Whose they are; None: of all tenants."""
        return None if self.all_tenants else self.tenant or DEFAULT_TENANT


class Done(NamedTuple):
    """How many were chosen, whether there are more, and what came of them; None: nothing was done."""

    chosen: Chosen
    came: dict[UUID, str] | None


@app.command(
    epilog=examples(
        "chimeway wake 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21",
        "chimeway wake --overdue --all-tenants --dry-run",
    )
)
def wake(
    run_ids: Ids = None,
    *,
    overdue: Overdue = False,
    waiting: Waiting = False,
    workflow: Workflow = None,
    step: Step = None,
    before: Before = None,
    all_tenants: AllTenants = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Have runs evaluated now that ought to move.

    That is who is due, waits for a node, or is on a message that has ended. Nothing of their journeys is
    changed; who waits on purpose goes on waiting. By RUN_ID it is done at once; many are counted first, and
    asked about (--yes: not). Who did it is written down.
    """
    which = Which(run_ids, overdue, waiting, workflow, step, before, tenant, all_tenants)
    _act("wake", which, When(), database_url, note=None, dry=dry_run, yes=yes, as_json=as_json)


@app.command(
    epilog=examples(
        "chimeway retime 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21 --now --note 'she asked for it'",
        "chimeway retime --workflow mention_escalation --before 2026-12-24T12:00:00Z --by PT6H --dry-run",
    )
)
def retime(
    run_ids: Ids = None,
    *,
    to: Annotated[str | None, typer.Option(help="When it is over, RFC 3339.", show_default=False)] = None,
    by: Annotated[
        str | None,
        typer.Option(help="How much later, ISO 8601 like PT6H; -PT6H: earlier.", show_default=False),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="It is over now.")] = False,
    overdue: Overdue = False,
    waiting: Waiting = False,
    workflow: Workflow = None,
    step: Step = None,
    before: Before = None,
    all_tenants: AllTenants = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    note: Note = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Move when waits are over.

    To an instant, by a span, or to now; never before now. Signals end them before, as ever. By RUN_ID it is
    done at once; many are counted first, and asked about (--yes: not). Their audit says so (wait_retimed),
    and who did it is written down.
    """
    which = Which(run_ids, overdue, waiting, workflow, step, before, tenant, all_tenants)
    when = _when(to, by, now=now)
    _act("retime", which, when, database_url, note=checks.note(note), dry=dry_run, yes=yes, as_json=as_json)


def _when(to: str | None, by: str | None, *, now: bool) -> When:
    if (to is not None) + (by is not None) + now != 1:
        raise typer.BadParameter("give one of --to, --by and --now")
    if by is not None:
        span = _span(by)
        if abs(span) > _FARTHEST:
            raise typer.BadParameter("--by is more than ten years: nothing waits for so long")
        return When(by=span)
    at = _LONG_AGO if now else instant("--to", to)
    if at is not None and at > SystemClock().now() + _FARTHEST:
        raise typer.BadParameter("--to is more than ten years away: nothing waits for so long")
    return When(at=at)


def _span(text: str) -> timedelta:
    begins = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    length = text.removeprefix("-")
    try:
        if "M" in length.partition("T")[0] or "Y" in length:
            raise ValueError("months and years have no fixed length")
        span = parse_duration(length).after(begins, "UTC") - begins
    except ValueError as fault:
        raise typer.BadParameter(f"--by is no duration like PT6H or P1D: {fault}") from None
    return span if length == text else -span


def _act(
    action: PlanAction, which: Which, when: When, database_url: str | None, *, note: str | None, dry: bool,
    yes: bool, as_json: bool,
) -> None:  # fmt: skip
    which.check()
    before = instant("--before", which.before)
    lateness = Settings(database_url=database_url).max_lateness

    async def ask(client: Chimeway) -> Done:
        if which.ids:
            chosen = await _by_id(client, which.ids, which.tenant)
        elif which.overdue:
            chosen = await callers.run(client.database, console.choose_overdue(which.whose, lateness))
        else:
            room = WaitFilter(which.whose, which.workflow, which.step, before)
            chosen = await callers.run(client.database, console.choose_waiting(room))
        if dry or not chosen.run_ids:
            return Done(chosen, None)
        if not which.ids and not yes:
            confirm(f"{_counted(chosen)}. {action.capitalize()} them?")
        return Done(chosen, await _done(client, action, which, chosen, note, when))

    _tell(action, session.run(database_url, ask), by_id=bool(which.ids), as_json=as_json)


async def _by_id(client: Chimeway, texts: list[str], tenant: str | None) -> Chosen:
    ids = [checks.uuid("run_id", text) for text in dict.fromkeys(texts)]
    if len(ids) > CONSOLE_PLAN:
        raise typer.BadParameter(f"at most {CONSOLE_PLAN} RUN_IDs at a time")
    for run_id in ids:
        async with finding.in_its_tenant(client, run_id):
            await client.get_run(run_id, tenant=tenant)
    return await callers.run(client.database, console.choose_runs(ids))


async def _done(
    client: Chimeway, action: PlanAction, which: Which, chosen: Chosen, note: str | None, when: When
) -> dict[UUID, str]:
    came: dict[UUID, str] = {}
    who, many = logged_in.operator(which.whose), len(chosen.run_ids)
    try:
        with progress("waking" if action == "wake" else "moving") as tell:
            async for batch in console_actions.act_on_many(
                client.database, who, action, chosen, note=note, when=when, patience_s=session.PATIENCE_S
            ):
                came |= batch
                tell(f"{len(came)} of {many}")
    except (asyncio.CancelledError, RunBusy):  # Ctrl-C, or another's lock: a batch is a transaction
        next_ = f"the next {min(CONSOLE_AT_ONCE, many - len(came))} all or none"
        print(f"cut off: {len(came)} of {many} were seen to, {next_}", file=sys.stderr)
        raise
    return came


def _counted(chosen: Chosen) -> str:
    many = len(chosen.run_ids)
    more = f", the next to go on; there are more than these {CONSOLE_PLAN}" if chosen.more else ""
    return f"{many} {'run' if many == 1 else 'runs'}{more}"


def _tell(action: PlanAction, done: Done, *, by_id: bool, as_json: bool) -> None:
    chosen, came = done
    counts = Counter((came or {}).values())
    others = (
        {}
        if came is None
        else {each: out for each, out in came.items() if not console_actions.did(action, out)}
    )
    if as_json:
        print_json({
            "dry_run": came is None, "chosen": len(chosen.run_ids), "more": chosen.more, "outcomes": counts,
            "others": [{"run_id": each, "outcome": out} for each, out in others.items()],
        })  # fmt: skip
    elif not chosen.run_ids:
        print_line("There is no such run.")
    elif came is None:
        print_line(f"{_counted(chosen)}; nothing was done.")
    elif by_id:
        for run_id, outcome in came.items():
            told = message_of(code_of(action, outcome))
            print_line(f"{run_id}: {told.text if told else outcome}")
    else:
        for outcome, many in counts.most_common():
            print_line(f"{many} {told_of_plan(outcome)}")
        if chosen.more:
            print_line(_MORE[action])
    sys.exit(_REFUSED if by_id and others else 0)

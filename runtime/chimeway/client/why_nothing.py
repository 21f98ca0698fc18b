"""The sentences of `explain` where there is no run: what rows say, and what no row can say. Pure.

A trigger that is refused writes nothing, nor does one whose transaction is rolled back; so the answer to "why
was nothing triggered?" is what is there instead, and then the list of what leaves no trace.
"""

import shlex
from collections.abc import Iterator
from datetime import timedelta

from chimeway.client.finding import many, seconds
from chimeway.client.words import listed
from chimeway.spelling import did_you_mean
from chimeway.store.absences import Absence, KeyEvent


def why_nothing(found: Absence, *, keys_kept: timedelta, runs_kept: timedelta) -> list[str]:
    """Return why there is no run, as far as rows say.

    Args:
        found: what rows say.
        keys_kept: how long an idempotency key is known.
        runs_kept: how long a run is kept after its end.
    """
    return [
        *_of_key(found, keys_kept),
        *_of_workflow(found),
        *_of_recipient(found, runs_kept),
        *_elsewhere(found),
        *_untold(found),
    ]


def _of_key(found: Absence, kept: timedelta) -> Iterator[str]:
    sought, event = found.sought, found.event
    if sought.key is None:
        return
    if event is None:
        yield (
            f'No event has the idempotency key "{sought.key}": no trigger with it was committed here in the'
            f" last {_days(kept)}, for so long keys are known."
        )
        return
    yield (
        f"The key began {event.workflow_key} version {event.workflow_version} on {_instant(event.created_at)}"
        f" for {many(event.people, 'recipient')}. A trigger with the same key later was answered with that,"
        " and wrote nothing."
    )
    if not event.named:
        yield f"{sought.recipient} was not among them (or has been forgotten since: then the name is gone)."
    yield from _left(event)


def _left(event: KeyEvent) -> Iterator[str]:
    gone = event.people - event.runs
    if event.forgotten:
        yield f"{many(event.forgotten, 'recipient')} of it are known by name no longer: forgotten, or pruned."
    if gone:
        runs = many(gone, "run")
        yield f"{runs} of it ended so long ago that retention has removed {'it' if gone == 1 else 'them'}."


def _of_workflow(found: Absence) -> Iterator[str]:
    key, versions = found.sought.workflow, found.versions
    if key is None:
        return
    if not versions:
        near = did_you_mean(key, found.workflows, said=lambda word: f'"{word}"')
        yield (
            f'No workflow "{key}" is registered{near}: a trigger of it is refused (unknown_workflow), and'
            " writes nothing. chimeway workflow list shows those there are."
        )
        return
    newest = versions[0]
    since = _instant(versions[-1].registered_at)
    yield f"{key} is registered since {since}, now in version {newest.version}."
    paused = [version for version in versions if version.paused_at is not None]
    if paused and paused[0].paused_at is not None:
        yield (
            f"It has been paused since {_instant(paused[0].paused_at)}: triggers are taken all the same, so"
            " that is not why there is no run."
        )


def _of_recipient(found: Absence, kept: timedelta) -> Iterator[str]:
    who = found.sought.recipient
    if who is None:
        return
    if found.channels is None:
        yield (
            f"{who} has no profile. That keeps no run from being started: in_app works without, and other"
            " channels' messages are suppressed (no_address)."
        )
    elif not found.channels:
        yield f"{who} has a profile without any address. That keeps no run from being started."
    else:
        yield f"{who} has a profile, with an address for {listed(found.channels, 'and')}."
    if found.newest is None:
        left = f"runs leave {_days(kept)} after their end, and lose their name with forgetting"
        yield f"{who} has no run of any workflow; {left}."
        return
    run = found.newest
    yield (
        f"Their newest run is {run.id} of {run.workflow_key} version {run.workflow_version}, {run.state}, of"
        f" {_instant(run.created_at)}: chimeway explain {run.id}{_of(run.tenant_id)}"
    )


def _elsewhere(found: Absence) -> Iterator[str]:
    if not found.elsewhere:
        return
    what = "This key is known" if found.sought.key is not None else f"{found.sought.recipient} has a profile"
    tenants = listed([f'"{tenant}"' for tenant in found.elsewhere[:5]], "and")
    yield f"{what} in tenant {tenants}: try --tenant {shlex.quote(found.elsewhere[0])}"


def _untold(found: Absence) -> Iterator[str]:
    if found.open_s is not None:
        yield (
            f"A transaction has been open for {seconds(found.open_s)}: what it triggered is seen when it"
            " commits (chimeway doctor, snapshots)."
        )
    yield (
        "What leaves no trace: a trigger that was refused (its caller got the error), one in a transaction"
        " that was rolled back, and one that was never called. Preferences, quiet hours and caps keep no run"
        " from being started: what they did stands in the run's explanation."
    )


def _of(tenant: str) -> str:
    return "" if tenant == "default" else f" --tenant {shlex.quote(tenant)}"


def _instant(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M:%SZ}"


def _days(length: timedelta) -> str:
    return many(length.days, "day") if length.days else seconds(length.total_seconds())

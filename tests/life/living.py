"""The same life twice, in the engine and on paper; and both written down in one form, to be compared."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from chimeway import Bounced, PermanentFailure, RateLimited, TransientFailure, UnknownOutcome
from chimeway.client.explanation import Explanation
from chimeway.store.views import DeliveryView
from chimeway.testing.journey import Journey
from life.model import Life
from life.records import Failing, Run
from life.script import Event

PERSON = "ada-of-2026"


async def live(journey: Journey, life: Life, events: list[Event], end: datetime) -> None:
    """Do all of it to both, each at its moment."""
    runs: list[str] = []
    for event in events:
        await journey.advance_to(event.at)
        life.advance_to(event.at)
        await _do(journey, life, event, runs)
    await journey.advance_to(end)
    life.advance_to(end)


async def _do(journey: Journey, life: Life, event: Event, runs: list[str]) -> None:
    match event.verb, event.args:
        case "fail", (channel, *failures):
            life.failures[channel].extend(failures)
            for failure in failures:
                journey.fail_next(channel, _raised(failure), after_send=failure.arrived)
            return
        case "trigger", (key, data):
            receipt = await journey.trigger(key, data, recipients=[PERSON])
            runs.append(str(receipt.run_ids[0]))
        case "signal", (kind, payload):
            await journey.signal(kind, actor=PERSON, payload=payload)
        case "cancel", (number,):
            await journey.cancel(runs[number])
        case "identify", (change,):
            reach = {"push": change["push"]} if "push" in change else None
            rest = {k: v for k, v in change.items() if k not in {"push", "sms"}}
            phone = {"phone": change["sms"]} if "sms" in change else {}
            await journey.identify(PERSON, addresses=reach, **phone, **rest)
        case "configure", (change,):
            await journey.configure_tenant(**change)
        case ("unsubscribe" | "resubscribe") as verb, (key, channel):
            await getattr(journey.client, verb)(PERSON, workflow=key, channel=channel)
            await journey.settle()
        case unknown:
            raise AssertionError(unknown)
    getattr(life, event.verb)(*event.args)


def _raised(failure: Failing) -> BaseException:
    match failure.kind:
        case "transient":
            return TransientFailure(retry_after=failure.after_s or None)
        case "rate_limited":
            return RateLimited(failure.after_s)
        case "bounced":
            return Bounced()
        case "permanent":
            return PermanentFailure()
    return UnknownOutcome("the answer was lost")


def as_planned(life: Life) -> list[list[str]]:
    """Write down each run of the model, a line for each thing that happened to its messages."""
    return [[_run(run.plan.key, run.state, run.began, run.ended), *_mails(run)] for run in life.runs]


def _mails(run: Run) -> Iterator[str]:
    for mail in run.mails:
        yield _mail(mail.visit, mail.step, mail.channel, mail.status, mail.reason, mail.at, mail.ended)
        for row in mail.judged:
            said = row.said
            yield _verdict(row.stage, said.kind, said.reason, said.until, row.at)
        for at, kind in mail.attempts:
            yield f"    called {_at(at)}: {kind}"


def as_lived(runs: list[Explanation]) -> list[list[str]]:
    """Write down the engine's, from its rows."""
    return [
        [
            _run(told.run.workflow_key, told.run.state, told.run.created_at, told.run.ended_at),
            *(line for row in told.deliveries for line in _rows(row)),
        ]
        for told in runs
    ]


def _rows(row: DeliveryView) -> Iterator[str]:
    yield _mail(
        row.visit,
        row.step_id,
        row.channel,
        row.status,
        row.suppression_reason,
        row.created_at,
        row.terminal_at,
    )
    for verdict in row.verdicts:
        yield _verdict(verdict.stage, verdict.verdict, verdict.reason, verdict.until, verdict.at)
    for attempt in row.attempts:
        yield f"    called {_at(attempt.started_at)}: {attempt.error_class or attempt.outcome}"


def _run(key: str, state: str, began: datetime, ended: datetime | None) -> str:
    return f"{key} from {_at(began)}: {state} at {_at(ended)}"


def _mail(
    visit: int, step: str, channel: str, status: str, reason: str | None, at: datetime, ended: datetime | None
) -> str:
    return f"  {visit} {step} ({channel}) from {_at(at)}: {status} {reason or ''} at {_at(ended)}"


def _verdict(stage: str, kind: str, reason: str | None, until: datetime | None, at: datetime) -> str:
    return f"    {stage} {_at(at)}: {kind} {reason or ''} {'' if until is None else _at(until)}"


def _at(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%m-%d %H:%M:%S.%f}"


def counted(life: Life) -> str:
    """Return in words what the life came to."""
    mails = [mail for run in life.runs for mail in run.mails]
    ended = Counter(f"{mail.status} {mail.reason or ''}".strip() for mail in mails)
    deferred = Counter(
        row.said.reason or "" for mail in mails for row in mail.judged if row.said.kind == "defer"
    )
    told = [f"{len(life.runs)} runs, {len(mails)} messages, {len(life.sent)} taken by providers"]
    told += [f"{many:5} {what}" for what, many in ended.most_common()]
    told += [f"{many:5} times put off by {what}" for what, many in deferred.most_common()]
    return "\n".join(told)

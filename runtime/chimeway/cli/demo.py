"""`chimeway demo`: a journey from a mention to an e-mail, on servers of its own, in some seconds."""

import asyncio
import signal
import sys
from typing import Final

import typer

from chimeway.cli.options import AsJson
from chimeway.cli.printing import print_json, print_line, print_sentence
from chimeway.cli.tables import print_table
from chimeway.demo import Happening, Report, play

app = typer.Typer(rich_markup_mode=None)
_INTERRUPTED: Final = 130
_ENDS_IT: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Play a journey that escalates, on servers of its own.

    From a mention to an e-mail, by a real PostgreSQL, a real node and a real SMTP server; exit 1 if what
    arrived and what the rows say do not agree. Nothing is kept: its server, its node and its
    folder are gone when it ends.
    """
    try:
        report = asyncio.run(_played(as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        for number in _ENDS_IT:  # Python's own end would give them back to who kills
            signal.signal(number, signal.SIG_IGN)
        print("interrupted; nothing is left running", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    if as_json:
        print_json(report)
    else:
        _tell_report(report)
    sys.exit(0 if report.agrees else 1)


async def _played(quiet: bool) -> Report:
    task = asyncio.current_task()
    assert task is not None, "asyncio.run runs us in one"
    loop, told = asyncio.get_running_loop(), False

    def end(*_: object) -> None:
        nonlocal told
        if told:  # told again, it would leave its cleaning half done
            return
        told = True
        if loop.is_closed():  # it has been played: what is told of it is cut short
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(task.cancel)

    for number in _ENDS_IT:  # not by the loop, which would stop listening before we are done
        signal.signal(number, end)
    return await play(_tell_nobody if quiet else _tell)


def _tell(happening: Happening) -> None:
    who = happening.who or "·"
    style = "bold" if "e-mail arrives" in happening.what else "" if happening.who else "dim"
    print_line(f"{happening.seconds:7.3f} s  {who:<5} {happening.what}", style=style)
    sys.stdout.flush()


def _tell_nobody(_happening: Happening) -> None:
    pass


def _tell_report(report: Report) -> None:
    print()
    arrived = [mail.to.partition("@")[0] for mail in report.mails]
    print_table(
        ("WHO", "RUN", "STATE", "REASON", "E-MAILS"),
        (
            (name, run.run_id, run.state, run.run.status_reason, arrived.count(name))
            for name, run in report.runs.items()
        ),
    )
    for name, run in report.runs.items():
        print()
        print_line(f"Why, for {name}:", style="bold")
        for sentence in run.why:
            print_sentence(sentence, indent="  ")
    print()
    for fault in report.faults:
        print_sentence(f"disagreement: {fault}")
    took = ", ".join(f"{part} {seconds:g} s" for part, seconds in report.timings.items())
    print_line(f"took: {took}")
    if report.agrees:
        print_line(
            f"{len(report.mails)} e-mails arrived, and the rows say the same; all invariants hold.",
            style="green",
        )
    else:
        print_line("what arrived and what the rows say do not agree", style="red")

"""The entry point: which commands there are, what an error looks like, and the exit codes.

A command's module is imported when the command is used, so that `chimeway --help` is quick.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import Annotated, Any, Final, NoReturn, Protocol, runtime_checkable

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from chimeway.cli import streams
from chimeway.errors import ChimewayError, DatabaseUnavailable, InvalidSettings
from chimeway.extras import imported

FOUND_WRONG: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNREACHABLE: Final = 4
_CODES: Final = """Exit codes: 0 all is well. 1 what was asked about is not well: faults in a
definition, violations, overdue runs. 2 a wrong option, argument or setting. 3 refused, or not
found; the stable code stands in the message. 4 the database cannot be reached. 5 the answer cannot be
written. 130 interrupted; 141 whoever read the answer went away."""

COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "serve": ("serving", "Run a node until it is told to end (SIGTERM, SIGINT)."),
        "demo": ("demo", "Play a journey that escalates, on servers of its own."),
        "db": ("db", "Install, migrate and look at the schema; make roles."),
        "workflow": ("workflow", "Check, rehearse, register and steer workflow definitions."),
        "render": ("rendering", "Show a message as a node would make it."),
        "templates": ("templating", "Check templates against the messages of workflows."),
        "trigger": ("producing", "Start one run of a workflow for each recipient."),
        "signal": ("producing", "Record that something happened."),
        "identify": ("producing", "Write a recipient's profile."),
        "recipients": ("recipients", "Look at and write profiles; export and forget people."),
        "tenants": ("tenants", "Look at what holds for whole tenants, and write it."),
        "runs": ("looking", "List runs, the newest first."),
        "explain": ("looking", "Say what happened to a run, and why."),
        "waiting": ("watching", "List who waits, for what, until when; the next to go on first."),
        "overdue": ("watching", "List runs past their wake; exit 1 if there are any."),
        "nodes": ("nodes", "List nodes and their shards; exit 1 if some are nobody's."),
        "top": ("top", "Show what is done, late and waiting, as it changes."),
        "doctor": ("doctor", "Say what is wrong, and what to do; exit 1 if something fails."),
        "inbox": ("showing_inboxes", "List a recipient's in-app items, and mark them."),
        "cancel": ("steering", "Stop a run, or all that bear a cancellation key."),
        "hold": ("steering", "Hold a run: nothing is decided or sent until it is resumed."),
        "resume": ("steering", "Let a held run go on."),
        "wake": ("moving", "Have runs evaluated now that ought to move."),
        "retime": ("moving", "Move when waits are over."),
        "deliveries": (
            "delivering",
            "List messages that failed, wait or are held; send them or not.",
        ),
        "tokens": ("tokens", "Make, list and revoke the tokens of who asks by HTTP."),
        "verify": ("verifying", "Check all invariants of a database; exit 1 if one is violated."),
        "prune": ("pruning", "Remove what has ended long ago, in small batches."),
        "replay": ("replaying", "Make decisions again from their inputs; exit 1 if one differs."),
        "bench": ("benching", "Measure how many journeys this machine carries."),
    }
)
"""Command → the module it lives in, and its sentence in the list of commands."""


@runtime_checkable
class _Shown(Protocol):
    """A fault of usage: it knows how it is written, with the usage of its command."""

    def show(self) -> None:
        """Write it to stderr."""


class _OnDemand(TyperGroup):
    """The commands by name: a sentence each, until one is used."""

    def __init__(self, **given: Any) -> None:
        """Begin with the sentences."""
        stubs = {name: TyperCommand(name, help=sentence) for name, (_, sentence) in COMMANDS.items()}
        super().__init__(**{**given, "commands": stubs})

    def list_commands(self, ctx: Any) -> list[str]:
        """Keep the order of the table: a node's life first, then the days of its operators."""
        del ctx
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command itself in the place of its sentence."""
        if args and args[0] in COMMANDS:
            with imported():
                module = import_module(f"chimeway.cli.{COMMANDS[args[0]][0]}")
            self.commands[args[0]] = _command(module.app, args[0])
        return super().resolve_command(ctx, args)


def _command(app: typer.Typer, name: str) -> Any:
    """Return a module's command of this name; a module named like it is a group of its own."""
    group = typer.main.get_group(app)
    if app.info.name != name:
        return group.commands[name]
    for each in group.commands.values():  # in the list, too, as a whole: click would cut it off
        each.short_help = each.short_help or " ".join((each.help or "").partition("\n\n")[0].split())
    return group


def _print_version(asked: bool) -> None:
    if asked:
        print(version("chimeway"))
        raise typer.Exit


app = typer.Typer(
    name="chimeway",
    cls=_OnDemand,
    epilog=_CODES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def chimeway(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Durable notification journeys on PostgreSQL."""
    del show_version


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    streams.prepare()
    with streams.written():
        try:
            code = (
                app(standalone_mode=False, prog_name="chimeway") or 0
            )  # the commands return nothing, --help and Ctrl-C a code
        except ChimewayError as error:
            _tell(error)
            code = _exit_code(error)
        except TyperException as fault:
            _tell_usage(fault)
            code = USAGE
    sys.exit(code)


def _exit_code(error: ChimewayError) -> int:
    match error:
        case DatabaseUnavailable():
            return UNREACHABLE
        case InvalidSettings():
            return USAGE
        case _:
            return REFUSED


def _tell(error: ChimewayError) -> None:
    """Write an error to stderr: its code, what was wrong, and what would be right.

    It may quote what strangers gave: nothing in it moves the cursor or turns the reading order.
    """
    hint = error.details.get("hint")
    if _for_programs():
        _tell_programs(error.code, error.message, hint)
        return
    print(f"error[{error.code}]: {_harmless(error.message)}", file=sys.stderr)
    if isinstance(hint, str) and hint not in error.message:
        print(f"  {_harmless(hint)}", file=sys.stderr)


def _tell_usage(fault: TyperException) -> None:
    """Write what was wrong with the words of a command, and how to get help."""
    if _for_programs():
        ctx = getattr(fault, "ctx", None)
        _tell_programs("usage", fault.format_message(), ctx and f"{ctx.command_path} --help")
    elif isinstance(fault, _Shown):
        fault.show()


def _for_programs() -> bool:
    return "--json" in sys.argv


def _tell_programs(code: str, message: str, hint: object) -> None:
    told = {"error": {"code": code, "message": message, "hint": hint}}
    print(streams.json_text(told, sys.stderr), file=sys.stderr)


def _harmless(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


if __name__ == "__main__":
    main()

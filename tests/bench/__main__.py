"""`make bench`: the suite, and its report in docs/benchmarks. Nothing here passes or fails.

    python -m tests.bench [B2 B4 ... | fairness hints ...] [--quick] [--full] [--pairs N] [--seconds S]
        [--messages N] [--into FOLDER] [--report] [--list]

Benches B1 to B9 lie in modules of that name and play in interleaved pairs (`frame`); their results go to
docs/benchmarks, unless they are quick ones. The older benches print what they find. With no names: B1 to B9.
"""

import argparse
import asyncio
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.bench.frame import Asked, Bench, cancelled_by_sigterm, report, tables
from tests.bench.frame.pairs import play

_HERE = Path(__file__).parent
_DOCS = _HERE.parents[1] / "docs" / "benchmarks"
_OLDER = (
    "fairness", "harness", "hints", "horizon", "http",
    "inboxes", "isolation", "month", "overload", "pure",
)  # fmt: skip
_SUITE = {path.name.partition("_")[0].upper(): path.stem for path in sorted(_HERE.glob("b[0-9]*_*.py"))}


def main() -> None:
    """Run the benches that were named, or the suite."""
    given = _arguments()
    asked = Asked(quick=given.quick, full=given.full, pairs=given.pairs, seconds=given.seconds)
    into = given.into or (None if given.quick else _DOCS)
    if given.list:
        _print_list(asked)
    elif given.report:
        report.write(into or _DOCS)
    else:
        try:
            for name in given.which or _SUITE:
                asyncio.run(_run(name, asked, into, given.messages))
        except asyncio.CancelledError:
            sys.exit(128 + signal.SIGTERM)


async def _run(name: str, asked: Asked, into: Path | None, messages: int) -> None:
    cancelled_by_sigterm()
    if name in _OLDER:
        counted = {"messages": messages} if name == "isolation" else {}
        await import_module(f"tests.bench.{name}").bench(asked.seconds, **counted)
        return
    for bench in _named(name, asked):
        result = await play(bench, asked, _say)
        print("\n" + "\n".join(tables.told(result)) + "\n", flush=True)
        if into:
            report.keep(result, into)
            report.write(into)


def _named(name: str, asked: Asked) -> list[Bench]:
    """Return all benches of a module by its code (B5), or the one that bears the name; none: unknown."""
    code = re.match(r"B\d+", name.upper())
    if code is None or code[0] not in _SUITE:
        return []
    benches: Sequence[Bench] = import_module(f"tests.bench.{_SUITE[code[0]]}").benches(asked)
    return [each for each in benches if name.upper() in {code[0], each.code.upper()}]


def _arguments() -> argparse.Namespace:
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=about)
    parser.add_argument("which", nargs="*", metavar="NAME", help="B1 to B9, a part (B5a), an older one")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works: few, short rounds; no report"
    )
    parser.add_argument("--full", action="store_true", help="with ten million parked runs, too")
    parser.add_argument("--pairs", type=int, help="rounds of each side (else 7, quick 2)")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="length of a measurement, where it has one"
    )
    parser.add_argument("--messages", type=int, default=0, help="of isolation: at least so many a channel")
    parser.add_argument("--into", type=Path, help="where the report goes (else docs/benchmarks)")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the report anew")
    parser.add_argument("--list", action="store_true", help="name all benches")
    given = parser.parse_args()
    if unknown := [name for name in given.which if name not in _OLDER and not _named(name, Asked())]:
        parser.error(f"no bench is called {', '.join(unknown)}; there are {', '.join((*_SUITE, *_OLDER))}")
    return given


def _print_list(asked: Asked) -> None:
    for code in _SUITE:
        for bench in _named(code, asked):
            print(f"{bench.code:9} {bench.title}")
    for name in _OLDER:
        print(f"{name:9} {(import_module(f'tests.bench.{name}').__doc__ or '').splitlines()[0]}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()

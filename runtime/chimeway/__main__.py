"""`python -m chimeway` and the script `chimeway`: the command line, where it is installed.

Nothing here needs more than the light install has, so that there, too, one is told what to type.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Final, NoReturn

from chimeway.errors import MissingExtra
from chimeway.extras import imported

_REFUSED: Final = 3
_INTERRUPTED: Final = 130


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        _run()
    except KeyboardInterrupt:  # while modules were read: a command itself ends with the same code
        sys.exit(_INTERRUPTED)
    raise AssertionError("the command line ends the process")


def _run() -> None:
    try:
        with imported():
            command_line = import_module("chimeway.cli.main")
    except MissingExtra as missing:
        if sys.argv[1:] == ["--version"]:
            print(version("chimeway"))  # noqa: T201  (what was asked for)
            sys.exit(0)
        _tell(missing)
        sys.exit(_REFUSED)
    command_line.main()


def _tell(missing: MissingExtra) -> None:
    """Write the error as the command line would."""
    told = f"error[{missing.code}]: the command line is not installed: {missing.details['hint']}"
    if "--json" in sys.argv:
        error = {"code": missing.code, "message": missing.message, "hint": missing.details["hint"]}
        told = json.dumps({"error": error}, ensure_ascii=False)
    print(told, file=sys.stderr)  # noqa: T201  (this is what it is for)


if __name__ == "__main__":
    main()

"""Asking a person before what cannot be undone, or touches many, is done."""

import sys

from chimeway.errors import ChimewayError


class NotConfirmed(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """What cannot be undone was asked about, and the answer was not yes."""

    code = "not_confirmed"


def confirm(question: str, nothing_was: str = "done") -> None:
    """Ask, and go on only after a yes.

    Raises:
        NotConfirmed: the answer was another, or there was nobody to give one.
    """
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)  # nobody's Enter has ended the line
    if answer.strip().lower() not in {"y", "yes"}:
        raise NotConfirmed(f"it was not confirmed: nothing was {nothing_was}", hint="answer y, or give --yes")

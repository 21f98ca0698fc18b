"""Where answers and errors are written: streams that are missing, full, or speak another encoding.

Nothing heavy is imported here: every command, `--help` too, begins with it.
"""

import errno
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

UNWRITABLE: Final = 5
INTERRUPTED: Final = 130
READER_GONE: Final = 141
"""What a shell says of a program that SIGPIPE ended: `chimeway runs | head -1` is no error."""
_NO_MORE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def prepare() -> None:
    """Give the process the streams that it was started without; write what an encoding lacks as escapes.

    The driver's own notes on a lost connection (with a traceback) are not for the person at the terminal:
    the command says what was lost. Where logging is set up, as a node does, they are logged.
    """
    logging.getLogger("asyncpg").addHandler(logging.NullHandler())
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # its descriptor was closed when the process began
            nowhere = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115  (while the process is)
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def written() -> Iterator[None]:
    """Flush the answer at the end; where it cannot be written, say so and end the process."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        _end(error, error)
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # the libraries answer it with 1
            _end(ending.__context__, ending)
        raise


def _end(error: OSError, cause: BaseException) -> None:
    """End the process where nothing more can be written; any other error is not for us."""
    if error.errno != errno.EPIPE and error.errno not in _NO_MORE:
        raise cause
    nowhere = os.open(os.devnull, os.O_WRONLY)  # the interpreter flushes stdout once more at the end
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if error.errno == errno.EPIPE:
        sys.exit(READER_GONE)
    print(f"error: the answer cannot be written ({error.strerror})", file=sys.stderr)
    sys.exit(UNWRITABLE)


def json_text(value: Any, stream: TextIO, *, indent: int | None = None) -> str:
    """Return a value as JSON that this stream can carry: escapes are JSON's own where it is not UTF-8."""
    encoding = (stream.encoding or "ascii").lower().replace("_", "-")
    return json.dumps(value, ensure_ascii=encoding not in {"utf-8", "utf8"}, indent=indent)

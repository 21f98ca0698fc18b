"""What templates have beside Jinja2's own filters: the local time of the reader. Pure.

No names of months or days: these are words of a language, and belong into the templates of a locale.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import pass_context
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context

from chimeway.workflow.durations import parse_instant

_FORM: Final = "%Y-%m-%d %H:%M"
_NUMERIC: Final = re.compile(r"(?:[^%\0]|%[YmdHMSyjIzZ%])*")


@pass_context
def local_time(context: Context, instant: Any, form: Any = _FORM) -> str:
    """Return an instant (RFC 3339, as data has it) by the clock on the reader's wall; null stays nothing.

    Without a time zone in the reader's profile that is UTC. `form` is strftime's, its numbers only.
    """
    if instant is None:
        return ""
    if not isinstance(form, str) or len(form) > 100 or not _NUMERIC.fullmatch(form):
        raise TemplateRuntimeError("local_time takes %Y %m %d %H %M %S %y %j %I %z %Z, and text between them")
    try:
        at = parse_instant(instant)
    except (TypeError, ValueError):
        told = "local_time is given no instant: it wants one like 2026-03-02T09:00:00Z"
        raise TemplateRuntimeError(told) from None
    return at.astimezone(_zone_of(context)).strftime(form)


def _zone_of(context: Context) -> tzinfo:
    recipient = context.resolve("recipient")
    if not isinstance(recipient, Mapping):
        raise TemplateRuntimeError("local_time does not know the recipient here: import `with context`")
    try:
        return ZoneInfo(recipient["timezone"]) if recipient.get("timezone") else UTC
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        return UTC


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {"local_time": local_time}
"""By name."""

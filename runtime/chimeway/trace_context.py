"""Whose trace something belongs to, as W3C's Trace Context writes it: `00-<trace>-<span>-<flags>`.

No package is imported for it: where OpenTelemetry is in use somebody has imported it already, and where it is
not there is no span. That look-up is all that it costs then.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

_FORM: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_said: ContextVar[str | None] = ContextVar("chimeway_traceparent", default=None)


def current() -> str | None:
    """Return the trace context of what is done here: of the current span, else as it was said."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is not None:
        span = api.get_current_span().get_span_context()
        if span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    return _said.get()


@contextmanager
def said(traceparent: str | None) -> Iterator[None]:
    """Take what somebody else said of it while the block lasts, such as in a header; nonsense is none."""
    token = _said.set(traceparent if traceparent is not None and _FORM.fullmatch(traceparent) else None)
    try:
        yield
    finally:
        _said.reset(token)

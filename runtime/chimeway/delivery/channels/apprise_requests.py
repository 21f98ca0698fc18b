"""What every request of the library `requests` goes through: `HTTPAdapter.send`, seen and bounded.

A request that somebody asks for has its time bounded, bears an idempotency key, follows no redirect (where it
leads is taken away), and of its answer no more is read than a bound. What became of it is kept. All other
requests of the process go through as they are.
"""

import traceback
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import requests
from requests.adapters import HTTPAdapter

from chimeway.delivery.channels.webhook_answers import Reply

Trouble: TypeAlias = Literal["not_connected", "no_answer", "not_trusted", "lost"]

_ANSWER_BYTES: Final = 1_048_576
"""More of an answer is not read: none is so long, and whoever chose the host could fill the memory."""


class Answer(NamedTuple):
    """What one request came to."""

    place: str
    """Where it went, as a digest."""
    reads: bool
    """Whether its method is one that only reads (some services take messages by GET all the same)."""
    came: Reply | Trouble


class Asker(Protocol):
    """Whoever asks for requests."""

    key: str
    """The idempotency key of the message."""
    timeout_s: float
    answers: list[Answer]


def observe(current: Callable[[], Asker | None]) -> None:
    """See all requests from now on, while the process lives; touch those alone that somebody asks for.

    Args:
        current: says who asks, of the thread that it is called in; None: nobody.
    """
    original = HTTPAdapter.send

    @wraps(original)
    def send(
        self: HTTPAdapter, request: requests.PreparedRequest, *rest: Any, **options: Any
    ) -> requests.Response:
        asker = current()
        if asker is None:
            return original(self, request, *rest, **options)
        place, reads = _place(request), request.method in {"GET", "HEAD", "OPTIONS"}
        if not reads:
            # Of one place: a log-in before a message must not have the message's key.
            request.headers.setdefault("Idempotency-Key", f"{asker.key}-{place}")
        options["timeout"] = asker.timeout_s
        try:
            response = original(self, request, *rest, **options)
        except Exception as error:
            asker.answers.append(Answer(place, reads, _trouble(error)))
            raise
        headers = [(name.encode("latin-1"), str(value).encode()) for name, value in response.headers.items()]
        asker.answers.append(Answer(place, reads, Reply(response.status_code, headers)))
        if response.is_redirect:
            del response.headers["location"]  # then nobody follows it
        _read(response)
        return response

    HTTPAdapter.send = send  # type: ignore[method-assign]


def _read(response: requests.Response) -> None:
    """Read an answer up to a bound, unpacked; what is beyond is as if it were not there."""
    found = bytearray()
    for piece in response.iter_content(65_536):
        found += piece
        if len(found) > _ANSWER_BYTES:
            response.close()
            break
    response._content = bytes(found[:_ANSWER_BYTES])  # noqa: SLF001  (there is no other way)
    response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001  (the same)


def _place(request: requests.PreparedRequest) -> str:
    """Return a digest of where a request goes, without the query: that may differ from attempt to attempt."""
    place = f"{request.method} {(request.url or '').partition('?')[0]}"
    return sha256(place.encode()).hexdigest()[:8]


def _trouble(error: Exception) -> Trouble:
    """Say what an exception of requests means for whether the message has left."""
    match error:
        case requests.ConnectTimeout() | requests.exceptions.ProxyError():
            return "not_connected"
        case requests.Timeout():
            return "no_answer"
        case requests.exceptions.SSLError() if _shook_hands_in_vain(error):
            return "not_trusted"
        case requests.ConnectionError() if _names_no_connection(error):
            return "not_connected"
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return "not_connected"
        case _:
            return "lost"


def _shook_hands_in_vain(error: BaseException | None) -> bool:
    """Say whether TLS failed before there was a connection; later the request has left, or a part of it."""
    while error is not None:
        if any(frame.f_code.co_name == "do_handshake" for frame, _ in traceback.walk_tb(error.__traceback__)):
            return True
        error = error.__context__
    return False


def _names_no_connection(error: requests.ConnectionError) -> bool:
    """Say whether nobody could be reached: urllib3 says so by the class of the reason."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}

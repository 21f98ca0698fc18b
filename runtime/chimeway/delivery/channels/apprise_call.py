"""One call of the apprise library, on a thread that may block, and what its outcome means.

| what was seen                                               | answer                                |
|-------------------------------------------------------------|---------------------------------------|
| the library says yes                                        | `Sent`                                |
| no service of the URL, or one that may not be used          | the address is wrong, or we are [1]   |
| it wanted an address inside, a file or a program            | the same [1]                          |
| nobody was asked, and it says no                            | the same [1]                          |
| nobody was asked, for a name could not be looked up         | `TransientFailure`                    |
| the last request was answered                               | as of a webhook: 429, 5xx, 4xx, ...   |
| the last request reached nobody                             | `TransientFailure`                    |
| the last request had no answer in time                      | TimeoutError                          |
| an answer of 2xx, and the library says no                   | `UnknownOutcome`                      |
| a request before the last may have brought a part of it     | `UnknownOutcome`                      |
| a service that does not speak HTTP was asked, and it says no | `UnknownOutcome`                      |

[1] `ConfigurationFailure` for a URL of the settings, `PermanentFailure` for a recipient's own.

The last but two is for services whose answer says in its text whether it is a yes: a text that the plugin
does not understand (a connection lost in mid-answer) looks the same as a no.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal, TypeAlias, assert_never

import apprise
from apprise import plugins

from chimeway.delivery.channel import (
    Message,
    SendFailure,
    Sent,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.delivery.channels.apprise_requests import Answer, Trouble
from chimeway.delivery.channels.apprise_url import permitted
from chimeway.delivery.channels.apprise_watch import Refused, Watch, install
from chimeway.delivery.channels.webhook_answers import Reply, at_fault, judged

Format: TypeAlias = Literal["text", "html", "markdown"]
Verdict: TypeAlias = Literal["yes", "no", "no_service", "not_allowed"]

_FORMATS: Final = {
    "text": apprise.NotifyFormat.TEXT,
    "html": apprise.NotifyFormat.HTML,
    "markdown": apprise.NotifyFormat.MARKDOWN,
}
_REFUSED: Final[dict[Refused, str]] = {
    "network": "it leads to an address inside, where nothing is sent unless `allow_networks` says so",
    "file": "it wanted to read a file, which `files` would have to allow",
    "program": "it wanted to start a program, which `files` would have to allow",
}


def call(url: str, allowed: Collection[str], message: Message, written: Format, watch: Watch) -> Verdict:
    """Send a message to what an apprise URL names; blocks. Everything happens under the watch."""
    install()
    with watch.watching():
        try:
            return _call(url, allowed, message, written, watch)
        except BaseException:  # noqa: BLE001  (two hundred plugins; what was seen says what it means)
            return "no"


def _call(url: str, allowed: Collection[str], message: Message, written: Format, watch: Watch) -> Verdict:
    asset = apprise.AppriseAsset(storage_mode="memory", http_redirects=False, app_id="", async_mode=False)
    parsed = plugins.url_to_dict(url, secure_logging=True)  # type: ignore[no-untyped-call]
    if not parsed:
        return "no_service"
    if not permitted(str(parsed["schema"]), allowed):
        return "not_allowed"
    service = apprise.Apprise.instantiate(parsed, asset=asset)
    title, body = _content(message, written)
    if service is None or not body:
        return "no_service"
    service.socket_connect_timeout = service.socket_read_timeout = watch.timeout_s
    done = service.notify(
        body=body, title=title, notify_type=apprise.NotifyType.INFO, body_format=_FORMATS[written]
    )
    return "yes" if done else "no"


def _content(message: Message, written: Format) -> tuple[str, str]:
    """Return title and body; where there is only a title, it is the body."""
    plain = message.text if written == "text" and message.text is not None else message.body
    return (message.subject, plain) if plain.strip() else ("", message.subject.strip())


def meaning(
    verdict: Verdict, watch: Watch, *, ours: bool, now: datetime
) -> Sent | SendFailure | TimeoutError:
    """Return what a call means.

    Args:
        verdict: what it came to.
        watch: what was seen of it.
        ours: whether the URL is of the settings.
        now: for a Retry-After that is a date.
    """
    fault = at_fault(ours=ours)
    if verdict == "yes":
        return Sent()
    # Beside a request that was made a file counts for nothing: requests itself looks into ~/.netrc.
    if watch.refused is not None and not watch.asked and (watch.refused == "network" or not watch.answers):
        return fault(_REFUSED[watch.refused])
    match verdict:
        case "no_service":
            return fault("apprise makes no service of this URL and message")
        case "not_allowed":
            return fault("its scheme is not one that may be used: it must be named in `schemes`")
        case "no":
            pass
        case _:
            assert_never(verdict)
    if not watch.answers:
        return _without_an_answer(watch, fault)
    if _may_have_arrived_before(*watch.answers):
        return UnknownOutcome("it goes out in several parts, and some of them may have arrived")
    return _of_last(watch.answers[-1].came, ours=ours, now=now)


def _without_an_answer(watch: Watch, fault: type[SendFailure]) -> SendFailure:
    """Say what it means that no request of HTTP was seen."""
    if watch.asked:
        return UnknownOutcome("the service was asked, and apprise says no more than that it failed")
    if watch.looked_up:
        return TransientFailure("the service could not be reached: its name leads nowhere now")
    return fault("apprise refused it without asking anybody")


def _may_have_arrived_before(*answers: Answer) -> bool:
    """Say whether a request before the last may have been a message that the service has.

    So is each that had no answer, and each that was answered well, but for a look-up at another place; of a
    log-in nobody can tell that it was no more.
    """
    *before, last = answers
    return any(
        one.came.status < 300 and (not one.reads or one.place == last.place)
        if isinstance(one.came, Reply)
        else one.came in {"no_answer", "lost"}
        for one in before
    )


def _of_last(last: Reply | Trouble, *, ours: bool, now: datetime) -> SendFailure | TimeoutError:
    match last:
        case Reply():
            found = judged(last, ours=ours, now=now, sent=b"", reference="")
            if isinstance(found, Sent):
                return UnknownOutcome(f"the service answered {last.status}, which apprise takes for a no")
            return found
        case "not_connected":
            return TransientFailure("the service could not be reached")
        case "not_trusted":
            return TransientFailure("no connection with TLS that can be trusted could be made to the service")
        case "no_answer":
            return TimeoutError("the service gave no answer in time")
        case "lost":
            return UnknownOutcome("the connection was lost before the service had answered")
        case _:
            assert_never(last)

"""The apprise channel: where it may go, what a call may do, and that one which hangs holds nobody else."""

import asyncio
import inspect
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from apprise.manager_plugins import NotificationManager

from chimeway import App, Notify, Workflow
from chimeway.clock import ManualClock
from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    Message,
    PermanentFailure,
    RateLimited,
    Sent,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.delivery.channels.apprise import AppriseChannel, Options, build
from chimeway.delivery.channels.apprise_url import HOSTED
from chimeway.delivery.channels.apprise_watch import Watch, install
from chimeway.delivery.channels.webhook_answers import Reply
from chimeway.delivery.kinds import kind_called
from chimeway.delivery.outward.networks import Networks
from chimeway.errors import InvalidInput, InvalidSettings
from chimeway.setting_tables import Place, read_table
from chimeway.testing import Fault, FaultyHttp, Harness, HttpAnswer, rate_limit
from chimeway.testing.faults import FaultKind
from kit.certificates import ca_file, serving

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LOOPBACK = ["127.0.0.0/8"]
TOKEN = "s3cr3tt0ken4711"


def message(address: str | None, **changes: Any) -> Message:
    """Make a message."""
    parts: dict[str, Any] = {
        "delivery_id": "d1",
        "run_id": "r1",
        "tenant_id": "org_456",
        "recipient_id": "user_123",
        "channel": "chat",
        "address": address,
        "subject": "You were mentioned",
        "body": "<p>Look</p>",
        "text": "Look",
    }
    return Message(**(parts | changes))


@asynccontextmanager
async def ready(**options: Any) -> AsyncIterator[AppriseChannel]:
    """Open a channel that may call loopback, with JSON."""
    usual = {"schemes": ["json"], "allow_networks": LOOPBACK, "timeout_s": 2, "clock": ManualClock(NOW)}
    async with AppriseChannel("chat", **(usual | options)) as channel:
        yield channel


def test_what_is_allowed_unnamed_is_hosted() -> None:
    """The URL of such a service names no host, and its plugin reads no key files."""
    install()
    plugins = NotificationManager()
    for scheme in HOSTED:
        plugin: Any = plugins[scheme]
        assert not [one for one in plugin.templates if "{host}" in one], scheme
        assert "hostname" not in inspect.getsource(plugin.__init__), scheme
        assert "keyfile" not in plugin.template_args, scheme


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/", "xml://127.0.0.1/", "form://127.0.0.1/", "apprise://127.0.0.1/token",
        "syslog://", "dbus://", "gnome://", "windows://", "macosx://", "ntfy://127.0.0.1/topic",
        "mailto://a:b@127.0.0.1", "fcm://project/device?keyfile=/etc/passwd", "https://127.0.0.1/hook",
    ],
)  # fmt: skip
async def test_what_could_do_harm_must_be_named(url: str) -> None:
    """Whatever calls a host of the URL, reads files or acts on this machine is refused."""
    async with ready(schemes=[]) as channel:
        with pytest.raises(PermanentFailure):
            await channel.send(message(url))


async def test_nothing_inside_is_called() -> None:
    """A recipient's URL may lead anywhere: to no private address, whatever name it has."""
    async with FaultyHttp() as inside, ready(allow_networks=[]) as channel:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(PermanentFailure, match="an address inside"):
                await channel.send(message(f"json://{host}:{inside.port}/hook"))
        assert inside.connections == 0
        assert not inside.received


async def test_no_redirect_is_followed() -> None:
    """Neither where a service says so, nor where the URL wants it."""

    def elsewhere(_request: object) -> HttpAnswer:
        return HttpAnswer(b"", 307, {"Location": f"{target.url}/stolen"})

    async with FaultyHttp() as target, FaultyHttp(answer=elsewhere) as service, ready() as channel:
        with pytest.raises(PermanentFailure, match="redirects are not followed"):
            await channel.send(message(f"json://127.0.0.1:{service.port}/hook?redirect=yes"))
        assert not target.received


@pytest.mark.parametrize("scheme", ["workflows", "slack"])
async def test_no_file_is_read(scheme: str, tmp_path: Path) -> None:
    """A plugin that wants a file gets none: a recipient's URL could have it sent anywhere."""
    card = tmp_path / "card.json"
    card.write_text('{"type": "message", "text": "{{app_body}}"}')
    async with FaultyHttp() as service:
        urls = {
            "workflows": f"workflows://127.0.0.1:{service.port}/WORKFLOW/SIGNATURE/?template={card}",
            "slack": f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7F/?blocks=yes&template={card}",
        }
        async with ready(schemes=["workflows"]) as channel:
            with pytest.raises(PermanentFailure, match="wanted to read a file"):
                await channel.send(message(urls[scheme]))
        async with ready(schemes=["workflows"], files=True, allow_networks=[]) as channel:
            with pytest.raises(PermanentFailure) as allowed:
                await channel.send(message(urls["workflows"]))
        assert "file" not in str(allowed.value)
        assert not service.received


def _in_a_thread(watch: Watch, work: Callable[[], object]) -> BaseException | None:
    """Do something under a watch, on a thread of its own as a call is; return what it raised."""
    ended: list[BaseException | None] = []

    def body() -> None:
        with watch.watching():
            try:
                work()
            except OSError as error:
                ended.append(error)
            else:
                ended.append(None)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return ended[0]


def _connect_locally(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)


def _send_datagram(host: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (host, 514))


@pytest.mark.parametrize(
    ("attempt", "refused"),
    [
        (lambda path: subprocess.run(["true"], check=True), "program"),
        (lambda path: os.system("true"), "program"),  # noqa: S605
        (lambda path: (path / "x").write_text("x"), "file"),
        (lambda path: Path(sys.prefix, "pyvenv.cfg").read_text(), "file"),
        (lambda path: socket.create_connection(("127.0.0.1", 1)), "network"),
        (lambda path: socket.create_connection(("::1", 1)), "network"),
        (lambda path: _connect_locally(str(path / "socket")), "network"),
        (lambda path: _send_datagram("10.0.0.1"), "network"),
        (lambda path: socket.create_connection(("169.254.169.254", 80), 0.1), "network"),
    ],
)
def test_what_a_call_may_not_do(attempt: Callable[[Path], object], refused: str, tmp_path: Path) -> None:
    """Programs, files and addresses inside are refused before anything happens; elsewhere they are not."""
    install()
    watch = Watch("d1", 1, Networks(), files=False)
    assert isinstance(_in_a_thread(watch, lambda: attempt(tmp_path)), PermissionError)
    assert watch.refused == refused
    assert not watch.asked
    (tmp_path / "y").write_text("y")


def test_what_was_cut_connects_no_more() -> None:
    """A call that was slow before its first connection (a name server) makes none when nobody waits."""
    install()
    watch = Watch("d1", 1, None, files=True)
    watch.cut()
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
        error = _in_a_thread(watch, lambda: socket.create_connection(place))
    assert isinstance(error, PermissionError)


async def test_the_answer_of_a_service_is_seen() -> None:
    """The library says yes or no; what was answered says why."""
    async with FaultyHttp() as service, ready() as channel:
        url = f"json://127.0.0.1:{service.port}/hook"
        service.fail_next(rate_limit("Mon, 04 May 2026 12:00:30 GMT"))
        with pytest.raises(RateLimited) as limited:
            await channel.send(message(url))
        assert limited.value.retry_after == 30
        service.fail_next(Fault("error_500", status=503, retry_after=5))
        with pytest.raises(TransientFailure) as failed:
            await channel.send(message(url))
        assert failed.value.retry_after == 5
        service.fail_next(Fault("permanent", status=401))
        with pytest.raises(PermanentFailure):
            await channel.send(message(url))
        service.fail_next("bounce")
        with pytest.raises(Bounced):
            await channel.send(message(url))
        assert await channel.send(message(url)) == Sent()


async def test_the_settings_url_is_our_own_fault() -> None:
    """A wrong token there is no recipient's; the address goes into it as one value."""
    async with FaultyHttp() as service:
        url = f"json://u:{TOKEN}@127.0.0.1:{service.port}/to/{{address}}"
        async with ready(url=url, schemes=[]) as channel:
            service.fail_next(Fault("permanent", status=401), "bounce")
            for _ in range(2):
                with pytest.raises(ConfigurationFailure):
                    await channel.send(message("+44 7700".replace(" ", "")))
            for several in ("a,b", "a b", "a/../b", "a;b", "", None):
                with pytest.raises(PermanentFailure):
                    await channel.send(message(several))
            await channel.send(message("a?b=c&d"))
    assert service.received[0].path.startswith("/to/+447700") or "%2B447700" in service.received[0].path
    assert "d" not in service.received[-1].path.partition("?")[2]


async def test_a_part_that_arrived_is_not_sent_again_elsewhere() -> None:
    """Where one URL has several targets and the second fails, nobody can say that nothing was sent."""
    install()
    async with FaultyHttp() as service, ready(schemes=["mmost"]) as channel:
        service.fail_next("ok", "error_500")
        with pytest.raises(UnknownOutcome, match="several parts"):
            await channel.send(message(f"mmost://127.0.0.1:{service.port}/{TOKEN}/?channels=one,two"))
        assert len(service.received) == 2


async def test_each_request_has_its_key() -> None:
    """The key is the delivery's, the same in each attempt, and another for another URL."""
    async with FaultyHttp() as service, ready() as channel:
        for path in ("a", "a?x=1", "b"):
            await channel.send(message(f"json://127.0.0.1:{service.port}/{path}"))
    first, second, third = (one.key or "" for one in service.received)
    assert first == second != third
    assert all(key.startswith("d1-") for key in (first, third))


def test_each_service_answers_for_itself() -> None:
    """An outage of one service shuts the way to no other; the name of none bears a secret."""
    channel = AppriseChannel("chat")
    assert channel.endpoint(f"slack://{TOKEN}/b/c") == channel.endpoint("slack://x/y/z") == "slack"
    ours, theirs = channel.endpoint(f"ntfy://u:p@{TOKEN}/a"), channel.endpoint("ntfy://other/a")
    assert ours == channel.endpoint(f"ntfy://{TOKEN}/b") != theirs
    assert TOKEN not in str(ours)
    assert channel.endpoint("nonsense") is None
    assert AppriseChannel("ops", url="slack://a/b/c").endpoint("ada") is None


async def test_a_journey_by_apprise() -> None:
    """The engine sends by it, tries again what failed, under the same key."""
    steps = [Notify("tell", channel="chat", render_key="alert")]
    app = App(workflows=[Workflow(key="alert", version=1, steps=steps)])
    app.channel("chat")(AppriseChannel("chat", schemes=["json"], allow_networks=LOOPBACK))
    async with FaultyHttp() as service, Harness(app, channels="real") as journey:
        service.fail_next("error_500", "close_mid_reply")
        await journey.identify("ada", addresses={"chat": f"json://u:{TOKEN}@127.0.0.1:{service.port}/hook"})
        await journey.trigger(recipients=["ada"])
        await journey.advance("P1D")
        (delivery,) = journey.deliveries
        assert delivery.status == "succeeded"
        classes = [attempt.error_class for attempt in delivery.attempts]
        assert classes == ["transient", "unknown", None]
        assert TOKEN not in str(delivery.attempts)
    assert len({one.key for one in service.received}) == 1


@pytest.mark.parametrize(
    ("options", "changes", "told"),
    [
        ({}, {}, "Look"),
        ({}, {"text": None, "body": "plain"}, "plain"),
        ({}, {"text": "", "body": ""}, "You were mentioned"),
        ({"format": "html"}, {}, "Look"),
        ({"format": "markdown"}, {"body": "*Look*"}, "*Look*"),
    ],
)
async def test_what_is_sent(options: dict[str, Any], changes: dict[str, Any], told: str) -> None:
    """The text where there is one; what the settings say it is; the subject where there is nothing else."""
    async with FaultyHttp() as service, ready(**options) as channel:
        await channel.send(message(f"json://127.0.0.1:{service.port}/", **changes))
        assert service.received[0].says(told)


async def test_nothing_at_all_is_refused_for_good() -> None:
    """A message without a word cannot be sent, today or tomorrow."""
    async with FaultyHttp() as service, ready() as channel:
        with pytest.raises(PermanentFailure):
            await channel.send(message(f"json://127.0.0.1:{service.port}/", subject=" ", body="", text=None))


async def test_a_call_that_hangs_gives_its_thread_back() -> None:
    """When its time is over its connection is cut; until then others are told that nothing was sent."""
    async with FaultyHttp() as service, ready(threads=2, timeout_s=1.2) as channel:
        url = message(f"json://127.0.0.1:{service.port}/")
        async with service.failing("hang"):
            answers = await asyncio.gather(*(channel.send(url) for _ in range(3)), return_exceptions=True)
        kinds = sorted(type(one).__name__ for one in answers)
        assert kinds == ["TimeoutError", "TimeoutError", "TransientFailure"]
        assert "nothing was sent" in next(str(one) for one in answers if isinstance(one, TransientFailure))
        assert len(service.received) == 2
        assert await channel.send(url) == Sent()


async def test_what_was_given_up_is_not_begun_later() -> None:
    """A channel that closes cuts what is under way, and does not wait for it."""
    async with FaultyHttp() as service:
        async with ready(timeout_s=30) as channel:
            service.fail_all("hang")
            address = message(f"json://127.0.0.1:{service.port}/")
            sending = asyncio.get_running_loop().create_task(channel.send(address))
            await service.wait_until(lambda: len(service.received) == 1)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        with pytest.raises(UnknownOutcome):
            await sending


HANGS = """
import asyncio, threading
from chimeway.delivery.daemon_threads import DaemonThreads

async def main():
    threads = DaemonThreads(2, "hanging")
    await threads.take()
    started = threading.Event()
    def hang():
        started.set()
        threading.Event().wait()
    task = asyncio.ensure_future(threads.run(hang))
    await asyncio.to_thread(started.wait)
    task.cancel()
    assert not await threads.leave(0.01)

asyncio.run(main())
print("ended")
"""


def test_a_thread_that_hangs_keeps_no_program_from_ending() -> None:
    """Nobody joins it."""
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ended"), done.stderr


async def test_the_librarys_own_log_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    """Its lines, down to the chattiest, may hold tokens; but in other threads it speaks as ever."""
    caplog.set_level(logging.DEBUG)
    async with FaultyHttp() as service, ready() as channel:
        service.fail_next("error_500")
        with pytest.raises(TransientFailure):
            await channel.send(message(f"json://u:{TOKEN}@127.0.0.1:{service.port}/{TOKEN}"))
        with pytest.raises(PermanentFailure):
            await channel.send(message(f"nonsense://{TOKEN}"))
    assert TOKEN not in caplog.text
    assert not [one for one in caplog.records if one.name.startswith(("apprise", "urllib3"))]
    logging.getLogger("apprise").warning("by somebody else")
    assert "by somebody else" in caplog.text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "no url"}, "no apprise URL"),
        ({"url": f"ntfy://{{address}}/{TOKEN}"}, "before the host's end"),
        ({"url": f"json://{TOKEN}\n/"}, "no apprise URL"),
        ({"allow_networks": ["here"]}, "allow_networks"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], told: str) -> None:
    """What is wrong is said, and nothing of a secret with it."""
    with pytest.raises(InvalidSettings, match=told) as fault:
        AppriseChannel("chat", **options)
    assert TOKEN not in str(fault.value)


def test_numbers_are_checked() -> None:
    """No threads, or no time, are no channel."""
    with pytest.raises(InvalidInput):
        AppriseChannel("chat", threads=0)
    with pytest.raises(InvalidInput):
        AppriseChannel("chat", timeout_s=0)


def test_what_settings_say() -> None:
    """The kind is known by its name; the URL is a secret."""
    given = {
        "url": f"tgram://{TOKEN}/{{address}}", "schemes": ["json"], "allow_networks": ["10.0.0.0/8"],
        "threads": 3, "answer_within": "PT5S", "format": "markdown",
    }  # fmt: skip
    options = read_table(Options, given, Place("channels.chat", "test"))
    assert TOKEN not in " ".join(str(row) for row in options.describe())
    assert kind_called("apprise").Options is Options
    channel = build(options, "chat", ManualClock(NOW))
    assert (channel.name, channel.needs_address, channel.limits.concurrency) == ("chat", True, 3)
    assert not AppriseChannel("ops", url="slack://a/b/c").needs_address


@pytest.mark.parametrize("first", ["ok", "close_mid_reply", "rubbish"])
async def test_what_came_before_the_last_request_counts(first: FaultKind) -> None:
    """A part that may have arrived makes all of it uncertain, whatever became of the last one."""
    async with FaultyHttp() as service, ready(schemes=["mmost"]) as channel:
        service.fail_next(first, "error_500")
        with pytest.raises(UnknownOutcome):
            await channel.send(message(f"mmost://127.0.0.1:{service.port}/{TOKEN}/?channels=one,two"))


class _RubbishOfTls(asyncio.Protocol):
    """Takes a request over TLS, and answers with what is no TLS."""

    def connection_made(self, transport: Any) -> None:
        self.below = transport._ssl_protocol._transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.below.write(b"this is no TLS")


async def test_tls_that_breaks_after_the_request_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a handshake that fails says that the service has nothing."""
    loop = asyncio.get_running_loop()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file()))
    server = await loop.create_server(_RubbishOfTls, "127.0.0.1", 0, ssl=serving("127.0.0.1"))
    address = message(f"jsons://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    async with server, ready(schemes=["jsons"]) as channel:
        with pytest.raises(UnknownOutcome):
            await channel.send(address)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(TransientFailure, match="TLS"):
            await channel.send(address)


@pytest.mark.parametrize("url", ["json://nowhere.invalid/", "mailto://a:b@nowhere.invalid"])
async def test_a_name_that_cannot_be_looked_up_may_be_later(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, and no message is lost for it; nor for a file that is looked into on the way."""
    (tmp_path / ".netrc").write_text("machine here login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with ready(schemes=["json", "mailto"], allow_networks=[], timeout_s=20) as channel:
        with pytest.raises(TransientFailure):
            await channel.send(message(url))


async def test_a_plugin_that_exits_ends_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, it is a call that failed."""
    monkeypatch.setattr(NotificationManager()["json"], "send", lambda *_, **__: sys.exit(3))
    async with ready() as channel:
        with pytest.raises(PermanentFailure):
            await channel.send(message("json://127.0.0.1/"))


def test_a_socket_of_tls_is_watched_too() -> None:
    """It has no dup of its own."""
    install()
    watch = Watch("d1", 1, None, files=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        ssl.create_default_context().wrap_socket(
            socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
        ) as client,
    ):
        assert _in_a_thread(watch, lambda: client.connect(server.getsockname())) is None


WARNINGS = """
import threading, warnings
from apprise.manager_plugins import NotificationManager
from chimeway.delivery.channels.apprise_watch import install

loading, go_on = threading.Event(), threading.Event()
load = NotificationManager.load_modules
def slowly(self):
    load(self)
    loading.set()
    go_on.wait()
NotificationManager.load_modules = slowly
thread = threading.Thread(target=install)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    thread.start()
    loading.wait()
    try:
        warnings.warn("heard")
    except UserWarning:
        print("heard")
go_on.set()
thread.join()
"""


def test_loading_changes_no_warnings_of_others() -> None:
    """It happens on a thread, and the filters of warnings are the whole process's."""
    done = subprocess.run([sys.executable, "-c", WARNINGS], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "heard", done.stderr


async def test_of_an_answer_without_end_a_part_is_read() -> None:
    """Who chose the host could else fill the node's memory; what was answered counts all the same."""
    install()
    watch, got = Watch("d1", 10, None, files=True), list[requests.Response]()
    async with FaultyHttp(answer=lambda _: HttpAnswer(b"x" * 3_000_000)) as service:
        await asyncio.to_thread(
            _in_a_thread, watch, lambda: got.append(requests.post(service.url, timeout=9))
        )
    assert len(got[0].content) == 1_048_576
    assert [one.came for one in watch.answers if isinstance(one.came, Reply) and one.came.status == 200]

"""The fault servers: real HTTP and SMTP on loopback, told call by call how to fail, with a record."""

import asyncio
import smtplib
import socket
from email.message import EmailMessage
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from chimeway.errors import InvalidInput
from chimeway.testing import Fault, FaultyHttp, FaultySmtp, HttpAnswer, rate_limit


async def post(server: FaultyHttp, text: str = "{}", **headers: str) -> int:
    """Post something by somebody else's client; return the status."""
    request = Request(server.url, text.encode(), headers)  # noqa: S310  (our own server)

    def ask() -> int:
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310  (likewise)
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    return await asyncio.to_thread(ask)


async def test_http_keeps_what_it_was_given() -> None:
    """A request is there with its key, its headers and what was answered to it."""
    async with FaultyHttp() as server:
        assert (
            await post(server, '{"subject": "Gr\\u00fc\\u00dfe"}', **{"Idempotency-Key": "d1", "X-A": "b"})
            == 200
        )
    (one,) = server.received
    assert (one.key, one.method, one.path, one.headers["x-a"]) == ("d1", "POST", "/", "b")
    assert one.says("Gr\u00fc\u00dfe")
    assert one.taken


async def test_calls_are_chosen_by_number_by_message_and_one_in_three() -> None:
    """What was said for the next calls goes first, then what was said of messages, then each n-th."""
    async with FaultyHttp() as server:
        server.fail_next(rate_limit(3), Fault("error_500", status=503))
        assert [await post(server) for _ in range(3)] == [429, 503, 200]
        server.fail_if(lambda one: one.says("nobody"), "bounce")
        assert [await post(server, "somebody"), await post(server, "nobody")] == [200, 410]
        server.fail_every(3, "permanent")
        assert [await post(server) for _ in range(6)] == [200, 200, 422, 200, 200, 422]
        server.fail_all("error_500")
        assert await post(server) == 500
        server.heal()
        assert [await post(server, "nobody") for _ in range(3)] == [200, 200, 200]
    assert [one.fault.kind for one in server.received[:3]] == ["rate_limit", "error_500", "ok"]
    assert len(server.taken) == len(server.received) - 6


async def test_nothing_listens_while_it_refuses() -> None:
    """Then a connection is refused; and afterwards the same port serves again."""
    async with FaultyHttp() as server:
        port = server.port
        async with server.failing("refuse"):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        assert await post(server) == 200
        assert server.port == port


async def test_its_port_is_nobody_elses_meanwhile() -> None:
    """Who takes the next free port, in a test beside this one, gets another."""
    async with FaultyHttp() as server, server.failing("refuse"):
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))


async def test_a_restart_ends_connections() -> None:
    """Who was connected finds the connection gone, and the port there again."""
    async with FaultyHttp() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await server.wait_until(lambda: server.connections == 1)
        await server.restart()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        assert await post(server) == 200


async def test_requests_that_are_no_messages_go_well() -> None:
    """A log-in before a message is neither failed nor kept."""
    async with FaultyHttp(
        is_message=lambda one: "login" not in one.text,
        answer=lambda one: HttpAnswer(b"", 201 if one.says("login") else 202),
    ) as server:
        server.fail_all("error_500")
        assert [await post(server, "login"), await post(server, "message")] == [201, 500]
    assert len(server.received) == 1


async def test_a_chunked_body_is_read() -> None:
    """Bodies without a length arrive as well, and so does what asks first."""
    async with FaultyHttp() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        writer.write(head + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert server.received[0].body == b"hello world"


async def test_smtp_keeps_mails_and_answers_as_told() -> None:
    """A mail is there decoded, with its Message-ID as key; refusals have the codes of the protocol."""
    mail = EmailMessage()
    mail["Message-ID"], mail["Subject"] = "<d1@chimeway>", "Gr\u00fc\u00dfe"
    mail.set_content("Hello\n.\nthere \u6f22")

    def send(port: int) -> int:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            try:
                client.sendmail("me@example.org", ["ada@example.org", "ben@example.org"], mail.as_bytes())
            except smtplib.SMTPDataError as error:
                return error.smtp_code
            return 250

    async with FaultySmtp() as server:
        server.fail_next("rate_limit", "error_500", "permanent", "bounce", Fault("permanent", status=552))
        answers = [await asyncio.to_thread(send, server.port) for _ in range(6)]
    assert answers == [450, 451, 554, 550, 552, 250]
    one = server.received[-1]
    assert (one.key, one.recipients) == ("d1", ("ada@example.org", "ben@example.org"))
    assert one.says("Gr\u00fc\u00dfe")
    assert one.says("Hello\n.\nthere \u6f22")


async def test_a_server_that_ends_waits_for_nobody() -> None:
    """Who hangs in it is cut off."""
    async with FaultyHttp() as server:
        server.fail_all("hang")
        asking = asyncio.get_running_loop().create_task(_raw(server.port))
        await server.wait_until(lambda: len(server.received) == 1)
    assert await asking == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port)).close()


async def _raw(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_what_no_server_can_do_is_refused() -> None:
    """A fault that does not exist, or that no single call can meet, is named."""
    async with FaultyHttp() as server:
        with pytest.raises(InvalidInput, match="no fault is named 'explode'"):
            server.fail_next("explode")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="nothing listens"):
            server.fail_next("refuse")
        with pytest.raises(InvalidInput, match="nth"):
            server.fail_every(0, "hang")
    async with FaultySmtp() as smtp:
        with pytest.raises(InvalidInput, match="FaultySmtp cannot rubbish_body"):
            smtp.fail_all("rubbish_body")

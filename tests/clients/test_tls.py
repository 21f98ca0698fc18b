"""sslmode up to verify-full means the same to both clients, in front of a real server and certificate."""

import asyncio
import contextlib
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

import chimeway.sync
from chimeway import Chimeway, ChimewayError

openssl = shutil.which("openssl")
pytestmark = pytest.mark.skipif(openssl is None, reason="needs openssl to make a certificate")
CLIENTS_SAY = [
    ("sslmode=disable", "reached"),
    ("sslmode=prefer", "reached"),
    ("sslmode=require", "reached"),
    ("sslmode=verify-ca&sslrootcert={right}", "reached"),
    ("sslmode=verify-full&sslrootcert={right}", "reached"),
    ("sslmode=require&sslrootcert={wrong}", "database_unavailable"),
    ("sslmode=verify-ca&sslrootcert={wrong}", "database_unavailable"),
    ("sslmode=verify-full&sslrootcert={wrong}", "database_unavailable"),
    ("sslmode=verify-full&sslrootcert={other_name}", "database_unavailable"),
    ("sslmode=verify-full&sslrootcert=/nowhere.pem", "invalid_input"),
]


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """Make a key and a certificate that signs itself."""
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
            "-keyout", str(key), "-out", str(made),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, made


class Front(socketserver.ThreadingTCPServer):
    """PostgreSQL's TLS in front of a server that was built without: answers the request, then passes on."""

    daemon_threads = True
    socket_of_server: tuple[str, int]
    context: ssl.SSLContext

    def __init__(self) -> None:
        """Listen on a port of its own."""
        super().__init__(("127.0.0.1", 0), _Passing)
        self.encrypted: list[bool] = []


class _Passing(socketserver.BaseRequestHandler):
    server: Front

    def handle(self) -> None:
        client, request = self.request, self.request.recv(8)
        while request[4:] == _GSS:
            client.sendall(b"N")
            request = client.recv(8)
        self.server.encrypted.append(request[4:] == _TLS)
        with socket.socket(socket.AF_UNIX) as upstream:
            folder, port = self.server.socket_of_server
            upstream.connect(f"{folder}/.s.PGSQL.{port}")
            if request[4:] != _TLS:
                upstream.sendall(request)
                return self._pass_on(client, upstream)
            client.sendall(b"S")
            try:
                with self.server.context.wrap_socket(client, server_side=True) as secured:
                    return self._pass_on(secured, upstream)
            except OSError:
                return None  # the client does not trust us

    def _pass_on(self, client: socket.socket, upstream: socket.socket) -> None:
        with ThreadPoolExecutor(1) as thread:
            back = thread.submit(_pump, upstream, client)
            _pump(client, upstream)
            back.result()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


_TLS, _GSS = (80877103).to_bytes(4), (80877104).to_bytes(4)


@pytest.fixture
def front(database_url: str, tmp_path: Path) -> Iterator[tuple[Front, dict[str, str]]]:
    """TLS in front of this test's database; the certificates, and URLs of its port."""
    key, right = certificate(tmp_path, "right", "localhost")
    _, wrong = certificate(tmp_path, "wrong", "localhost")
    parts = urlsplit(database_url)
    query = dict(parse_qsl(parts.query))
    with Front() as server:
        server.socket_of_server = query["host"], int(query["port"])
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(right, key)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        tail = f":{server.server_address[1]}{parts.path}"
        yield (
            server,
            {
                "url": f"postgresql://{parts.username}@localhost{tail}",
                "other_url": f"postgresql://{parts.username}@127.0.0.1{tail}",
                "right": str(right),
                "wrong": str(wrong),
            },
        )
        server.shutdown()
        thread.join()


async def _by_loop(url: str) -> str:
    try:
        async with Chimeway.connect(url, pool_size=1) as client:
            await client.list_runs()
    except ChimewayError as error:
        return error.code
    return "reached"


def _without(url: str) -> str:
    try:
        with chimeway.sync.Chimeway.connect(url, pool_size=1) as client:
            client.list_runs()
    except ChimewayError as error:
        return error.code
    return "reached"


async def test_sslmode_means_the_same(front: tuple[Front, dict[str, str]]) -> None:
    """For each sslmode both clients are let in, encrypted or not, or refuse the server, alike."""
    server, named = front
    for parameters, expected in CLIENTS_SAY:
        url = named["other_url"] if "other_name" in parameters else named["url"]
        full = f"{url}?{parameters.format_map({**named, 'other_name': named['right']})}"
        for ask in (_by_loop(full), asyncio.to_thread(_without, full)):
            server.encrypted.clear()
            assert await ask == expected, parameters
            assert expected != "reached" or server.encrypted == ["disable" not in parameters], parameters

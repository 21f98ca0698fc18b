"""Asking for addresses in threads of our own. The system's answers stand in for name servers."""

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from chimeway.delivery.outward.names import THREADS_OF_A_DOMAIN, Names, NoSuchName
from kit.waiting import wait_for


async def test_the_system_is_asked() -> None:
    """A name of the machine itself is known without any name server."""
    names = Names()
    try:
        assert "127.0.0.1" in await names.addresses("localhost")
    finally:
        names.close()


@pytest.mark.parametrize(
    ("errno", "failure"),
    [
        (socket.EAI_NONAME, NoSuchName),
        (-5, NoSuchName),
        (socket.EAI_AGAIN, OSError),
        (socket.EAI_FAIL, OSError),
    ],
)
async def test_why_there_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, errno: int, failure: type[Exception]
) -> None:
    """That a name does not exist is one thing, that nobody could say another."""

    def ask(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(errno, "no")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    names = Names()
    try:
        with pytest.raises(failure):
            await names.addresses("gone.example")
    finally:
        names.close()


async def test_who_waits_for_one_name_holds_no_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many want one silent name, one thread asks; others are answered; closing does not wait."""
    go, asked = threading.Event(), []

    def ask(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        if host == "silent.example":
            go.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    names = Names()
    waiting = [asyncio.ensure_future(names.addresses("silent.example")) for _ in range(50)]
    try:
        await wait_for(lambda: asked, "the first question")
        assert await names.addresses("other.example") == ["192.0.2.1"]
        assert asked == ["silent.example", "other.example"]
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert not any(one.done() for one in waiting[1:])
    finally:
        names.close()
        go.set()
    await asyncio.wait(waiting)
    assert all(one.cancelled() for one in waiting)


@pytest.mark.parametrize("silent", ["silent.example", "silent.co.uk"])
async def test_one_silent_domain_leaves_threads_to_others(
    monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """However many names of one domain are silent, names of another are answered at once."""
    go, asked = threading.Event(), []

    def ask(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        if host.endswith(silent):
            go.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    names = Names()
    waiting = [asyncio.ensure_future(names.addresses(f"n{n}.{silent}")) for n in range(200)]
    try:
        await wait_for(lambda: len(asked) == THREADS_OF_A_DOMAIN, "as many ask as may")
        assert await names.addresses("other.co.uk") == ["192.0.2.1"]
        assert len(asked) == THREADS_OF_A_DOMAIN + 1
        for one in waiting[-100:]:
            one.cancel()
        go.set()
        assert await asyncio.gather(*waiting[:100]) == [["192.0.2.1"]] * 100
    finally:
        names.close()
        go.set()
    await asyncio.wait(waiting)


def test_a_silent_name_keeps_no_program_from_ending() -> None:
    """A thread that asks for ever ends with the program."""
    program = """
import asyncio, socket, time
from chimeway.delivery.outward.names import Names

async def ask():
    names = Names()
    try:
        async with asyncio.timeout(0.1):
            await names.addresses("silent.example")
    except TimeoutError:
        names.close()

socket.getaddrinfo = lambda *_, **__: time.sleep(60)
asyncio.run(ask())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)

"""Asking for the addresses of a name, in threads of our own: the system's way of asking blocks.

The system is asked, not a DNS server: /etc/hosts and all else that an operator set up holds. It takes
its time where a name server is silent, and cannot be told to stop; so threads do nothing else, none of them
keeps the program from ending, and who waits for a silent one takes no place of those who look up something
else in this process. Whoever asks for a name that is being asked for shares the answer, and the names of one
domain get a few threads at once: a customer whose name server is silent could else fill them all.
"""

import asyncio
import socket
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from chimeway.delivery.daemon_threads import DaemonThreads

THREADS: Final = 256
"""A tenant has at most 48 calls under way, each asks for five seconds, and a thread for up to thirty."""
THREADS_OF_A_DOMAIN: Final = 8
_SHORT: Final = 3
"""A last label but one that is no longer is probably one under which domains are given out, as co.uk."""
_THERE_IS_NONE: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class NoSuchName(Exception):  # noqa: N818  (it says what is)
    """The name does not exist, or has no address: so those say who are in charge of it."""


class Names:
    """Asks; for one event loop. Close it, so that nobody waits any more."""

    def __init__(self) -> None:
        """Start nothing: threads come with the first question."""
        self._threads = DaemonThreads(THREADS, "chimeway-names")
        self._asked: dict[str, asyncio.Task[list[str]]] = {}
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a name, best first.

        Raises:
            NoSuchName: there are none.
            OSError: nobody could say.
        """
        if host not in self._asked:
            places = self._of_domain(host)
            await places.acquire()
            if host in self._asked:  # somebody else had waited, too
                places.release()
            else:
                self._begin(host, places)
        return await asyncio.shield(self._asked[host])

    def _of_domain(self, host: str) -> asyncio.Semaphore:
        labels = host.split(".")[-3:]
        domain = labels if len(labels) > 1 and len(labels[-2]) <= _SHORT else labels[-2:]
        return self._places.setdefault(".".join(domain), asyncio.Semaphore(THREADS_OF_A_DOMAIN))

    def _begin(self, host: str, places: asyncio.Semaphore) -> None:
        """Have a thread ask; its place is free when it has its answer, whoever still waits for that."""

        def ended(asking: asyncio.Task[list[str]]) -> None:
            del self._asked[host]
            places.release()
            if not asking.cancelled():
                asking.exception()  # seen, though perhaps nobody waits for it any more

        self._asked[host] = asyncio.create_task(self._on_a_thread(host), name="ask-for-addresses")
        self._asked[host].add_done_callback(ended)

    async def _on_a_thread(self, host: str) -> list[str]:
        await self._threads.take()
        return await self._threads.run(partial(_ask, host))

    def close(self) -> None:
        """Ask for nothing more; a thread that still asks ends when it has its answer."""
        for asking in list(self._asked.values()):
            asking.cancel()


def _ask(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _THERE_IS_NONE:
            raise NoSuchName from None
        raise OSError("the name could not be looked up") from None
    except UnicodeError:  # what the codec of names refuses
        raise NoSuchName from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))

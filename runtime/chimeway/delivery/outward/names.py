"""Asking for the addresses of a name, in threads of our own: the system's way of asking blocks.

The system is asked, not a DNS server: /etc/hosts and all else that an operator set up holds. It takes
its time where a name server is silent, and cannot be told to stop; so threads do nothing else, and who waits
for a silent one takes no place of those who look up something else in this process. Whoever asks for a name
that is being asked for shares the answer, and names with the same last two labels get a few threads at
once: a customer whose name server is silent could else fill them all by names of one domain.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakValueDictionary

THREADS: Final = 64
THREADS_OF_A_DOMAIN: Final = 8
_THERE_IS_NONE: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class NoSuchName(Exception):  # noqa: N818  (it says what is)
    """The name does not exist, or has no address: so those say who are in charge of it."""


class Names:
    """Asks; for one event loop. Close it, so that its threads end."""

    def __init__(self) -> None:
        """Start nothing: threads come with the first question."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="chimeway-names")
        self._asked: dict[str, asyncio.Future[list[str]]] = {}
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
        domain = ".".join(host.split(".")[-2:])
        return self._places.setdefault(domain, asyncio.Semaphore(THREADS_OF_A_DOMAIN))

    def _begin(self, host: str, places: asyncio.Semaphore) -> None:
        """Have a thread ask; its place is free when it has its answer, whoever still waits for that."""

        def ended(asking: "asyncio.Future[list[str]]") -> None:
            del self._asked[host]
            places.release()
            if not asking.cancelled():
                asking.exception()  # seen, though perhaps nobody waits for it any more

        asking = asyncio.get_running_loop().run_in_executor(self._threads, _ask, host)
        self._asked[host] = asking
        asking.add_done_callback(ended)

    def close(self) -> None:
        """Let the threads end; one that still asks ends when it has its answer."""
        for asking in list(self._asked.values()):
            asking.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)


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

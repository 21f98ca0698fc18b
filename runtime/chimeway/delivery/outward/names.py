"""Asking for the addresses of a name, in threads of our own: the system's way of asking blocks.

The system is asked, not a DNS server: /etc/hosts and all else that an operator set up holds. It takes
its time where a name server is silent, and cannot be told to stop; so a few threads do nothing else, and
who waits for a silent one takes no place of those who look up something else in this process. Whoever asks
for a name that is being asked for shares the answer.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

THREADS: Final = 8
_THERE_IS_NONE: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class NoSuchName(Exception):  # noqa: N818  (it says what is)
    """The name does not exist, or has no address: so those say who are in charge of it."""


class Names:
    """Asks; for one event loop. Close it, so that its threads end."""

    def __init__(self) -> None:
        """Start nothing: threads come with the first question."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="chimeway-names")
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a name, best first.

        Raises:
            NoSuchName: there are none.
            OSError: nobody could say.
        """
        asking = self._asked.get(host)
        if asking is None:
            loop = asyncio.get_running_loop()
            asking = self._asked[host] = loop.run_in_executor(self._threads, _ask, host)
            asking.add_done_callback(lambda _: self._asked.pop(host, None))
            asking.add_done_callback(_seen)
        return await asyncio.shield(asking)

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


def _seen(asking: "asyncio.Future[list[str]]") -> None:
    """Take note of a failure that nobody waited for any more."""
    if not asking.cancelled():
        asking.exception()

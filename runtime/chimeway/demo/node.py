"""The node of a demo: the real `chimeway serve`, as a child process, heard by its log."""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from chimeway.errors import ChimewayError

_HERE: Final = Path(__file__).parent
_READY_S: Final = 45.0
_END_S: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1
_REMEMBERED: Final = 20
Heard: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Called with each line of the log."""


class NodeFailed(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """The demo's node did not do what it should."""

    code = "demo_node_failed"


class Node:
    """A child that serves."""

    def __init__(self, process: asyncio.subprocess.Process, told: Heard) -> None:
        """Take a started process; `told` hears each line of its log."""
        self._process = process
        self._told = told
        self._ready = asyncio.Event()
        self._last: deque[str] = deque(maxlen=_REMEMBERED)
        self._listening = asyncio.ensure_future(self._listen())

    async def ready(self) -> None:
        """Wait until it works, or raise NodeFailed with the end of its log."""
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait({ready, self._listening}, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            raise NodeFailed("the node is not ready; its log ends:\n" + "".join(self._last))

    async def stop(self) -> int:
        """Ask it to end, and return its exit code; one that does not end is killed."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_S):
                await asyncio.shield(self._listening)
                return await self._process.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()
        self._listening.cancel()
        return await self._process.wait()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._last.append(line.decode(errors="replace"))
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == "daemon.ready":
                self._ready.set()
            self._told(event)


@asynccontextmanager
async def serving(data: Path, smtp_url: str, told: Heard) -> AsyncIterator[Node]:
    """Run a node on the embedded server of a data folder while the block lasts; inside, it is ready.

    Its environment is ours without any setting of Chimeway's.

    Raises:
        NodeFailed: it did not become ready.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    kept = {name: os.environ[name] for name in ("CHIMEWAY_POSTGRES_BIN",) if name in os.environ}
    ours = {
        "CHIMEWAY_DATA_DIR": str(data),
        "CHIMEWAY_WORKFLOWS_DIR": str(_HERE / "workflows"),
        "CHIMEWAY_TEMPLATES_DIR": str(_HERE / "templates"),
        "CHIMEWAY_SMTP_URL": smtp_url,
        "CHIMEWAY_EMAIL_FROM": "Chimeway <demo@example.org>",
        "CHIMEWAY_NODE_NAME": "demo",
        "CHIMEWAY_HTTP_BIND": "",
        "CHIMEWAY_LOG_FORMAT": "json",
        "CHIMEWAY_LOG_LEVEL": "debug",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", "serve",
        env=clean | kept | ours, cwd=data, start_new_session=True, preexec_fn=_end_with(os.getpid()),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    node = Node(process, told)
    try:
        await node.ready()
        yield node
        await node.stop()
    finally:
        await node.kill()


def _end_with(parent: int) -> Callable[[], None] | None:
    """Return what asks the kernel, in the child, to end it when the demo is killed (Linux)."""
    if sys.platform != "linux":
        return None
    ask = ctypes.CDLL(None).prctl

    def in_child() -> None:
        ask(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return in_child

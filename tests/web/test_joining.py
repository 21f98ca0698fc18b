"""Answers in one write: what is handed over in pieces goes out together, in order, and all of it."""

import asyncio

from chimeway.web.joining import Joined


class Wire:
    """What a connection's own transport was told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        """Note it."""
        self.told.append(data)

    def close(self) -> None:
        """Note it."""
        self.told.append("closed")

    def is_closing(self) -> bool:
        """As the real one."""
        return "closed" in self.told


async def test_head_and_body_are_one_write() -> None:
    """The second write takes the first along, at once; a third is a new one."""
    wire = Wire()
    joined = Joined(wire)
    joined.write(b"head ")
    assert wire.told == []
    joined.write(b"body")
    assert wire.told == [b"head body"]
    joined.write(b"next")
    await asyncio.sleep(0)
    assert wire.told == [b"head body", b"next"]
    await asyncio.sleep(0)
    assert wire.told == [b"head body", b"next"]


async def test_what_is_written_before_the_end_is_sent() -> None:
    """Closing writes first; what it does not know itself it asks of the transport."""
    wire = Wire()
    joined = Joined(wire)
    joined.write(b"last words")
    assert not joined.is_closing()
    joined.close()
    assert wire.told == [b"last words", "closed"]
    assert joined.is_closing()

"""Ids that a node gives."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

from chimeway.store.ids import new_id, random_id, shard_of_id

NOW = datetime(2026, 11, 27, 12, 30, 0, 123_456, tzinfo=UTC)


def test_an_id_bears_its_time_and_its_shard() -> None:
    """It is a UUIDv7 by its looks, and Python's own by its equality."""
    made = new_id(77, NOW)
    assert isinstance(made, UUID)
    assert (made.version, made.variant, shard_of_id(made)) == (7, "specified in RFC 4122", 77)
    assert int.from_bytes(made.bytes[:6], "big") == int(NOW.timestamp() * 1000)
    assert (UUID(str(made)), hash(UUID(str(made)))) == (made, hash(made))


def test_a_random_id_is_a_uuid4() -> None:
    """By its version, and by nothing else."""
    made = random_id()
    assert (made.version, made.variant) == (4, "specified in RFC 4122")


def test_no_two_ids_are_the_same() -> None:
    """Not between threads, and not between a process and its child."""
    with ThreadPoolExecutor(8) as threads:
        ids = [
            one
            for many in threads.map(lambda _: [random_id() for _ in range(2_000)], range(8))
            for one in many
        ]
    assert len(set(ids)) == len(ids) == 16_000
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, random_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    told = UUID(bytes=os.read(reader, 16))
    assert told not in {random_id() for _ in range(1_000)}

"""A kit for tests: journeys on the real engine and a real PostgreSQL, with a clock that tests move.

    async with Harness(mention_escalation) as journey:
        await journey.trigger(recipients=["ada"], data={"document_id": "doc_789"})
        await journey.advance("PT2H")
        assert [message.channel for message in journey.sent] == ["email"]

Names are imported when they are first used: the pytest plugin lives here, and costs nobody a start.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from chimeway.extras import imported

if TYPE_CHECKING:
    from chimeway.progression.retry import RetryPolicy
    from chimeway.testing.harness import Harness
    from chimeway.testing.journey import Journey
    from chimeway.testing.recording import RecordingChannel, SentMessage
    from chimeway.testing.server import server_url
    from chimeway.testing.synchronous import SyncHarness, SyncJourney

_HOME_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Harness": "chimeway.testing.harness",
        "Journey": "chimeway.testing.journey",
        "RecordingChannel": "chimeway.testing.recording",
        "RetryPolicy": "chimeway.progression.retry",
        "SentMessage": "chimeway.testing.recording",
        "SyncHarness": "chimeway.testing.synchronous",
        "SyncJourney": "chimeway.testing.synchronous",
        "server_url": "chimeway.testing.server",
    }
)

__all__ = [
    "Harness",
    "Journey",
    "RecordingChannel",
    "RetryPolicy",
    "SentMessage",
    "SyncHarness",
    "SyncJourney",
    "server_url",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'chimeway.testing' has no attribute {name!r}")
    with imported("testing"):
        found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names, imported yet or not."""
    return sorted({*globals(), *__all__})

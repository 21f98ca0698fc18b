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
    from chimeway.testing.contract import channel_contract
    from chimeway.testing.contract_report import ContractBroken, ContractReport, Finding
    from chimeway.testing.faults import Fault, Received, rate_limit
    from chimeway.testing.faulty_http import FaultyHttp, HttpAnswer
    from chimeway.testing.faulty_smtp import FaultySmtp
    from chimeway.testing.harness import Harness
    from chimeway.testing.journey import Journey
    from chimeway.testing.recording import RecordingChannel, SentMessage
    from chimeway.testing.server import server_url
    from chimeway.testing.synchronous import SyncHarness, SyncJourney

_HOME_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ContractBroken": "chimeway.testing.contract_report",
        "ContractReport": "chimeway.testing.contract_report",
        "Fault": "chimeway.testing.faults",
        "FaultyHttp": "chimeway.testing.faulty_http",
        "FaultySmtp": "chimeway.testing.faulty_smtp",
        "Finding": "chimeway.testing.contract_report",
        "Harness": "chimeway.testing.harness",
        "HttpAnswer": "chimeway.testing.faulty_http",
        "Journey": "chimeway.testing.journey",
        "Received": "chimeway.testing.faults",
        "RecordingChannel": "chimeway.testing.recording",
        "RetryPolicy": "chimeway.progression.retry",
        "SentMessage": "chimeway.testing.recording",
        "SyncHarness": "chimeway.testing.synchronous",
        "SyncJourney": "chimeway.testing.synchronous",
        "channel_contract": "chimeway.testing.contract",
        "rate_limit": "chimeway.testing.faults",
        "server_url": "chimeway.testing.server",
    }
)

__all__ = [
    "ContractBroken",
    "ContractReport",
    "Fault",
    "FaultyHttp",
    "FaultySmtp",
    "Finding",
    "Harness",
    "HttpAnswer",
    "Journey",
    "Received",
    "RecordingChannel",
    "RetryPolicy",
    "SentMessage",
    "SyncHarness",
    "SyncJourney",
    "channel_contract",
    "rate_limit",
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

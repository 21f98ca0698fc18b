"""What a node says at its start of messages that it could not make, or not send. It stops for none of them.

Looked through are the workflows that triggers start now (the current version of each key), for so long
and no longer. What is registered later is not looked at: its messages fail one by one, each with its reason.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from chimeway.limits import TEMPLATE_CHECK_S, TEMPLATE_FAULTS_LOGGED
from chimeway.log import Events
from chimeway.render.check import Checked, Checking, Wanted
from chimeway.render.names import Given
from chimeway.render.renderers import Renderers
from chimeway.store import definitions
from chimeway.store.definitions import Stored
from chimeway.store.pool import Database

_log = Events()
_PAGE: Final = 200


async def check_templates(database: Database, renderers: Renderers, channels: Collection[str]) -> None:
    """Log what keeps messages of current workflows from being made here, or from going out.

    Args:
        database: where the workflows are.
        renderers: what makes messages of this node.
        channels: those that this node has a provider for.

    Raises:
        DatabaseUnavailable: it is gone.
    """
    ends = time.monotonic() + TEMPLATE_CHECK_S
    wanted: list[Wanted] = []
    after, workflows, complete = "", 0, True
    while page := await definitions.current_definitions(database, after, _PAGE):
        wanted += wanted_in(page)
        after, workflows = page[-1].key, workflows + len(page)
        if time.monotonic() > ends:
            complete = False
            break
    _tell_missing(wanted, channels)
    checking = Checking(renderers, wanted)
    for _ in checking.each():
        await asyncio.sleep(0)  # the loop may be a host's
        if time.monotonic() > ends:
            break
    found = checking.result()
    complete = complete and found.complete
    _tell(found, workflows, complete, round(time.monotonic() - ends + TEMPLATE_CHECK_S, 3))


def _tell_missing(wanted: Sequence[Wanted], channels: Collection[str]) -> None:
    steps: dict[str, list[str]] = {}
    for one in wanted:
        if one.channel != "in_app" and one.channel not in channels:
            steps.setdefault(one.channel, []).append(one.step)
    for channel, those in sorted(steps.items())[:TEMPLATE_FAULTS_LOGGED]:
        _log.warning("channel.missing", channel=channel, workflows=those[:3])


def _tell(found: Checked, workflows: int, complete: bool, seconds: float) -> None:  # noqa: FBT001  (internal)
    errors = found.errors
    for one in errors[:TEMPLATE_FAULTS_LOGGED]:
        _log.warning(
            "template.fault", render_key=one.render_key, channel=one.channel, template=one.template,
            line=one.line, code=one.code, workflows=list(one.steps[:3]), fault=one.message,
        )  # fmt: skip
    _log.info(
        "template.checked", workflows=workflows, errors=len(errors),
        warnings=len(found.findings) - len(errors), complete=complete, seconds=seconds,
    )  # fmt: skip


def wanted_in(stored: Sequence[Stored]) -> list[Wanted]:
    """Return the messages of stored definitions. Not parsed: of thousands that would take seconds."""
    return [message for one in stored for message in _messages(one)]


def _messages(stored: Stored) -> Iterator[Wanted]:
    """Yield the messages of a definition; what is not as it should be (written by hand) sends none."""
    steps = stored.raw.get("steps") if isinstance(stored.raw, Mapping) else None
    for step in steps if isinstance(steps, list) else ():
        match step:
            case {
                "id": str(name),
                "action": {"type": "notify", "channel": str(channel), "render_key": str(key)},
            }:
                own = step["action"].get("data")
                names = frozenset(stored.required).union(own if isinstance(own, Mapping) else ())
                schema: Any = stored.data_schema
                given = Given(names, schema if isinstance(schema, Mapping) else None)
                yield Wanted(f"{stored.key} version {stored.version}, step {name}", key, channel, given)

"""What a node says at its start of messages that it could not make. It stops for none of them.

Looked through are the workflows that triggers start now (the current version of each key), for so long
and no longer. What is registered later is not looked at: its messages fail one by one, each with its reason.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chimeway.errors import InvalidDefinition
from chimeway.limits import TEMPLATE_CHECK_S, TEMPLATE_FAULTS_LOGGED
from chimeway.log import Events
from chimeway.render.check import Wanted, check, wanted_by
from chimeway.render.renderers import Renderers
from chimeway.store import definitions
from chimeway.store.definitions import Stored
from chimeway.store.pool import Database
from chimeway.workflow.parse import parse

_log = Events()
_PAGE: Final = 200


async def check_templates(database: Database, renderers: Renderers) -> None:
    """Log what keeps messages of current workflows from being made.

    Raises:
        DatabaseUnavailable: it is gone.
    """
    began = time.monotonic()
    wanted: list[Wanted] = []
    after, looked_at, complete = "", 0, True
    while page := await definitions.current_definitions(database, after, _PAGE):
        wanted += wanted_in(page)
        after, looked_at = page[-1].key, looked_at + len(page)
        if time.monotonic() - began > TEMPLATE_CHECK_S:
            complete = False
            break
    found = check(renderers, wanted)
    errors = found.errors
    for one in errors[:TEMPLATE_FAULTS_LOGGED]:
        _log.warning(
            "template.fault", render_key=one.render_key, channel=one.channel, template=one.template,
            line=one.line, code=one.code, workflows=list(one.steps[:3]), fault=one.message,
        )  # fmt: skip
    _log.info(
        "template.checked", workflows=looked_at, errors=len(errors),
        warnings=len(found.findings) - len(errors), complete=complete,
        seconds=round(time.monotonic() - began, 3),
    )  # fmt: skip


def wanted_in(stored: Sequence[Stored]) -> list[Wanted]:
    """Return the messages of stored definitions; of one that is not understood here, none."""
    found: list[Wanted] = []
    for one in stored:
        try:
            found += wanted_by(parse(one.raw), _object(one.data_schema))
        except InvalidDefinition:
            continue
    return found


def _object(schema: Any) -> Mapping[str, Any] | None:
    return schema if isinstance(schema, Mapping) else None

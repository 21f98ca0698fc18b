"""The kinds of providers that settings can name: `kind = "smtp"`.

Each kind is a module in `channels/` with two names: `Options`, the model of what may be set, and `build`,
which makes a channel of them. A module is imported when its kind is first named, so that a kind whose package
is not installed troubles nobody else.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from chimeway.clock import Clock
from chimeway.delivery.channel import Channel
from chimeway.extras import imported
from chimeway.setting_tables import Options

_HOMES: Final[Mapping[str, str]] = MappingProxyType(
    {"smtp": "email", "webhook": "webhook", "apprise": "apprise", "log": "log"}
)
"""Kind → its module in `channels/`."""

KINDS: Final = tuple(_HOMES)


class Kind(Protocol):
    """What a module of a kind has."""

    @property
    def Options(self) -> type[Options]:  # noqa: N802  (a class)
        """What may be set."""
        ...

    def build(self, options: Any, name: str, clock: Clock) -> Channel:
        """Make a channel called `name` of what was set; connect to nothing yet."""
        ...


def kind_called(name: str) -> Kind:
    """Return the kind of a name in `KINDS`.

    Raises:
        MissingExtra: its package is not installed; the message has the command that installs it.
    """
    with imported():
        return cast("Kind", import_module(f"chimeway.delivery.channels.{_HOMES[name]}"))

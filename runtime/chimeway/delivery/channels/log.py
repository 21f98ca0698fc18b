"""The channel that writes a line: for development, and to see what would have been sent."""

from typing import ClassVar

from chimeway.clock import Clock
from chimeway.delivery.channel import Message, Sent
from chimeway.log import Events
from chimeway.setting_tables import Options as TableOptions

_log = Events()


class LogChannel:
    """Logs every message as `delivery.logged`, and succeeds.

    Under any channel's name, so that it can stand in for one that is not set up yet. The line has
    subject and body: it is for machines where people's messages may be read; elsewhere `content` is false.
    """

    needs_address: ClassVar[bool] = False

    def __init__(self, name: str = "log", *, content: bool = True) -> None:
        """Take the name of the channel that it is, or stands in for; whether a line says what is sent."""
        self.name = name
        self._content = content

    async def send(self, message: Message) -> Sent:
        """Write one line."""
        body = message.text if message.text is not None else message.body
        _log.info(
            "delivery.logged",
            delivery_id=message.delivery_id,
            run_id=message.run_id,
            tenant_id=message.tenant_id,
            recipient_id=message.recipient_id,
            channel=message.channel,
            **({"subject": message.subject, "body": body} if self._content else {}),
        )
        return Sent()


class Options(TableOptions):
    """`kind = "log"`."""

    content: bool = True


def build(options: Options, name: str, _clock: Clock) -> LogChannel:
    """Make the channel."""
    return LogChannel(name, content=options.content)

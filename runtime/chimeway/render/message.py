"""What rendering is given and what comes of it: the context, the message, or the fault. Pure values.

A fault is a value, never an exception, so it can end a delivery and nothing more.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from chimeway.limits import MESSAGE_BYTES
from chimeway.render.html_text import text_from_html


@dataclass(frozen=True, slots=True)
class Rendered:
    """The parts of a message. `text` is the plain alternative to an HTML body."""

    subject: str
    body: str
    text: str | None
    locale: str | None = None
    """Of the template that was used, as its name has it; None: the plain one, or a function."""

    def as_json(self) -> dict[str, str | None]:
        """Return the message as it is kept until it is sent, and as programs are shown it."""
        kept = {"subject": self.subject, "body": self.body, "text": self.text}
        return kept if self.locale is None else {**kept, "locale": self.locale}


@dataclass(frozen=True, slots=True)
class RenderFault:
    """Why there is no message: the place and what is wrong there; no value of any data."""

    reason: str


WITH_SUBJECT: Final = frozenset({"email", "in_app"})
"""Channels whose messages are nothing without a subject."""


@dataclass(frozen=True, slots=True)
class RenderRecipient:
    """Whom the message is for, as they were identified."""

    id: str
    locale: str | None
    timezone: str | None
    addresses: Mapping[str, Any]
    """Channel → address."""
    data: Mapping[str, Any]
    """What else the profile holds."""


@dataclass(frozen=True, slots=True)
class RenderRun:
    """The run that the message belongs to."""

    id: str
    workflow: str
    version: int


@dataclass(frozen=True, slots=True)
class RenderStep:
    """The step that sends the message."""

    id: str


@dataclass(frozen=True, slots=True)
class RenderContext:
    """All that a message is made of."""

    data: Mapping[str, Any]
    """The trigger's data, with the step's own merged over it."""
    recipient: RenderRecipient
    tenant: str
    run: RenderRun
    step: RenderStep
    unsubscribe_url: str | None = None
    """Where the recipient says that they want no more of these; None where there is no such place."""

    def names(self) -> dict[str, Any]:
        """Return the names in a template: the data's keys, and ours, which win.

        `unsubscribe_url` is always there, and null where there is none; data of that name then stays.
        """
        recipient, run = self.recipient, self.run
        unsubscribe = {"unsubscribe_url": self.unsubscribe_url}
        return {
            **unsubscribe,
            **self.data,
            **(unsubscribe if self.unsubscribe_url is not None else {}),
            "recipient": {
                "id": recipient.id,
                "locale": recipient.locale,
                "timezone": recipient.timezone,
                "addresses": recipient.addresses,
                "data": recipient.data,
            },
            "tenant": self.tenant,
            "run": {"id": run.id, "workflow": run.workflow, "version": run.version},
            "step": {"id": self.step.id},
        }

    def copied(self) -> "RenderContext":
        """Return one that can be changed by whoever gets it, and nobody else sees it."""
        return deepcopy(self)


def finished(
    name: str, channel: str, subject: str | None, body: str, text: str | None
) -> Rendered | RenderFault:
    """Make a message of its parts: a subject is one line, an e-mail has a plain alternative.

    Args:
        name: what to call the source in a fault.
        channel: the channel it is for.
        subject: None where the source has none.
        body: HTML for e-mail.
        text: None where the source has none.
    """
    if subject is None and channel in WITH_SUBJECT:
        return RenderFault(f"{name} has no subject")
    if text is None and channel == "email":
        text = text_from_html(body)
    return _bounded(name, Rendered(" ".join((subject or "").split()), body, text))


def _bounded(name: str, rendered: Rendered) -> Rendered | RenderFault:
    """Refuse what cannot be stored or sent."""
    whole = rendered.subject + rendered.body + (rendered.text or "")
    if "\0" in whole:
        return RenderFault(f"{name} gives a NUL character")  # PostgreSQL takes none in text
    if len(whole.encode()) > MESSAGE_BYTES:
        return RenderFault(f"{name} gives more than {MESSAGE_BYTES} bytes")
    return rendered

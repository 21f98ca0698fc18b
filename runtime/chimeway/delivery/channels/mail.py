"""A message as it goes over the wire of e-mail: headers that no value can break, and its parts.

Where there is HTML and text it is `multipart/alternative`, the text first; where there is no text,
HTML alone: an empty text would be what some people are shown. Everything is 7 bit.

A subject holds what strangers wrote. Python's library decodes an encoded word (`=?utf-8?q?a=0D=0ABcc:...?=`)
in what it is to write, line ends too, and writes that: a header of their own. So the subject is written here.

`List-Unsubscribe` stands there only when the message names an URL for it, and the header by which a
mailbox unsubscribes with one click (RFC 8058) only when that URL is https, as the RFC wants.
"""

import re
from datetime import datetime
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import Final, NamedTuple

import idna

from chimeway.delivery.channel import ConfigurationFailure, Message, PermanentFailure


class _Headers(HeaderRegistry):
    """The library's kinds of headers, each made once: it makes a class anew for each header of each mail,
    which is a third of what composing one takes. (Names are ours, and few.)
    """

    def __init__(self) -> None:
        """Begin with the library's."""
        super().__init__()
        self._made: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        """Return the kind of a header."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = super().__getitem__(name)
        return made


_POLICY: Final = SMTP_POLICY.clone(
    cte_type="7bit", header_factory=_Headers()
)  # not every server takes 8 bits
_PLAIN: Final = re.compile(r"[!-~]{1,70}(?: [!-~]{1,70})*")
_LOCAL: Final = re.compile(r"(?!.*=\?)[ -~]+")  # no encoded word: see above
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_.-]+|\[[A-Za-z0-9.:]+\]")
_UNSUBSCRIBE: Final = re.compile(r"(?P<scheme>https?://|mailto:)[!-;=?-~]{1,900}", re.IGNORECASE)


class Mail(NamedTuple):
    """What is handed in: both sides of the envelope, and the content."""

    sender: str
    recipient: str
    content: bytes


def composed(message: Message, from_address: str, now: datetime, *, reply_to: str | None = None) -> Mail:
    """Return a message as mail.

    No value can become a header of its own: the policy refuses line ends, and addresses are parsed.

    Raises:
        ConfigurationFailure: `from_address` is not one address, or `reply_to` none.
        PermanentFailure: the recipient's address, or what is to be a header, cannot be one.
    """
    mail = EmailMessage(policy=_POLICY)
    sender = _put_sender(mail, from_address, reply_to)
    try:
        recipient = _recipient(message.address or "")
        mail["To"] = recipient
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{message.delivery_id}@chimeway>"
        mail["X-Chimeway-Delivery"] = message.delivery_id
        # Postmark takes it off, and hands it back with all that it tells later, as it does no other header.
        mail["X-PM-Metadata-chimeway-delivery"] = message.delivery_id
        _put_parts(mail, message)
        head = _subject(message.subject) + _unsubscribing(message.unsubscribe_url)
        return Mail(sender.addr_spec, recipient.addr_spec, head + mail.as_bytes())
    except (ValueError, MessageError) as error:
        # Not chained: these errors quote the address.
        raise PermanentFailure(f"address or headers are not valid ({type(error).__name__})") from None


def _put_parts(mail: EmailMessage, message: Message) -> None:
    if message.text is None:
        mail.set_content(message.body, subtype="html")
        return
    mail.set_content(message.text)
    mail.add_alternative(message.body, subtype="html")


def _put_sender(mail: EmailMessage, from_address: str, reply_to: str | None) -> Address:
    """Write From and Reply-To; return the address in From, of which there must be one."""
    try:
        mail["From"] = from_address
        (sender,) = mail["From"].addresses
        if reply_to is not None:
            mail["Reply-To"] = reply_to
            for one in mail["Reply-To"].addresses or [Address()]:
                _ascii(one)
        return _ascii(sender)
    except (ValueError, MessageError, IndexError) as error:
        raise ConfigurationFailure("the sender is not one e-mail address") from error


def _recipient(address: str) -> Address:
    try:
        return _ascii(Address(addr_spec=address))
    except Exception:  # noqa: BLE001  (its parser raises what it happens to, such as AttributeError for "a@[")
        raise ValueError("no address") from None


def _ascii(address: Address) -> Address:
    """Return the address as every server understands it; a local part beyond ASCII has no such."""
    if not address.username or not address.domain:
        raise ValueError("an address has two sides")
    if not _LOCAL.fullmatch(address.username):
        raise ValueError("a local part is of printable ASCII, and no encoded word")
    domain = address.domain
    if not domain.isascii():  # not by Python's codec: to it a sharp s is ss, which is another's domain
        domain = idna.encode(domain, uts46=True).decode("ascii")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("a domain is a name, or an address in brackets")
    return Address(address.display_name, address.username, domain)


def _subject(text: str) -> bytes:
    """Return the header: what is not plain goes in encoded words, an encoded word of others' too."""
    if "\r" in text or "\n" in text:
        raise ValueError("a subject is one line")
    plain = _PLAIN.fullmatch(text) and "=?" not in text
    header = Header(text, "us-ascii" if plain else "utf-8", maxlinelen=76, header_name="Subject")
    folded = header.encode(linesep="\r\n")
    return f"Subject: {folded}\r\n".encode("ascii")


def _unsubscribing(url: str | None) -> bytes:
    """Return the headers, as lines of their own: the library would fold a long URL and so break it."""
    if url is None:
        return b""
    found = _UNSUBSCRIBE.fullmatch(url)
    if found is None:
        raise ValueError("no URL that can stand in a header")
    lines = f"List-Unsubscribe: <{url}>\r\n"
    if found["scheme"].lower() == "https://":
        lines += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    return lines.encode("ascii")

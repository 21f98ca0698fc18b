"""Amazon SNS over HTTPS: whether a message is Amazon's, by its signature. Pure: certificates are given.

A message is signed over some of its fields, each as its name and value in lines of their own, by the key
of a certificate that lies at `SigningCertURL`. Whoever may choose that URL may sign what they like. So the
URL must be of one form, whole: https, the host `sns.<region>.amazonaws.com` or `.com.cn`, no user, port,
query or other path than a certificate's; whoever fetches it must follow no redirect. That the certificate
is Amazon's is then what TLS says of that host. (The files hold no chain, and their names have changed over
the years; what can be checked here is that one is valid now, and its key strong.)

Version 1 of the signature is over SHA-1, version 2 over SHA-256; topics are made with version 1. Forging one
needs a second preimage, which SHA-1 still withstands.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chimeway.extras import imported
from chimeway.feedback.reading import json_object, refuse

_REGION: Final = r"[a-z]{2,6}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}"
"""No other word: `sns.s3-us-west-2.amazonaws.com` is a bucket, and whoever has it."""
_HOST: Final = rf"https://sns\.{_REGION}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE_URL: Final = re.compile(
    rf"{_HOST}/SimpleNotificationService-[A-Za-z0-9_-]{{1,100}}\.pem", re.ASCII
)
_SUBSCRIBE_URL: Final = re.compile(rf"{_HOST}/\?[!-~]{{1,2000}}", re.ASCII)
_SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
    "UnsubscribeConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip
"""Which fields are signed, in this order; `Subject` only where there is one."""
_WEAKEST_BITS: Final = 2_048


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message as it came: nothing of it is to be believed before `check` has returned."""

    type: str
    topic: str
    message_id: str
    message: str
    certificate_url: str
    subscribe_url: str | None
    signed: bytes
    signature: bytes
    version: str


def message_of(body: bytes) -> SnsMessage:
    """Return the message that a request's body is.

    Raises:
        FeedbackRefused: it is none of SNS, or names a certificate that is not Amazon's.
        InvalidInput: the body is no JSON.
    """
    told = json_object(body)
    kind = told.get("Type")
    if not isinstance(kind, str) or kind not in _SIGNED:
        raise refuse("it is no message of Amazon SNS (raw delivery is not signed, and not taken)")
    return SnsMessage(
        type=kind,
        topic=_text(told, "TopicArn"),
        message_id=_text(told, "MessageId"),
        message=_text(told, "Message"),
        certificate_url=_certificate_url(_text(told, "SigningCertURL")),
        subscribe_url=None if kind == "Notification" else _subscribe_url(told),
        signed=_signed(told, kind),
        signature=_signature(_text(told, "Signature")),
        version=_text(told, "SignatureVersion"),
    )


def check(message: SnsMessage, certificate: bytes, now: datetime) -> None:
    """Return if the certificate's key has signed this message.

    Raises:
        FeedbackRefused: it has not, or the certificate is none, weak or not valid now.
        MissingExtra: the package that knows certificates is not installed.
    """
    with imported("web"):
        from cryptography import x509  # noqa: PLC0415  (the light install has no cryptography)
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
    try:
        found = x509.load_pem_x509_certificate(certificate)
        key = found.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise refuse("the signing certificate cannot be read") from None
    if not found.not_valid_before_utc <= now.astimezone(UTC) <= found.not_valid_after_utc:
        raise refuse("the signing certificate is not valid now")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _WEAKEST_BITS:
        raise refuse("the signing certificate has no RSA key of 2048 bits or more")
    digests = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303  (what topics are made with)
    digest = digests.get(message.version)
    if digest is None:
        raise refuse("the version of the signature is unknown")
    try:
        key.verify(message.signature, message.signed, padding.PKCS1v15(), digest)
    except InvalidSignature:
        raise refuse("the signature does not fit") from None
    except UnsupportedAlgorithm:
        raise refuse("SHA-1 is forbidden on this machine: set the topic's SignatureVersion to 2") from None


def _text(told: Mapping[str, Any], name: str) -> str:
    found = told.get(name)
    if not isinstance(found, str):
        raise refuse(f"{name} is missing")
    return found


def _certificate_url(given: str) -> str:
    if not _CERTIFICATE_URL.fullmatch(given):
        raise refuse("SigningCertURL is not Amazon's")
    return given


def _subscribe_url(told: Mapping[str, Any]) -> str:
    """Return where a subscription is confirmed: Amazon's, and for the topic that the message names."""
    given = _text(told, "SubscribeURL")
    if not _SUBSCRIBE_URL.fullmatch(given):
        raise refuse("SubscribeURL is not Amazon's")
    query = parse_qs(urlsplit(given).query)
    if query.get("Action") != ["ConfirmSubscription"] or query.get("TopicArn") != [told.get("TopicArn")]:
        raise refuse("SubscribeURL confirms something else")
    return given


def _signed(told: Mapping[str, Any], kind: str) -> bytes:
    names = [name for name in _SIGNED[kind] if name != "Subject" or told.get(name) is not None]
    try:
        return "".join(f"{name}\n{_text(told, name)}\n" for name in names).encode()
    except UnicodeEncodeError:
        raise refuse("the signature does not fit") from None


def _signature(given: str) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise refuse("the signature is no base64") from None

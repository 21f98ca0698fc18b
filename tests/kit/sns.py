"""Amazon SNS as a test plays it: a key that signs, its certificate, and an https server where it lies."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

HOST: Final = "sns.eu-west-1.amazonaws.com"
CERTIFICATE_URL: Final = f"https://{HOST}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
TOPIC: Final = "arn:aws:sns:eu-west-1:123456789012:ses-events"
_ORDER: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the certificate that goes with it."""

    key: rsa.RSAPrivateKey
    certificate: bytes

    @classmethod
    def made(
        cls, now: datetime | None = None, *, bits: int = 2048, days: int = 30, name: str = HOST
    ) -> "Signer":
        """Make a key and a certificate of its own for it, valid for so many days around now."""
        key = rsa.generate_private_key(65_537, bits)
        at = now or datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - timedelta(days=days))
            .not_valid_after(at + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def pem_key(self) -> bytes:
        """The key as a file has it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def signed(self, told: dict[str, Any], version: str = "2", **changed: Any) -> bytes:
        """Return a message as SNS posts it; what is `changed` is so after it was signed."""
        lines = "".join(f"{name}\n{told[name]}\n" for name in _ORDER[told["Type"]] if name in told)
        digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303  (version 1 is so)
        signature = self.key.sign(lines.encode(), padding.PKCS1v15(), digest)
        extra = {
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
            "SigningCertURL": CERTIFICATE_URL,
        }
        return json.dumps({**told, **extra, **changed}).encode()


def notification(message: dict[str, Any] | str, **more: Any) -> dict[str, Any]:
    """Return a notification that is not signed yet."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2026-01-05T08:59:59.000Z",
        **more,
    }


def subscription(**more: Any) -> dict[str, Any]:
    """Return the question whether SNS may send."""
    return {
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37",
        "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe to the topic.",
        "SubscribeURL": f"https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37",
        "Timestamp": "2026-01-05T08:59:59.000Z",
        **more,
    }


def mail(delivery: object = None, **more: Any) -> dict[str, Any]:
    """Return what SES says of the original message."""
    headers = [{"name": "From", "value": "a@b"}]
    if delivery is not None:
        headers.append({"name": "X-Chimeway-Delivery", "value": str(delivery)})
    return {"timestamp": "2026-01-05T08:59:00.000Z", "messageId": "0100-ses-0001", "headers": headers, **more}

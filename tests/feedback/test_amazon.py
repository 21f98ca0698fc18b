"""Amazon SES over SNS: what is signed by Amazon, what is not, and what each message says of a delivery."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from chimeway.errors import FeedbackRefused, InvalidInput
from chimeway.feedback import AmazonSes, FeedbackEvent, Subscription
from kit.sns import CERTIFICATE_URL, HOST, TOPIC, Signer, mail, notification, subscription

NOW: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
DELIVERY: Final = UUID("019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21")
SOURCE: Final = AmazonSes([TOPIC])
BOUNCE: Final[dict[str, Any]] = {
    "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-01-05T08:59:30.000Z",
    "bouncedRecipients": [{"emailAddress": "ada@example.org", "action": "failed", "status": "5.1.1",
                           "diagnosticCode": "smtp; 550 5.1.1 unknown"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def signer() -> Signer:
    """Amazon's key of this test."""
    return Signer.made(NOW)


def read(signer: Signer, message: dict[str, Any] | str, version: str = "2") -> tuple[FeedbackEvent, ...]:
    """Sign a notification and read it."""
    found = SOURCE.read(signer.signed(notification(message), version), signer.certificate, NOW)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "Amazon SES Email Event Notification"}])
def test_both_signatures_are_read(signer: Signer, version: str, subject: dict[str, str]) -> None:
    """Version 1 and version 2, with and without a subject: what Amazon signed is read."""
    told = notification({"eventType": "Bounce", "bounce": BOUNCE, "mail": mail(DELIVERY)}, **subject)
    body = signer.signed(told, version)
    assert SOURCE.certificate_url(body) == CERTIFICATE_URL
    assert SOURCE.read(body, signer.certificate, NOW) == (
        FeedbackEvent(
            told["MessageId"], "bounced", DELIVERY, ("0100-ses-0001", "Ok 0100-ses-0001"),
            datetime(2026, 1, 5, 8, 59, 30, tzinfo=UTC), "Permanent: General: smtp; 550 5.1.1 unknown",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"Message": "{}"},
        {"MessageId": "another"},
        {"Subject": "added"},
        {"Timestamp": "2026-01-05T09:00:00.000Z"},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "3"},
        {"Signature": ""},
        {"Signature": "Zm9v"},
        {"Signature": "not base64"},
        {"Signature": None},
        {"Message": 7},
        {"Message": "\ud800"},
    ],
)
def test_what_was_changed_is_refused(signer: Signer, changed: dict[str, Any]) -> None:
    """Each field is signed, and a signature of another kind is none."""
    body = signer.signed(notification({"eventType": "Bounce"}), **changed)
    with pytest.raises(FeedbackRefused):
        SOURCE.read(body, signer.certificate, NOW)


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL.replace("https", "http"),
        CERTIFICATE_URL.replace(HOST, "sns.eu-west-1.amazonaws.com.evil.example"),
        CERTIFICATE_URL.replace(HOST, "evil.example"),
        CERTIFICATE_URL.replace(HOST, f"{HOST}@evil.example"),
        CERTIFICATE_URL.replace(HOST, f"evil.example#{HOST}"),
        CERTIFICATE_URL.replace(HOST, f"evil.example\\.{HOST}"),
        CERTIFICATE_URL.replace(HOST, f"{HOST}:8443"),
        CERTIFICATE_URL.replace(HOST, "sns.evil.eu-west-1.amazonaws.com"),
        CERTIFICATE_URL.replace(HOST, "snsXeu-west-1.amazonaws.com"),
        CERTIFICATE_URL.replace(HOST, "s3.eu-west-1.amazonaws.com"),
        CERTIFICATE_URL.replace(HOST, "sns.s3.amazonaws.com"),  # a bucket of this name, which is somebody's
        CERTIFICATE_URL.replace(HOST, "sns.s3-us-west-2.amazonaws.com"),
        CERTIFICATE_URL.replace(HOST, "sns.s3-accelerate.amazonaws.com"),
        CERTIFICATE_URL.replace(HOST, "sns..amazonaws.com"),
        CERTIFICATE_URL.replace(HOST, "\u0455ns.eu-west-1.amazonaws.com"),
        CERTIFICATE_URL.replace("/Simple", "/../evil/Simple"),
        CERTIFICATE_URL.replace("/Simple", "/?url=/Simple"),
        CERTIFICATE_URL + "?x",
        CERTIFICATE_URL + "#",
        CERTIFICATE_URL + "\n",
        " " + CERTIFICATE_URL,
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_not_asked_for(signer: Signer, url: str) -> None:
    """Whoever may choose the certificate may sign: no trick leads away."""
    body = signer.signed(notification("{}"), SigningCertURL=url)
    with pytest.raises(FeedbackRefused, match="SigningCertURL is not Amazon's"):
        SOURCE.certificate_url(body)


@pytest.mark.parametrize(
    "host",
    [
        "sns.us-gov-west-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
        "sns.ap-southeast-5.amazonaws.com",
        "sns.mx-central-1.amazonaws.com",
    ],
)
def test_certificates_of_other_partitions_are_amazons(signer: Signer, host: str) -> None:
    """Each region has a host of its own."""
    url = CERTIFICATE_URL.replace(HOST, host)
    assert SOURCE.certificate_url(signer.signed(notification("{}"), SigningCertURL=url)) == url


def test_another_topic_is_refused(signer: Signer) -> None:
    """Anybody can make a topic at Amazon, and Amazon signs for it."""
    body = signer.signed(notification("{}", TopicArn=f"{TOPIC}-of-eve"))
    for ask in (SOURCE.certificate_url, lambda body: SOURCE.read(body, signer.certificate, NOW)):
        with pytest.raises(FeedbackRefused, match="none of those set up"):
            ask(body)


def test_raw_delivery_is_refused() -> None:
    """What SNS hands on raw bears no signature, so nobody knows whose it is."""
    body = json.dumps({"eventType": "Bounce", "bounce": BOUNCE, "mail": mail(DELIVERY)}).encode()
    with pytest.raises(FeedbackRefused, match="raw delivery"):
        SOURCE.certificate_url(body)


def test_a_certificate_must_hold(signer: Signer) -> None:
    """One that is none, of another key, weak, over, or not yet valid signs nothing."""
    body = signer.signed(notification("{}"))
    with pytest.raises(FeedbackRefused, match="cannot be read"):
        SOURCE.read(body, b"<html>", NOW)
    with pytest.raises(FeedbackRefused, match="does not fit"):
        SOURCE.read(body, Signer.made(NOW).certificate, NOW)
    weak = Signer.made(NOW, bits=1024)
    with pytest.raises(FeedbackRefused, match="2048 bits"):
        SOURCE.read(weak.signed(notification("{}")), weak.certificate, NOW)
    for days in (-31, 31):
        with pytest.raises(FeedbackRefused, match="not valid now"):
            SOURCE.read(body, signer.certificate, NOW + timedelta(days=days))


def test_a_subscription_is_offered(signer: Signer) -> None:
    """The question of a topic that is set up gives the URL that answers it."""
    body = signer.signed(subscription())
    offer = SOURCE.read(body, signer.certificate, NOW)
    assert offer == Subscription(TOPIC, json.loads(body)["SubscribeURL"])


@pytest.mark.parametrize(
    "url",
    [
        f"https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1",
        f"https://{HOST}@evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1",
        f"https://{HOST}/?Action=DeleteTopic&TopicArn={TOPIC}&Token=1",
        f"https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}-of-eve&Token=1",
        f"https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&TopicArn={TOPIC}-of-eve",
        f"http://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1",
    ],
)
def test_a_subscription_leads_nowhere_else(signer: Signer, url: str) -> None:
    """What is fetched to confirm is Amazon's, and confirms this topic."""
    with pytest.raises(FeedbackRefused, match="SubscribeURL"):
        SOURCE.read(signer.signed(subscription(SubscribeURL=url)), signer.certificate, NOW)


NO_DSN = BOUNCE | {"bounceType": "Transient", "bouncedRecipients": [{"emailAddress": "ada@example.org"}]}
EVENTS: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("Bounce", {"bounce": BOUNCE}, "bounced"),
    ("Bounce", {"bounce": BOUNCE | {"bounceType": "Transient"}}, "failed"),
    ("Bounce", {"bounce": NO_DSN | {"bounceSubType": "MailboxFull"}}, "failed"),
    ("Bounce", {"bounce": NO_DSN}, "deferred"),
    ("Bounce", {"bounce": NO_DSN | {"bounceType": "Undetermined", "bouncedRecipients": []}}, "deferred"),
    ("Complaint", {"complaint": {"complaintFeedbackType": "abuse"}}, "complained"),
    ("Complaint", {"complaint": {"complaintSubType": "OnAccountSuppressionList"}}, "failed"),
    ("Delivery", {"delivery": {"smtpResponse": "250 2.6.0 Message received"}}, "delivered"),
    ("DeliveryDelay", {"deliveryDelay": {"delayType": "MailboxFull"}}, "deferred"),
    ("Reject", {"reject": {"reason": "Bad content"}}, "failed"),
    ("Rendering Failure", {"failure": {"errorMessage": "no such attribute"}}, "failed"),
]


@pytest.mark.parametrize("form", ["eventType", "notificationType"])
@pytest.mark.parametrize(("name", "told", "kind"), EVENTS)
def test_each_event_says_one_thing(
    signer: Signer, form: str, name: str, told: dict[str, Any], kind: str
) -> None:
    """Both of SES' formats say the same; the moment is the event's, else the message's."""
    (event,) = read(signer, {form: name, **told, "mail": mail(DELIVERY)})
    assert (event.kind, event.delivery_id) == (kind, DELIVERY)
    assert event.at is not None


@pytest.mark.parametrize(
    "name", ["Send", "Open", "Click", "Subscription", "AmazonSnsSubscriptionSucceeded", None]
)
def test_what_says_nothing_of_deliveries_is_ignored(signer: Signer, name: str | None) -> None:
    """Sends, opens and clicks give no event, nor what names no message, nor a greeting."""
    assert read(signer, {"eventType": name, "mail": mail(DELIVERY)}) == ()
    nobodys = {"eventType": "Bounce", "bounce": BOUNCE, "mail": mail(messageId=None)}
    assert read(signer, nobodys) == ()
    assert read(signer, "Successfully validated SNS topic for Amazon SES event publishing.") == ()


def test_without_headers_the_reference_is_left(signer: Signer) -> None:
    """Where SES does not send the headers, its own name for the message is what there is, in both forms."""
    (event,) = read(signer, {"eventType": "Bounce", "bounce": BOUNCE, "mail": mail(headers=None)})
    assert (event.delivery_id, event.references) == (None, ("0100-ses-0001", "Ok 0100-ses-0001"))
    by_message_id = [{"name": "Message-ID", "value": f"<{DELIVERY}@chimeway>"}]
    (event,) = read(signer, {"eventType": "Bounce", "bounce": BOUNCE, "mail": mail(headers=by_message_id)})
    assert event.delivery_id == DELIVERY


def test_what_is_signed_and_no_event_is_refused(signer: Signer) -> None:
    """A message of a known type without its parts is a fault that somebody should see."""
    with pytest.raises(InvalidInput, match="without bounce and mail"):
        read(signer, {"eventType": "Bounce", "mail": mail(DELIVERY)})


@pytest.mark.parametrize("topics", [[], TOPIC, ["ses-events"]])
def test_topics_must_be_named(topics: Any) -> None:
    """Nobody can set it up so that any topic will do."""
    with pytest.raises(InvalidInput, match="topics"):
        AmazonSes(topics)

"""What providers tell later, from requests to events: who may tell it, and what it says. Pure.

Each source has a class: `SignedWebhook` (our own JSON under a signature), `Postmark`, `AmazonSes`. Each takes
headers and the raw body and returns `FeedbackEvent`s, or refuses. Nothing here asks a network, a clock or a
database, so that any web server can use them; what comes out is for `Chimeway.record_feedback_many`.
"""

from chimeway.feedback.amazon import AmazonSes, Subscription
from chimeway.feedback.event import FeedbackEvent, FeedbackKind
from chimeway.feedback.postmark import Postmark
from chimeway.feedback.signed import SignedWebhook

__all__ = ["AmazonSes", "FeedbackEvent", "FeedbackKind", "Postmark", "SignedWebhook", "Subscription"]

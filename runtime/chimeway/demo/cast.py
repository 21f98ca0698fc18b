"""Who plays: several people, mentioned in one document at the same time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

WORKFLOW: Final = "mention_escalation"
TENANT: Final = "org_456"
READ: Final = "notification_read"
DOCUMENT: Final = "doc_789"
DATA: Final[Mapping[str, str]] = {
    "document_id": DOCUMENT,
    "title": "Plans for spring",
    "mentioned_by": "Grace",
}


@dataclass(frozen=True, slots=True)
class Person:
    """One of them: what they do, when, in seconds after the mention, and to which document."""

    name: str
    timezone: str
    has_email: bool = True
    reads_after_s: float | None = None
    reads: str = DOCUMENT

    @property
    def email(self) -> str | None:
        """Where e-mail reaches them."""
        return f"{self.name}@example.org" if self.has_email else None


PEOPLE: Final = (
    Person("ada", "Europe/London", reads_after_s=0.5),
    Person("bo", "America/New_York"),
    Person("chen", "Asia/Shanghai", reads_after_s=1.0),
    Person("dara", "Africa/Lagos", reads_after_s=1.5, reads="doc_001"),
    Person("eli", "Europe/Berlin", has_email=False),
)
"""Two read in time, one does not, one reads another document, one has no e-mail address."""

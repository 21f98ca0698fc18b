"""Whether what arrived and what the rows say agree. Pure: facts in, sentences about faults out."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from chimeway.client.explanation import Explanation
from chimeway.demo.cast import PEOPLE, Person
from chimeway.demo.report import Mail
from chimeway.store.views import DeliveryView


def disagreements(
    runs: Mapping[str, Explanation], mails: Sequence[Mail], inboxes: Mapping[str, int]
) -> Iterator[str]:
    """Yield a sentence for each thing that is not as it should be.

    Args:
        runs: each person's run, as the rows tell it.
        mails: what the SMTP server took.
        inboxes: how many items each person's inbox has.
    """
    for person in PEOPLE:
        yield from _of(person, runs[person.name], [mail for mail in mails if mail.to == person.email])
        if inboxes[person.name] != 1:
            yield f"{person.name}'s inbox holds {inboxes[person.name]} items, not one"
    known = {delivery.id for run in runs.values() for delivery in run.deliveries}
    for mail in mails:
        if mail.delivery_id not in known:
            yield f"the e-mail to {mail.to} belongs to no delivery in the rows ({mail.delivery_id})"
    if not any(run.state == "stopped" and not _mails_of(run) for run in runs.values()):
        yield "nobody read in time and was spared the e-mail"
    if not mails:
        yield "nobody got an e-mail"


def _of(person: Person, run: Explanation, mails: Sequence[Mail]) -> Iterator[str]:
    """Judge one person's run by the e-mails that reached them."""
    told = _mails_of(run)
    if run.state not in {"stopped", "completed"}:
        yield f"{person.name}'s run is {run.state}"
    if run.state == "stopped" and told:
        yield f"{person.name}'s run was stopped, and an e-mail was planned all the same"
    sent = _ids(told, "succeeded")
    arrived = [mail.delivery_id for mail in mails]
    if sorted(sent) != sorted(arrived):
        yield f"{person.name}: the rows say {len(sent)} e-mails were sent, and {len(arrived)} arrived"
    if run.state == "completed" and person.has_email and len(arrived) != 1:
        yield f"{person.name} should have got exactly one e-mail, and got {len(arrived)}"
    if not person.has_email and arrived:
        yield f"{person.name} has no e-mail address, and got {len(arrived)} e-mails"


def _mails_of(run: Explanation) -> list[DeliveryView]:
    return [delivery for delivery in run.deliveries if delivery.channel == "email"]


def _ids(deliveries: Sequence[DeliveryView], status: str) -> list[UUID]:
    return [delivery.id for delivery in deliveries if delivery.status == status]

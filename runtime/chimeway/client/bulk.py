"""Many triggers or signals in one call: what is given, checked, and what came of it, in order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chimeway.client import checks
from chimeway.client.recipient import people
from chimeway.client.registry import AnyWorkflow, Meant, Registrable, meant, settled
from chimeway.client.results import Receipt, receipt
from chimeway.errors import InvalidInput
from chimeway.limits import MAX_RECIPIENTS
from chimeway.spelling import did_you_mean
from chimeway.store.statements import Fact, Order
from chimeway.workflow.build import Workflow

_ORDER_KEYS: Final = frozenset({"recipients", "data", "idempotency_key", "cancellation_key", "at"})
_FACT_KEYS: Final = frozenset({"type", "actor", "payload", "dedupe_key"})


def orders(
    workflow: AnyWorkflow, given: Iterable[Mapping[str, Any]], version: int | None
) -> tuple[Meant, list[Order]]:
    """Return what many triggers mean and each of them, checked.

    Raises:
        InvalidInput: an order is at fault (the message names its place), or they are too many.
    """
    form = workflow if isinstance(workflow, str) else settled(workflow)
    _listed("orders", given)
    checked, left = [], MAX_RECIPIENTS
    for place, one in enumerate(given):
        order = _order(form, place, one, version)
        left -= len(order.recipients)
        if left < 0:  # likewise
            raise _too_many("orders", "recipients")
        checked.append(order)
    if not isinstance(form, Workflow):
        return meant(form, {}, version), checked
    asked = meant(form.definition, {}, version)  # the data of each was checked above
    return asked._replace(declared=Registrable(form.definition, form.data_model)), checked


def _order(workflow: AnyWorkflow, place: int, given: Mapping[str, Any], version: int | None) -> Order:
    name = f"orders[{place}]"
    _only(name, given, _ORDER_KEYS)
    try:
        data = meant(workflow, given.get("data"), version).data
        who = people(given.get("recipients"), data)
        if who.profiles:
            raise InvalidInput("recipients come with profiles: identify them first", field="recipients")
        return Order(
            who.ids,
            data,
            checks.optional_identifier("idempotency_key", given.get("idempotency_key")),
            checks.optional_identifier("cancellation_key", given.get("cancellation_key")),
            checks.instant("at", given.get("at")),
        )
    except InvalidInput as fault:
        raise InvalidInput(f"{name}: {fault.message}", **fault.details) from None


def facts(given: Iterable[Mapping[str, Any]]) -> list[Fact]:
    """Return many signals, checked.

    Raises:
        InvalidInput: one is at fault (the message names its place), or they are too many.
    """
    _listed("signals", given)
    found = []
    for place, fact in enumerate(given):
        if place == MAX_RECIPIENTS:  # told at once: what is iterated may have no end
            raise _too_many("signals", "signals")
        found.append(_fact(place, fact))
    return found


def _fact(place: int, given: Mapping[str, Any]) -> Fact:
    name = f"signals[{place}]"
    _only(name, given, _FACT_KEYS)
    return Fact(
        checks.identifier(f"{name}.type", given.get("type")),
        checks.identifier(f"{name}.actor", given.get("actor")),
        checks.json_object(f"{name}.payload", given.get("payload")),
        checks.optional_identifier(f"{name}.dedupe_key", given.get("dedupe_key")),
    )


def _listed(name: str, given: object) -> None:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise checks.refused(name, checks.quoted(given), "give a list of mappings")


def _too_many(field: str, what: str) -> InvalidInput:
    hint = f"at most {MAX_RECIPIENTS} {what} in one call"
    return InvalidInput(f"{field} are too many: {hint}", field=field, hint=hint)


def _only(name: str, given: object, known: frozenset[str]) -> None:
    if not isinstance(given, Mapping):
        raise checks.refused(name, checks.quoted(given), f"give a mapping with {', '.join(sorted(known))}")
    for key in given:
        if key not in known:
            near = did_you_mean(key, known) if isinstance(key, str) else ""
            hint = f"known are {', '.join(sorted(known))}{near}"
            raise InvalidInput(
                f"{name} has the unknown key {checks.quoted(key)}: {hint}", field=name, hint=hint
            )


def receipts(rows: Iterable[Mapping[str, Any]], many: int) -> list[Receipt]:
    """Return the receipt of each order, by its place."""
    by_place: list[list[Mapping[str, Any]]] = [[] for _ in range(many)]
    for row in rows:
        by_place[row["place"]].append(row)
    return [receipt(group) for group in _each(by_place)]


def _each(groups: Sequence[list[Mapping[str, Any]]]) -> Iterable[list[Mapping[str, Any]]]:
    for group in groups:
        if not group:
            raise AssertionError("a trigger without runs: each has at least one recipient")
        yield group

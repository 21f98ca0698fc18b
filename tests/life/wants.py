"""What a person and a tenant want, and what follows for one message: written from docs/recipients.md alone.

A search over candidates, where the engine moves from rule to rule: the first instant at which everything
allows a message is the present one, or an end of quiet hours, an opening of a window, or when a send leaves
a cap's span.
"""

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Literal

from life.clocks import WEEK, Span, later

Json = dict[str, Any]
Kind = Literal["send", "defer", "suppress"]
_TOPICS = ("categories", "workflows")


@dataclass(frozen=True)
class Document:
    """A preferences document; yes and no of a topic by channel, "*" for the others."""

    channels: dict[str, bool] = field(default_factory=dict)
    categories: dict[str, dict[str, bool]] = field(default_factory=dict)
    workflows: dict[str, dict[str, bool]] = field(default_factory=dict)
    quiet_hours: list[Json] | Json | None = None
    caps: list[Json] | Json | None = None

    def changed(self, change: Json) -> "Document":
        """Return what is there after a change: merged key by key, hours and caps replaced, None removes."""
        parts: Json = {}
        for part, said in change.items():
            if part in {"quiet_hours", "caps"}:
                parts[part] = said
            elif said is None:
                parts[part] = {}
            elif part in _TOPICS:
                parts[part] = _merged(
                    getattr(self, part), {k: self._topic(part, k, v) for k, v in said.items()}
                )
            else:
                parts[part] = _merged(self.channels, said)
        return replace(self, **parts)

    def _topic(self, part: str, name: str, said: Any) -> dict[str, bool] | None:
        if said is None or isinstance(said, bool):
            return None if said is None else {"*": said}
        return _merged(getattr(self, part).get(name, {}), said) or None


def _merged(old: Json, new: Json) -> Json:
    return {key: value for key, value in {**old, **new}.items() if value is not None}


@dataclass(frozen=True)
class Settings:
    """All that counts for one person at one moment."""

    tenant: Document = Document()
    own: Document = Document()
    tenant_zone: str | None = None
    own_zone: str | None = None
    working: tuple[str, ...] = WEEK[:5]
    holidays: frozenset[date] = frozenset()

    @property
    def zone(self) -> str:
        """Return the person's zone: his own, else his tenant's, else UTC."""
        return self.own_zone or self.tenant_zone or "UTC"

    def whose(self, part: str) -> str:
        """Return whose quiet hours or caps hold."""
        return "tenant" if getattr(self.own, part) is None else "recipient"

    def held(self, part: str) -> list[Json]:
        """Return the quiet hours or caps that hold."""
        own = getattr(self.own, part)
        held = (getattr(self.tenant, part) if own is None else own) or []
        return [held] if isinstance(held, dict) else held

    def window(self, form: Json | None) -> Span | None:
        """Return a step's send window."""
        if form is None:
            return None
        on = form.get("on", WEEK)
        if on == "working_days":
            return Span(form["from"], form["to"], frozenset(self.working), self.holidays)
        return Span(form["from"], form["to"], frozenset(on))


@dataclass(frozen=True)
class Wanted:
    """One message: what it is and where it goes."""

    channel: str
    workflow: str
    category: str | None = None
    critical: bool = False
    window: Json | None = None


@dataclass(frozen=True)
class Said:
    """What is to be done with it. `whose` rule did it, in which zone; `silent`: nothing was
    set, so that nothing is traced.
    """

    kind: Kind
    reason: str | None = None
    until: datetime | None = None
    whose: str | None = None
    zone: str = "UTC"
    silent: bool = False


def says(settings: Settings, wanted: Wanted, now: datetime, sent: list[datetime]) -> Said:
    """Say what becomes of a message now; `sent` are the sends on its channel that caps count."""
    inbox = wanted.channel == "in_app"
    quiet = [] if inbox else _quiet(settings, wanted.channel)
    window = None if inbox else settings.window(wanted.window)
    caps = [cap for cap in settings.held("caps") if cap["channel"] == wanted.channel]
    statements = _said(settings, wanted)
    silent = not (statements or quiet or window or caps)
    zone = settings.zone
    if wanted.critical:
        at = _first(now, zone, [], window, [], sent)
        return Said("send", silent=silent) if at == now else Said("defer", "send_window", at, "step", zone)
    if (whose := _no(settings, wanted)) is not None:
        return Said("suppress", "preference", None, whose, zone)
    at = _first(now, zone, quiet, window, [cap for cap in caps if cap["then"] == "delay"], sent)
    dropping = [cap for cap in caps if cap["then"] == "drop"]
    if at is not None and any(full(cap, sent, at, zone) for cap in dropping):
        return Said("suppress", "cap", None, settings.whose("caps"), zone)
    if at == now:
        return Said("send", silent=silent)
    kind: Kind = "suppress" if at is None else "defer"
    if _within(quiet, now, zone):
        return Said(kind, "quiet_hours", at, settings.whose("quiet_hours"), zone)
    if window and not _within([window], now, zone):
        return Said(kind, "send_window", at, "step", zone)
    return Said(kind, "cap", at, settings.whose("caps"), zone)


def calm(settings: Settings, wanted: Wanted, at: datetime) -> bool:
    """Say whether nothing but a cap could speak against a message at this instant."""
    inbox = wanted.channel == "in_app"
    quiet = [] if inbox or wanted.critical else _quiet(settings, wanted.channel)
    window = None if inbox else settings.window(wanted.window)
    refused = not wanted.critical and _no(settings, wanted) is not None
    shut = window is not None and not _within([window], at, settings.zone)
    return not (refused or shut or _within(quiet, at, settings.zone))


def full(cap: Json, sent: list[datetime], at: datetime, zone: str) -> bool:
    """Say whether a cap has no place at an instant."""
    return sum(later(each, cap["per"], zone) > at for each in sent) >= cap["limit"]


def _first(
    now: datetime, zone: str, quiet: list[Span], window: Span | None, caps: list[Json], sent: list[datetime]
) -> datetime | None:
    ends = {end for each in quiet for _, end in each.times(now, zone)}
    begins = {begin for begin, _ in window.times(now, zone)} if window else set()
    leaves = {later(each, cap["per"], zone) for cap in caps for each in sent}
    for at in sorted({now} | {each for each in ends | begins | leaves if each > now}):
        open_now = window is None or _within([window], at, zone)
        if open_now and not _within(quiet, at, zone) and not any(full(c, sent, at, zone) for c in caps):
            return at
    return None  # hours that exclude each other


def _quiet(settings: Settings, channel: str) -> list[Span]:
    held = settings.held("quiet_hours")
    return [Span.of(each) for each in held if channel in each.get("channels", [channel])]


def _within(spans: list[Span], at: datetime, zone: str) -> bool:
    return any(begin <= at < end for span in spans for begin, end in span.times(at, zone))


_Level = list[tuple[str, bool]]


def _levels(settings: Settings, wanted: Wanted, who: tuple[str, ...]) -> list[_Level]:
    """Return who says what, the most specific first.

    A recipient's word on a whole topic takes away what the tenant says against it.
    """
    documents = {"tenant": settings.tenant, "recipient": settings.own}

    def said(part: str, name: str | None, key: str) -> _Level:
        found = {one: getattr(documents[one], part).get(name, {}).get(key) for one in who}
        word = getattr(settings.own, part).get(name, {}).get("*")
        if "recipient" in who and word is not None and found.get("tenant") == (not word):
            del found["tenant"]
        return _winner(found)

    channel = _winner({one: documents[one].channels.get(wanted.channel) for one in who})
    return [
        said("workflows", wanted.workflow, wanted.channel),
        said("categories", wanted.category, wanted.channel),
        [*said("workflows", wanted.workflow, "*"), *said("categories", wanted.category, "*"), *channel],
    ]


def _winner(found: dict[str, bool | None]) -> _Level:
    """Return the recipient's word on a place, else the tenant's."""
    known = [(one, said) for one in ("recipient", "tenant") if (said := found.get(one)) is not None]
    return known[:1]


def _said(settings: Settings, wanted: Wanted) -> bool:
    return any(_levels(settings, wanted, ("tenant", "recipient")))


def _no(settings: Settings, wanted: Wanted) -> str | None:
    """Return who says no, if one does."""
    for who in (("recipient",), ("tenant", "recipient")):
        level = next((level for level in _levels(settings, wanted, who) if level), [])
        refusing = [one for one, said in level if not said]
        if refusing:
            return "recipient" if "recipient" in refusing else "tenant"
    return None

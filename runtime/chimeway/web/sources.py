"""Who may tell this node what became of deliveries: `[feedback.<name>]` of the settings.

    [feedback.postmark]
    kind = "postmark"
    user = "chimeway"
    password_file = "$CREDENTIALS_DIRECTORY/postmark"

The name is the last part of the URL, `/v1/feedback/postmark`, and the source of what is recorded. `tenant`
binds a source to one tenant: deliveries of others are then unknown. Nothing here connects.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic import SecretStr

from chimeway.errors import InvalidInput
from chimeway.feedback import AmazonSes, Postmark, SignedWebhook
from chimeway.limits import MAX_IDENTIFIER_CHARS
from chimeway.setting_tables import Options, Place, Setting, parted, read_table
from chimeway.setting_words import quoted

Reader: TypeAlias = SignedWebhook | Postmark | AmazonSes


class SourceTable(Options):
    """What every source has."""

    kind: str
    tenant: str | None = None


class _Signed(Options):
    """`kind = "signed"`: our own JSON; the former secret holds as long as it is set."""

    secret: SecretStr
    former_secret: SecretStr | None = None

    def reader(self) -> Reader:
        """Return what reads it."""
        given = [self.secret, *([self.former_secret] if self.former_secret else [])]
        return SignedWebhook([one.get_secret_value() for one in given])


class _Postmark(Options):
    """`kind = "postmark"`: user and password, or a header and its secret."""

    user: str | None = None
    password: SecretStr | None = None
    header: str | None = None
    secret: SecretStr | None = None

    def reader(self) -> Reader:
        """Return what reads it."""
        return Postmark(self.user, _open(self.password), self.header, _open(self.secret))


class _AmazonSes(Options):
    """`kind = "amazon_ses"`: the ARNs of the topics that are listened to."""

    topics: list[str]

    def reader(self) -> Reader:
        """Return what reads it."""
        return AmazonSes(self.topics)


_KINDS: Final[Mapping[str, type[_Signed | _Postmark | _AmazonSes]]] = {
    "signed": _Signed,
    "postmark": _Postmark,
    "amazon_ses": _AmazonSes,
}


@dataclass(frozen=True, slots=True)
class Source:
    """One source: its name, whose deliveries it may speak of, and what reads its requests."""

    name: str
    tenant: str | None
    reader: Reader
    tables: tuple[Options, ...] = ()

    def describe(self) -> Iterator[Setting]:
        """Go through all that is set, secrets masked."""
        for table in self.tables:
            yield from table.describe()


def read_sources(given: Mapping[str, Any], place: Place) -> Mapping[str, Source]:
    """Read the table of all sources.

    Raises:
        InvalidSettings: a fault, with its path.
    """
    return {name: _source(name, table, place.of(name)) for name, table in given.items()}


def _source(name: str, given: object, place: Place) -> Source:
    if not name or len(name) > MAX_IDENTIFIER_CHARS or not name.isprintable() or "/" in name:
        told = f"a part of an URL: 1 to {MAX_IDENTIFIER_CHARS} characters, without /"
        raise place.fault(f"({place.origin}) is no name; right would be {told}")
    own, rest = parted(given, SourceTable)
    common = read_table(SourceTable, own, place)
    kind = _KINDS.get(common.kind)
    if kind is None:
        told = f"is {quoted(common.kind)} ({place.origin}); right would be one of {', '.join(_KINDS)}"
        raise place.of("kind").fault(told)
    if common.tenant is not None and not 0 < len(common.tenant) <= MAX_IDENTIFIER_CHARS:
        told = f"a text of 1 to {MAX_IDENTIFIER_CHARS} characters"
        raise place.of("tenant").fault(f"is no tenant ({place.origin}); right would be {told}")
    options = read_table(kind, rest, place, also=SourceTable.model_fields)
    try:
        reader = options.reader()
    except InvalidInput as fault:
        raise place.fault(f"cannot be used ({place.origin}): {fault}") from None
    return Source(name, common.tenant, reader, (common, options))


def _open(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()

"""Tables of settings, such as `[channels.email]`: one strict model for each, faults said by their path.

Whoever owns a table says what is in it by a subclass of `Options`, and reads it by `read_table`. Values have
the types of TOML and JSON, and none is made to fit: `"8"` is no number. A field whose type is `SecretStr`
is a secret: what stands in it is never shown, neither in a fault nor by `describe` (but for a URL of a
server, which is shown without its password: `ShownUrl`). A secret X can always be given as `X_file` instead:
the path of a file whose content it is; it may begin with `$CREDENTIALS_DIRECTORY/`, where systemd puts what
`LoadCredential=` names.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from chimeway.errors import InvalidSettings
from chimeway.setting_words import bare, content, near, quoted, right, unshown

Model = TypeVar("Model", bound="Options")
_UNREADABLE: Final = re.compile(r"[\0\ud800-\udfff]")
_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:(?P<user>[^\s@:]*)(?::\S*)?@)?(?P<rest>\S*)")
_CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"


class Place(NamedTuple):
    """Where something stands: its path from the table's name on, and who gave it."""

    path: str
    origin: str

    def of(self, key: str | int) -> "Place":
        """Return the place of what has this name, or stands at this position, inside."""
        return self._replace(path=f"{self.path}{_step(key)}")

    def fault(self, told: str) -> InvalidSettings:
        """Return the error that says something of this place."""
        return InvalidSettings(f"{self.path} {told}", setting=self.path)


class Setting(NamedTuple):
    """A row of `--print-settings`: what holds, secrets masked, and who said so."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class ShownUrl:
    """Marks a secret URL that may be shown without its password: `Annotated[SecretStr, ShownUrl()]`."""


class Options(BaseModel):
    """A table: unknown keys are refused, and values must have their type."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True
    )

    _place: Place = PrivateAttr(default=Place("", "default"))
    _files: dict[str, str] = PrivateAttr(default_factory=dict)

    def describe(self) -> Iterator[Setting]:
        """Go through what was given, as it was written, secrets masked."""
        for name, field in type(self).model_fields.items():
            if name in self.model_fields_set:
                key = field.alias or name
                value, origin = getattr(self, name), self._files.get(key, self._place.origin)
                yield Setting(self._place.of(key).path, _shown(value, field, self._written(name)), origin)

    def _written(self, name: str) -> object:
        return self.model_dump(mode="json", include={name})[name]


def read_table(model: type[Model], given: object, place: Place, *, also: Iterable[str] = ()) -> Model:
    """Return a table as its model; nothing but its shape is looked at.

    Args:
        model: what may be in it.
        given: what was.
        place: how faults name it.
        also: names that the whole table knows, though this model does not: a misspelt one is told.

    Raises:
        InvalidSettings: all that is wrong with it, each fault with its path, what was given and what would
            be right; a file that it names cannot be read.
    """
    if not isinstance(given, Mapping):
        told = unshown(given) if isinstance(given, str) else _told(given)  # perhaps the secret alone
        raise place.fault(f"is {told} ({place.origin}); right would be a table")
    for name, value in given.items():
        if isinstance(value, str) and _UNREADABLE.search(value):
            raise place.of(name).fault(f"({place.origin}) holds NUL or is not UTF-8: leave it out")
    values, files = _with_files(model, given, place)
    try:
        table = model.model_validate(values)
    except ValidationError as error:
        # Not chained: the original shows what was given, passwords too.
        faults = error.errors(include_url=False, include_input=False)
        said = [_said(model, values, fault, place, also) for fault in faults]
        paths = [place.path + "".join(_step(key) for key in fault["loc"]) for fault in faults]
        raise InvalidSettings(". ".join(said), settings=paths) from None
    table._place = place  # noqa: SLF001  (our own class)
    table._files.update(files)  # noqa: SLF001  (the same)
    return table


def parted(given: object, model: type[Options]) -> tuple[object, object]:
    """Return what of a table is for this model, and the rest; what is no table stays what it is."""
    if not isinstance(given, Mapping):
        return given, given
    rest = dict(given)
    return {key: rest.pop(key) for key in model.model_fields if key in rest}, rest


def _step(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else f".{bare(key)}"


def _with_files(
    model: type[Options], given: Mapping[Any, Any], place: Place
) -> tuple[dict[str, Any], dict[str, str]]:
    """Put the content of files in the place of their paths; tell from which file each came."""
    values, files = dict(given), dict[str, str]()
    for name, field in model.model_fields.items():
        key = field.alias or name
        path = values.get(f"{key}_file")
        if path is None or not _is_secret(field.annotation):
            continue
        if key in values:
            raise place.of(key).fault(f"and {key}_file are both set ({place.origin}): one of them, please")
        if not isinstance(path, str) or not path or _UNREADABLE.search(path):
            raise place.of(f"{key}_file").fault(f"is {_told(path)}; right would be the path of a file")
        del values[f"{key}_file"]
        values[key] = content(_expanded(path, place.of(f"{key}_file")), place.of(f"{key}_file").path)
        files[key] = f"file {path}"
    return values, files


def _expanded(path: str, place: Place) -> Path:
    if not path.startswith(_CREDENTIALS):
        return Path(path)
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise place.fault(f"is {quoted(path)}, and CREDENTIALS_DIRECTORY is not set: systemd sets it")
    return Path(directory) / path.removeprefix(_CREDENTIALS)


def _said(
    model: type[Options], values: Mapping[str, Any], fault: ErrorDetails, place: Place, also: Iterable[str]
) -> str:
    """Say of a fault where it is, what was given and what would be right."""
    keys = fault["loc"]
    where = place.path + "".join(_step(key) for key in keys)
    if fault["type"] == "extra_forbidden":
        known = [*_names(model), *also] if len(keys) == 1 else []
        return f"{where} ({place.origin}) is not a setting{near(str(keys[-1]), known)}"
    if fault["type"] == "missing":
        return f"{where} is not set ({place.origin}), and must be"
    hidden = len(keys) > 1 or any(_is_secret(f.annotation) for n, f in _fields(model) if n in keys)
    value = values.get(str(keys[0])) if len(keys) == 1 else None
    return f"{where} is {_told(value, hidden=hidden)} ({place.origin}); right would be {right(fault)}"


def _names(model: type[Options]) -> list[str]:
    return [name for key, field in _fields(model) for name in _ways(key, field)]


def _ways(key: str, field: FieldInfo) -> list[str]:
    return [key, f"{key}_file"] if _is_secret(field.annotation) else [key]


def _fields(model: type[Options]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _told(value: object, *, hidden: bool = False) -> str:
    """Say what was given, as far as it may be shown."""
    match value:
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case str() if hidden or "://" in value:
            return unshown(value)
        case _ if hidden:
            return "something that is not shown"
        case _:
            return quoted(value)


def _is_secret(annotation: object) -> bool:
    """Say whether this is the type of a secret, or has one inside."""
    return annotation is SecretStr or any(_is_secret(inner) for inner in get_args(annotation))


def _shown(value: object, field: FieldInfo, written: object) -> str:
    if not _is_secret(field.annotation):
        return "" if written is None else str(written)
    if isinstance(value, SecretStr) and (found := _URL.fullmatch(value.get_secret_value())):
        if any(isinstance(mark, ShownUrl) for mark in field.metadata):
            user = f"{found['user']}:***@" if found["user"] else ""
            return f"{found['scheme']}{user}{found['rest']}"
        return f"{found['scheme']}***"
    return "***"

"""What an operator may set, where each value comes from, and what is wrong with it.

A setting is looked for in this order, and the first that has it wins: the command line, the
environment (`CHIMEWAY_LEASE_TTL`), a file that the environment names (`CHIMEWAY_SMTP_URL_FILE`), a
systemd credential (`$CREDENTIALS_DIRECTORY/chimeway_smtp_url`), `chimeway.toml` (in the working
directory, or where `CHIMEWAY_CONFIG` says; keys without the prefix, in small letters), the default. A
setting that is a table (`channels`, `feedback`) is JSON everywhere but in `chimeway.toml`.

An empty variable counts as not set, except `CHIMEWAY_HTTP_BIND`, where empty means off. A name in
`chimeway.toml` that is no setting is refused; an unknown `CHIMEWAY_...` variable is a warning only,
since the environment is not ours alone. Nothing here connects to anything.
"""

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from chimeway.errors import InvalidSettings
from chimeway.setting_kinds import (
    BIND,
    Bind,
    DatabaseUrl,
    Duration,
    MetricsToken,
    NodeName,
    Origins,
    PublicUrl,
    Rate,
    Sender,
    SmtpUrl,
    Table,
    UnsubscribeKeys,
    UnsubscribeUrl,
    keys_in,
    origins_in,
)
from chimeway.setting_tables import Place, Setting
from chimeway.setting_words import bare, content, near, quoted, right, unshown

PREFIX: Final = "CHIMEWAY_"
_NOT_SETTINGS: Final = frozenset({"CHIMEWAY_CONFIG"})
_TABLES: Final = ("channels", "feedback")
"""The settings that are tables; what is in them is read by `setting_tables`, where it is used."""
_BLANK: Final = re.compile(r"[\x01-\x20\x7f]")
_UNREADABLE: Final = re.compile(r"[\0\ud800-\udfff]")
_URL_PASSWORD: Final = re.compile(r"(://[^\s@:]*:)\S+(?=@)|([?&](?:ssl)?password=)[^\s&]+")


class _Given(NamedTuple):
    """A raw value on its way in, with its origin."""

    value: Any
    origin: str


def _data_dir() -> Path:
    """Return where data of the user's programs belongs (XDG base directories).

    root's goes where a system's does: PostgreSQL, which refuses to run as root, could not reach root's
    home. So does that of an account without a home.
    """
    if base := os.environ.get("XDG_DATA_HOME"):
        return Path(base) / "chimeway"
    try:
        home = Path.home() if os.geteuid() else None
    except RuntimeError:  # a user id without an account, as containers have them
        home = None
    return Path("/var/lib/chimeway") if home is None else home / ".local" / "share" / "chimeway"


class Settings(BaseSettings):
    """All settings, read once at the start; `Settings(lease_ttl="PT5S")` overrides every source."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    database_url: DatabaseUrl | None = None
    direct_database_url: DatabaseUrl | None = None
    data_dir: Path = Field(default_factory=_data_dir)
    workflows_dir: Path | None = None
    templates_dir: Path | None = None
    smtp_url: SmtpUrl | None = None
    email_from: Sender | None = None
    unsubscribe_url: UnsubscribeUrl | None = None
    unsubscribe_keys: UnsubscribeKeys | None = None
    public_url: PublicUrl | None = None
    http_bind: Bind = "127.0.0.1:8420"
    http_rate: Rate = 100
    http_burst: Rate = 500
    metrics_token: MetricsToken | None = None
    inbox_keys: UnsubscribeKeys | None = None
    inbox_origins: Origins | None = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    node_name: NodeName = Field(default_factory=socket.gethostname)
    lease_ttl: Duration = timedelta(seconds=3)
    max_lateness: Duration = timedelta(seconds=5)
    retention_completed: Duration = timedelta(days=90)
    retention_signals: Duration = timedelta(days=30)
    idempotency_retention: Duration = timedelta(days=30)
    keep_bodies: Duration = timedelta(days=7)
    retention_audit: Duration = timedelta(days=400)
    prune: Literal["on", "off"] = "on"
    channels: Annotated[Table, NoDecode] = Field(default_factory=dict)
    feedback: Annotated[Table, NoDecode] = Field(default_factory=dict)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, **overrides: Any) -> None:
        """Read all sources; an override of None counts as not given."""
        given: dict[str, Any] = {
            name: _Given(value, "command line") for name, value in overrides.items() if value is not None
        }
        super().__init__(**given)

    @model_validator(mode="wrap")
    @classmethod
    def _remember_origins(
        cls, given: dict[str, _Given], build: ModelWrapValidatorHandler["Settings"]
    ) -> "Settings":
        """Take the values out of their wrapping, and keep who gave them."""
        _refuse_unreadable(given)
        try:
            settings = build({name: one.value for name, one in given.items()})
        except ValidationError as error:
            # Not chained: the original shows what was given, passwords too.
            raise _refusal(error, given) from None
        origins = {name: one.origin for name, one in given.items()}
        settings._origins.update(origins)  # noqa: SLF001  (our own class)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic-settings passes it)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the same)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the sources in their order (see the module)."""
        names = list(settings_cls.model_fields)
        return (
            init_settings,
            _Source(settings_cls, _from_environment(env_settings())),
            _Source(settings_cls, _from_named_files(names)),
            _Source(settings_cls, _from_credentials(names)),
            _Source(settings_cls, _from_toml(names)),
        )

    def http_address(self) -> tuple[str, int] | None:
        """Return host and port to serve HTTP on, or None when it is off."""
        found = BIND.fullmatch(self.http_bind)
        return (found["six"] or found["host"], int(found["port"])) if found else None

    def http_is_asked_for(self) -> bool:
        """Say whether somebody has set where HTTP is served, and not left it at the default."""
        return "http_bind" in self._origins and self.http_address() is not None

    def signing_keys(self) -> tuple[bytes, ...]:
        """Return the keys of links to unsubscribe by; the first signs, all are believed."""
        given = self.unsubscribe_keys
        return () if given is None else tuple(each.encode("ascii") for each in keys_in(given))

    def inbox_token_keys(self) -> tuple[bytes, ...]:
        """Return the keys of inbox tokens; the first signs, all are believed."""
        given = self.inbox_keys
        return () if given is None else tuple(each.encode("ascii") for each in keys_in(given))

    def allowed_origins(self) -> frozenset[str]:
        """Return from where browsers may ask for inboxes."""
        return frozenset(() if self.inbox_origins is None else origins_in(self.inbox_origins))

    def table(self, name: str) -> tuple[Table, Place]:
        """Return a setting that is a table as it was given, and how faults in it name their place."""
        return getattr(self, name), Place(name, self._origins.get(name, "default"))

    def describe(self) -> list[Setting]:
        """List every setting by name: what holds, with secrets masked, and where it came from."""
        shown = self.model_dump(mode="json")
        return [
            Setting(
                PREFIX + name.upper(),
                _shown(getattr(self, name), shown[name]),
                self._origins.get(name, "default"),
            )
            for name in type(self).model_fields
        ]

    def warnings(self) -> list[str]:
        """Say which `CHIMEWAY_...` variables nobody reads, and what may have been meant."""
        known = {PREFIX + name.upper() for name in type(self).model_fields} | _NOT_SETTINGS
        known |= {f"{name}_FILE" for name in known - _NOT_SETTINGS}
        unknown = sorted(n for n in os.environ if n.startswith(PREFIX) and n not in known)
        return [f"{name} is not a setting{near(name, known)}" for name in unknown]


class _Source(PydanticBaseSettingsSource):
    """One place where values were found, as pydantic-settings wants to be given it."""

    def __init__(self, settings_cls: type[BaseSettings], found: Mapping[str, _Given]) -> None:
        super().__init__(settings_cls)
        self._found = found

    def get_field_value(self, _field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Answer for one field; nothing here is complex (parsed as JSON)."""
        return self._found.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Answer for all of them."""
        return dict(self._found)


def _from_environment(found: Mapping[str, Any]) -> dict[str, _Given]:
    """Take the variables; an empty one is as good as none, where empty means nothing."""
    return {
        name: _Given(value, f"environment {PREFIX}{name.upper()}")
        for name, value in found.items()
        if value != "" or name == "http_bind"
    }


def _from_named_files(names: list[str]) -> dict[str, _Given]:
    """Take what `CHIMEWAY_<NAME>_FILE` points to; naming it twice is a mistake to be told of."""
    found: dict[str, _Given] = {}
    for name in names:
        variable = f"{PREFIX}{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            continue
        if os.environ.get(variable):
            raise InvalidSettings(
                f"{variable} and {variable}_FILE are both set: one of them, please",
                variable=variable,
            )
        found[name] = _Given(content(Path(path), f"{variable}_FILE"), f"file {path}")
    return found


def _from_credentials(names: list[str]) -> dict[str, _Given]:
    """Take what systemd's `LoadCredential=chimeway_database_url:...` left for us."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return {}
    paths = {name: Path(directory) / f"{PREFIX}{name}".lower() for name in names}
    return {
        name: _Given(content(path, "CREDENTIALS_DIRECTORY"), f"credential {path.name}")
        for name, path in paths.items()
        if path.is_file()
    }


def _from_toml(names: list[str]) -> dict[str, _Given]:
    """Take `chimeway.toml`; a file that was asked for by name must be there."""
    asked = os.environ.get("CHIMEWAY_CONFIG")
    path = Path(asked or "chimeway.toml")
    if not asked and not path.is_file():
        return {}
    try:
        found = tomllib.loads(content(path, "CHIMEWAY_CONFIG"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path} is not TOML: {str(error)[:200]}", path=str(path)) from None
    except (RecursionError, ValueError):  # what the reader's own language cannot hold
        told = "it is nested too deep, or holds a number too long"
        raise InvalidSettings(f"{path} is not TOML: {told}", path=str(path)) from None
    for name in found:
        if name not in names:
            raise InvalidSettings(f"{bare(name)} in {path} is not a setting{near(name, names)}", name=name)
    return {name: _Given(value, str(path)) for name, value in found.items()}


def _refusal(error: ValidationError, given: Mapping[str, _Given]) -> InvalidSettings:
    """Say of each fault: which setting, what was given and where, and what would be right."""
    sentences = []
    for fault in error.errors(include_url=False, include_input=False):
        name = str(fault["loc"][0])
        one = given[name]
        if fault["type"] == "extra_forbidden":
            sentences.append(f"{bare(name)} is not a setting{near(name, Settings.model_fields)}")
            continue
        secret = name.endswith(("_url", "_keys", "_token")) or name in _TABLES
        value = unshown(one.value) if secret else quoted(one.value)
        sentences.append(f"{PREFIX}{name.upper()} is {value} ({one.origin}); right would be {right(fault)}")
    variables = [f"{PREFIX}{str(fault['loc'][0]).upper()}" for fault in error.errors()]
    return InvalidSettings(". ".join(sentences), variables=variables)


def _refuse_unreadable(given: Mapping[str, _Given]) -> None:
    """Refuse texts that are not UTF-8: the environment hands them on as halves of surrogate pairs."""
    for name, one in given.items():
        if isinstance(one.value, str) and _UNREADABLE.search(one.value):
            variable = f"{PREFIX}{name.upper()}"
            raise InvalidSettings(
                f"{variable} ({one.origin}) holds NUL or is not UTF-8: leave it out", variable=variable
            )
        if name.endswith("_url") and isinstance(one.value, str) and _BLANK.search(one.value):
            variable = f"{PREFIX}{name.upper()}"
            raise InvalidSettings(
                f"{variable} ({one.origin}) holds a blank or a line's end: write it as %20", variable=variable
            )


def _shown(value: Any, dumped: Any) -> str:
    """Return the text of a value as one would write it, a secret without its password.

    Of a table only the names in it: which of its values are secrets is known where they are read.
    """
    if isinstance(value, dict):
        return ", ".join(bare(name) for name in value)
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return _URL_PASSWORD.sub(r"\1\2***", secret) if "://" in secret else "***"
    return "" if dumped is None else str(dumped)

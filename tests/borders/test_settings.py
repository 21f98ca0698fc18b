"""Bad input in settings: from each source, every fault by name and origin, and never a secret."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from borders.golden import compare
from chimeway.errors import InvalidSettings
from chimeway.settings import Settings

PATIENCE_S = 3.0
Prepare = Callable[[pytest.MonkeyPatch, Path], dict[str, Any]]


def env(**variables: str) -> Prepare:
    """Set variables of the environment."""

    def prepare(patch: pytest.MonkeyPatch, _: Path) -> dict[str, Any]:
        for name, value in variables.items():
            patch.setenv(f"CHIMEWAY_{name}", value)
        return {}

    return prepare


def raw_env(name: str, value: bytes) -> Prepare:
    """Set a variable to bytes that are no UTF-8."""

    def prepare(patch: pytest.MonkeyPatch, _: Path) -> dict[str, Any]:
        patch.setenv(f"CHIMEWAY_{name}", os.fsdecode(value))
        return {}

    return prepare


def toml(content: str | bytes) -> Prepare:
    """Write chimeway.toml."""

    def prepare(_: pytest.MonkeyPatch, here: Path) -> dict[str, Any]:
        (here / "chimeway.toml").write_bytes(content.encode() if isinstance(content, str) else content)
        return {}

    return prepare


def file(name: str, content: bytes | None) -> Prepare:
    """Let a variable name a file (`None`: one that is not there)."""

    def prepare(patch: pytest.MonkeyPatch, here: Path) -> dict[str, Any]:
        if content is not None:
            (here / "given").write_bytes(content)
        patch.setenv(f"CHIMEWAY_{name}_FILE", "given")
        return {}

    return prepare


def named(name: str, path: str) -> Prepare:
    """Let a variable name a path as it is."""

    def prepare(patch: pytest.MonkeyPatch, _: Path) -> dict[str, Any]:
        patch.setenv(name, path)
        return {}

    return prepare


def credential(name: str, content: bytes) -> Prepare:
    """Leave a systemd credential."""

    def prepare(patch: pytest.MonkeyPatch, here: Path) -> dict[str, Any]:
        (here / name).write_bytes(content)
        patch.setenv("CREDENTIALS_DIRECTORY", str(here))
        return {}

    return prepare


def line(**overrides: Any) -> Prepare:
    """Give values as the command line and programs do."""
    return lambda *_: overrides


CASES: dict[str, Prepare] = {
    "a URL of another scheme": env(DATABASE_URL="mysql://ada:hunter2@db/app"),
    "a URL that is words of libpq": env(DATABASE_URL="host=db user=ada password=hunter2"),
    "a URL with a blank in its password": env(DATABASE_URL="mysql://ada:hun ter2 hunter2@db/app"),
    "a URL whose password is no port": env(DATABASE_URL="postgresql://ada:hunter2/app"),
    "a URL with an unknown parameter": env(DATABASE_URL="postgresql://ada:hunter2@db/app?sslmod=require"),
    "a URL with a port beyond all": env(DIRECT_DATABASE_URL="postgresql://ada:hunter2@db:70000/app"),
    "a URL of the wrong kind": env(SMTP_URL="postgresql://ada:hunter2@db/app"),
    "an SMTP URL without a host": env(SMTP_URL="smtp://"),
    "an SMTP URL with a port that is none": env(SMTP_URL="smtp://ada:hunter2@mail:port"),
    "an SMTP URL whose password looks like a port": env(SMTP_URL="smtp://ada:hunter2/mail"),
    "a URL of 100,000 characters": env(DATABASE_URL="mysql://" + "hunter2" * 15_000),
    "a duration that is a number": env(LEASE_TTL="3"),
    "a duration in words": env(LEASE_TTL="2 hours"),
    "a duration in months": env(RETENTION_COMPLETED="P3M"),
    "a duration of nothing": env(KEEP_BODIES="PT0S"),
    "a negative duration": env(KEEP_BODIES="-P1D"),
    "a duration of 400 digits": env(KEEP_BODIES=f"P{'9' * 400}D"),
    "a duration over a hundred years": env(KEEP_BODIES="P36526D"),
    "a duration in other digits": env(KEEP_BODIES="P٣D"),
    "a bind without a port": env(HTTP_BIND="localhost"),
    "a bind that is a port": env(HTTP_BIND="8420"),
    "a bind beyond all ports": env(HTTP_BIND="127.0.0.1:65536"),
    "a bind that is a URL": env(HTTP_BIND="http://127.0.0.1:8420"),
    "a format that is none": env(LOG_FORMAT="xml"),
    "a level in capitals": env(LOG_LEVEL="INFO"),
    "a sender that is no address": env(EMAIL_FROM="nobody"),
    "a sender of two lines": env(EMAIL_FROM="a@b\nBcc: eve@example.org"),
    "a node's name of 256 characters": env(NODE_NAME="n" * 256),
    "a node's name with a control character": env(NODE_NAME="node\x1b[31m"),
    "two faults at once": env(LOG_FORMAT="xml", HTTP_BIND="8420"),
    "bytes that are no UTF-8": raw_env("NODE_NAME", b"n\xff"),
    "a secret that is no UTF-8": raw_env("DATABASE_URL", b"postgresql://ada:hunter2\xff@db/app"),
    "toml: an unknown key": toml('databse_url = "postgresql://ada:hunter2@db/app"'),
    "toml: an unknown key of 10,000 characters": toml(f"{'k' * 10_000} = 1"),
    "toml: a table": toml('[chimeway]\ndatabase_url = "postgresql://ada:hunter2@db/app"'),
    "toml: a number for a duration": toml("lease_ttl = 3"),
    "toml: a number for a text": toml("node_name = 7"),
    "toml: a number for a path": toml("data_dir = 7"),
    "toml: a path with NUL": toml('data_dir = "a\\u0000b"'),
    "toml: a list for a URL": toml('smtp_url = ["smtp://ada:hunter2@mail"]'),
    "toml: true for a word": toml("log_format = true"),
    "toml: not a number": toml("lease_ttl = nan"),
    "toml: an integer of 400 digits": toml(f"lease_ttl = {'9' * 400}"),
    "toml: an integer of 5,000 digits": toml(f"lease_ttl = {'9' * 5_000}"),
    "toml: a key twice": toml('log_format = "json"\nlog_format = "console"'),
    "toml: broken": toml("= nonsense"),
    "toml: YAML": toml("log_format: json\n"),
    "toml: UTF-16": toml('log_format = "json"'.encode("utf-16")),
    "toml: Latin-1": toml('node_name = "é"'.encode("latin-1")),
    "toml: depth 1,000": toml("lease_ttl = " + "[" * 1_000 + "]" * 1_000),
    "toml: 100,000 bytes": toml("# " + "x" * 100_000),
    "toml: NUL": toml('log_format = "json\0"'),
    "a file that is not there": file("SMTP_URL", None),
    "a file and a value": lambda patch, here: (
        file("SMTP_URL", b"smtp://ada:hunter2@mail")(patch, here) | env(SMTP_URL="smtp://mail")(patch, here)
    ),
    "a file that is no UTF-8": file("DATABASE_URL", b"postgresql://ada:hunter2\xff@db/app"),
    "a file in UTF-16": file("DATABASE_URL", "postgresql://ada:hunter2@db/app".encode("utf-16")),
    "a file of nothing": file("DATABASE_URL", b""),
    "a file of two lines": file("DATABASE_URL", b"postgresql://ada:hunter2@db/app\nhunter2"),
    "a file without end": named("CHIMEWAY_SMTP_URL_FILE", "/dev/zero"),
    "a file that is a folder": named("CHIMEWAY_SMTP_URL_FILE", "/"),
    "a configuration that is not there": named("CHIMEWAY_CONFIG", "other.toml"),
    "a configuration that is a folder": named("CHIMEWAY_CONFIG", "/"),
    "a credential that is no URL": credential("chimeway_smtp_url", b"ada:hunter2"),
    "a credential that is no UTF-8": credential("chimeway_smtp_url", b"hunter2\xff"),
    "an override that is no setting": line(leese_ttl="PT3S"),
    "an override of another type": line(lease_ttl=3),
    "an override with a lone surrogate": line(node_name="n\ud800"),
    "an override that is an integer of 5,000 digits": line(http_bind=10**5_000),
    "an override that is a list of thousands": line(log_level=["info"] * 5_000),
}


def test_bad_settings_are_named_without_their_secrets(tmp_path: Path) -> None:
    """Every fault of every source is told in one whole text: which setting, from where, what is right."""
    told: dict[str, str] = {}
    for number, (name, prepare) in enumerate(CASES.items()):
        here = tmp_path / str(number)
        here.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            for variable in list(os.environ):
                if variable.startswith("CHIMEWAY_"):
                    patch.delenv(variable)
            patch.chdir(here)
            overrides = prepare(patch, here)
            began = time.process_time()
            with pytest.raises(InvalidSettings) as caught:
                pytest.fail(f"{name} was taken: {Settings(**overrides)!r}")
            assert time.process_time() - began < PATIENCE_S, name
        assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.details}", name
        assert caught.value.__cause__ is None
        told[name] = str(caught.value).replace(str(here), "HERE")
    compare("settings", told)

"""Tables of settings: strict models, faults by their path, secrets from files and never shown."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, SecretStr

from chimeway.errors import InvalidSettings
from chimeway.setting_kinds import Duration, SmtpUrl
from chimeway.setting_tables import Options, Place, Setting, ShownUrl, read_table

PLACE = Place("feedback.postmark", "chimeway.toml")


class Table(Options):
    """What a room might want of its table."""

    url: Annotated[SmtpUrl, ShownUrl()]
    token: SecretStr | None = None
    sender: str = Field(default="x", alias="from")
    many: int = 4
    after: Duration | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)


def test_a_table_is_its_model() -> None:
    """Values arrive with their types, by the names under which they were written."""
    table = read_table(Table, {"url": "smtp://h", "from": "ada", "after": "PT3S"}, PLACE)
    assert (table.url.get_secret_value(), table.sender, table.many) == ("smtp://h", "ada", 4)
    assert table.after == timedelta(seconds=3)


def test_what_was_given_is_shown_without_secrets() -> None:
    """A secret is stars, a URL of a server lacks its password, and what was not given is not there."""
    given = {"url": "smtp://ada:hunter2@h:25", "token": "hunter2", "headers": {"a": "hunter2"}, "many": 5}
    table = read_table(Table, given, PLACE)
    assert list(table.describe()) == [
        Setting("feedback.postmark.url", "smtp://ada:***@h:25", "chimeway.toml"),
        Setting("feedback.postmark.token", "***", "chimeway.toml"),
        Setting("feedback.postmark.many", "5", "chimeway.toml"),
        Setting("feedback.postmark.headers", "***", "chimeway.toml"),
    ]
    assert "hunter2" not in repr(table)


def test_a_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X_file names a file whose content X is; it may lie where systemd puts credentials."""
    (tmp_path / "token").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for path in (str(tmp_path / "token"), "$CREDENTIALS_DIRECTORY/token"):
        table = read_table(Table, {"url": "smtp://h", "token_file": path}, PLACE)
        assert table.token is not None
        assert table.token.get_secret_value() == "hunter2"
        assert Setting("feedback.postmark.token", "***", f"file {path}") in list(table.describe())


WRONG: dict[str, tuple[Any, str]] = {
    "no table": (3, "feedback.postmark is 3 (chimeway.toml); right would be a table"),
    "missing": ({}, "feedback.postmark.url is not set (chimeway.toml), and must be"),
    "a secret of another type": (
        {"url": 3},
        "feedback.postmark.url is something that is not shown (chimeway.toml); right would be a text",
    ),
    "a secret that is refused": (
        {"url": "http://ada:hunter2@h"},
        (
            "feedback.postmark.url is 'http://...' (chimeway.toml); right would be a URL like "
            "smtp://user:password@host:port?starttls=true, or smtps://"
        ),
    ),
    "a truth for a number, and a misspelt name": (
        {"url": "smtp://h", "many": True, "frm": "hunter2"},
        (
            "feedback.postmark.many is True (chimeway.toml); right would be a valid integer. "
            "feedback.postmark.frm (chimeway.toml) is not a setting; did you mean from?"
        ),
    ),
    "a text for a number": (
        {"url": "smtp://h", "many": "8"},
        "feedback.postmark.many is '8' (chimeway.toml); right would be a valid integer",
    ),
    "a secret inside": (
        {"url": "smtp://h", "headers": {"a": ["hunter2"]}},
        "feedback.postmark.headers.a is something that is not shown (chimeway.toml); right would be a text",
    ),
    "a URL in the wrong place": (
        {"url": "smtp://h", "many": "smtp://ada:hunter2@h"},
        "feedback.postmark.many is 'smtp://...' (chimeway.toml); right would be a valid integer",
    ),
    "NUL": (
        {"url": "smtp://h\0hunter2"},
        "feedback.postmark.url (chimeway.toml) holds NUL or is not UTF-8: leave it out",
    ),
    "no such file": (
        {"url": "smtp://h", "token_file": "/none"},
        "feedback.postmark.token_file: /none cannot be read (No such file or directory)",
    ),
    "a file and itself": (
        {"url": "smtp://h", "token_file": "/none", "token": "hunter2"},
        "feedback.postmark.token and token_file are both set (chimeway.toml): one of them, please",
    ),
    "a credential without systemd": (
        {"url": "smtp://h", "token_file": "$CREDENTIALS_DIRECTORY/token"},
        (
            "feedback.postmark.token_file is '$CREDENTIALS_DIRECTORY/token', and CREDENTIALS_DIRECTORY is "
            "not set: systemd sets it"
        ),
    ),
    "a file of no secret": (
        {"url": "smtp://h", "many_file": "/none"},
        "feedback.postmark.many_file (chimeway.toml) is not a setting",
    ),
}


@pytest.mark.parametrize(("given", "told"), WRONG.values(), ids=WRONG.keys())
def test_each_fault_names_its_path(given: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault says where it is, what was given as far as it may be shown, and what would be right."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(InvalidSettings) as caught:
        read_table(Table, given, PLACE)
    assert str(caught.value).startswith(f"invalid_settings: {told}")
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None

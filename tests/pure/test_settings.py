"""Settings: names, sources and their order, faults said in words, secrets kept."""

from datetime import timedelta
from pathlib import Path

import pytest

from chimeway.errors import InvalidSettings
from chimeway.settings import Settings

URL = "postgresql://ada:hunter2@db1,db2:5433/app?target_session_attrs=read-write"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Work in an empty folder with nothing set."""
    import os

    for name in list(os.environ):
        if name.startswith("CHIMEWAY_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def origin(settings: Settings, name: str) -> str:
    """Say where a setting came from."""
    return next(row.origin for row in settings.describe() if row.name == name)


def test_defaults() -> None:
    """With nothing set, the documented defaults hold."""
    settings = Settings()
    assert settings.database_url is None
    assert settings.http_address() == ("127.0.0.1", 8420)
    assert settings.lease_ttl == timedelta(seconds=3)
    assert settings.max_lateness == timedelta(seconds=5)
    assert settings.retention_completed == timedelta(days=90)
    assert settings.idempotency_retention == settings.retention_signals == timedelta(days=30)
    assert settings.keep_bodies == timedelta(days=7)
    assert settings.node_name
    assert settings.data_dir.name == "chimeway"
    assert {row.origin for row in settings.describe()} == {"default"}


def test_fixed_names() -> None:
    """The names that users type are these, and they do not change."""
    assert {
        "CHIMEWAY_DATABASE_URL",
        "CHIMEWAY_DATA_DIR",
        "CHIMEWAY_WORKFLOWS_DIR",
        "CHIMEWAY_TEMPLATES_DIR",
        "CHIMEWAY_SMTP_URL",
        "CHIMEWAY_EMAIL_FROM",
        "CHIMEWAY_HTTP_BIND",
        "CHIMEWAY_LOG_FORMAT",
        "CHIMEWAY_LEASE_TTL",
        "CHIMEWAY_NODE_NAME",
        "CHIMEWAY_MAX_LATENESS",
        "CHIMEWAY_RETENTION_COMPLETED",
        "CHIMEWAY_RETENTION_SIGNALS",
        "CHIMEWAY_IDEMPOTENCY_RETENTION",
        "CHIMEWAY_KEEP_BODIES",
        "CHIMEWAY_RETENTION_AUDIT",
        "CHIMEWAY_DIRECT_DATABASE_URL",
    } <= {row.name for row in Settings().describe()}


@pytest.mark.parametrize("length", ["P400D", "PT3S", "P1DT1H", "PT0.5S", "P36525D", "P6DT23H59M"])
def test_a_length_is_shown_as_it_may_be_given(length: str) -> None:
    """Also one of more than a year, which has no fixed length."""
    shown = {row.name: row.value for row in Settings(retention_audit=length).describe()}
    assert shown["CHIMEWAY_RETENTION_AUDIT"] == length


def test_order_of_sources(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """Command line, environment, named file, credential, chimeway.toml: the first that has it."""
    (here / "chimeway.toml").write_text('email_from = "toml@x"\nlog_format = "json"\n')
    assert Settings().email_from == "toml@x"
    (here / "chimeway_email_from").write_text("credential@x\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(here))
    assert Settings().email_from == "credential@x"
    (here / "mail").write_text("file@x\n")
    monkeypatch.setenv("CHIMEWAY_EMAIL_FROM_FILE", str(here / "mail"))
    assert Settings().email_from == "file@x"
    monkeypatch.delenv("CHIMEWAY_EMAIL_FROM_FILE")
    monkeypatch.setenv("CHIMEWAY_EMAIL_FROM", "environment@x")
    assert Settings().email_from == "environment@x"
    assert origin(Settings(), "CHIMEWAY_EMAIL_FROM") == "environment CHIMEWAY_EMAIL_FROM"
    settings = Settings(email_from="line@x", log_format=None)
    assert settings.email_from == "line@x"
    assert origin(settings, "CHIMEWAY_EMAIL_FROM") == "command line"
    assert settings.log_format == "json"
    assert origin(settings, "CHIMEWAY_LOG_FORMAT") == "chimeway.toml"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PT3S", timedelta(seconds=3)),
        ("PT0.5S", timedelta(milliseconds=500)),
        ("P90D", timedelta(days=90)),
        ("P2W", timedelta(weeks=2)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
    ],
)
def test_durations(monkeypatch: pytest.MonkeyPatch, text: str, value: timedelta) -> None:
    """Durations are ISO 8601."""
    monkeypatch.setenv("CHIMEWAY_LEASE_TTL", text)
    assert Settings().lease_ttl == value


@pytest.mark.parametrize("text", ["3", "3s", "P", "PT", "P1DT", "P1M", "P1Y", "-PT1S", "PT0S"])
def test_durations_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What is no duration, has no fixed length or is nothing is refused."""
    monkeypatch.setenv("CHIMEWAY_LEASE_TTL", text)
    with pytest.raises(InvalidSettings, match=r"CHIMEWAY_LEASE_TTL is .* like PT3S"):
        Settings()


def test_fault_names_value_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault says which variable, what was given, and what would be right; all faults at once."""
    monkeypatch.setenv("CHIMEWAY_LOG_FORMAT", "xml")
    monkeypatch.setenv("CHIMEWAY_HTTP_BIND", "8420")
    with pytest.raises(InvalidSettings) as caught:
        Settings()
    text = str(caught.value)
    assert "CHIMEWAY_LOG_FORMAT is 'xml' (environment CHIMEWAY_LOG_FORMAT)" in text
    assert "right would be 'console' or 'json'" in text
    assert "CHIMEWAY_HTTP_BIND is '8420'" in text
    assert "127.0.0.1:8420" in text
    assert caught.value.details["variables"] == ["CHIMEWAY_HTTP_BIND", "CHIMEWAY_LOG_FORMAT"]


def test_faults_keep_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused URL is shown with its scheme only, in the error and in what it came from."""
    monkeypatch.setenv("CHIMEWAY_DATABASE_URL", "mysql://ada:hunter2@db/app")
    with pytest.raises(InvalidSettings) as caught:
        Settings()
    assert "mysql://..." in str(caught.value)
    assert "postgresql://" in str(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter2" not in repr(caught.value)


def test_secrets_masked_when_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed of the settings has no password; what the store gets has it."""
    monkeypatch.setenv("CHIMEWAY_DATABASE_URL", URL)
    monkeypatch.setenv("CHIMEWAY_DIRECT_DATABASE_URL", "postgresql:///app?user=ada&password=hunter2")
    settings = Settings(smtp_url="smtps://mail.example.org")
    rows = {row.name: row.value for row in settings.describe()}
    assert rows["CHIMEWAY_DATABASE_URL"] == URL.replace("hunter2", "***")
    assert rows["CHIMEWAY_DIRECT_DATABASE_URL"] == "postgresql:///app?user=ada&password=***"
    assert rows["CHIMEWAY_SMTP_URL"] == "smtps://mail.example.org"
    assert rows["CHIMEWAY_LEASE_TTL"] == "PT3S"
    assert rows["CHIMEWAY_WORKFLOWS_DIR"] == ""
    assert "hunter2" not in repr(settings)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == URL


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a/b:hunter2@h/app", "postgresql://a/b:***@h/app"),
        ("postgresql://h/app?sslpassword=hunter2&user=a", "postgresql://h/app?sslpassword=***&user=a"),
    ],
)
def test_passwords_in_odd_places_are_masked(url: str, shown: str) -> None:
    """A user with a slash that is not percent-encoded; a password that is another one."""
    rows = {row.name: row.value for row in Settings(database_url=url).describe()}
    assert rows["CHIMEWAY_DATABASE_URL"] == shown


@pytest.mark.parametrize("url", ["smtp://a/b:hunter2@h", "smtp://h?pass=hunter2", "smtp://h#hunter2"])
def test_an_smtp_url_has_nothing_that_nobody_reads(url: str) -> None:
    """What is no part of it may be one of a password: it is refused when settings are read, and not shown."""
    with pytest.raises(InvalidSettings, match=r"CHIMEWAY_SMTP_URL is 'smtp://\.\.\.'") as caught:
        Settings(smtp_url=url)
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize("name", ["CHIMEWAY_DATABASE_URL", "CHIMEWAY_DIRECT_DATABASE_URL"])
def test_a_url_that_is_not_understood_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that the drivers do not share is named when settings are read, not when one connects."""
    monkeypatch.setenv(name, URL + "&channel_binding=require")
    with pytest.raises(InvalidSettings) as caught:
        Settings()
    assert str(caught.value).endswith(
        "right would be one without this fault: its parameter 'channel_binding' is not understood: leave it "
        "out: one of the two drivers has none; sslmode=verify-full protects"
    )
    assert "hunter2" not in str(caught.value)


def test_secret_from_file(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """A secret may stand in a file; its last line's end does not belong to it."""
    (here / "url").write_text(URL + "\n")
    monkeypatch.setenv("CHIMEWAY_DATABASE_URL_FILE", str(here / "url"))
    settings = Settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == URL
    assert origin(settings, "CHIMEWAY_DATABASE_URL") == f"file {here / 'url'}"
    assert settings.warnings() == []


def test_secret_file_faults(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """A file that is not there, or a value given both ways, is refused by name."""
    monkeypatch.setenv("CHIMEWAY_SMTP_URL_FILE", str(here / "none"))
    with pytest.raises(InvalidSettings, match=r"CHIMEWAY_SMTP_URL_FILE: .* cannot be read"):
        Settings()
    monkeypatch.setenv("CHIMEWAY_SMTP_URL", "smtp://localhost")
    with pytest.raises(InvalidSettings, match="both set"):
        Settings()


def test_empty_means_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is as good as none; only for HTTP it means off."""
    monkeypatch.setenv("CHIMEWAY_DATABASE_URL", "")
    monkeypatch.setenv("CHIMEWAY_LEASE_TTL", "")
    monkeypatch.setenv("CHIMEWAY_HTTP_BIND", "")
    settings = Settings()
    assert settings.database_url is None
    assert settings.lease_ttl == timedelta(seconds=3)
    assert settings.http_address() is None


def test_bind_of_six(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 address stands in brackets."""
    monkeypatch.setenv("CHIMEWAY_HTTP_BIND", "[::1]:80")
    assert Settings().http_address() == ("::1", 80)


def test_unknown_variables_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is a warning that says what may have been meant; nothing is refused."""
    monkeypatch.setenv("CHIMEWAY_DATABSE_URL", URL)
    monkeypatch.setenv("CHIMEWAY_ZZZ", "1")
    misspelt, alien = Settings().warnings()
    assert misspelt.startswith("CHIMEWAY_DATABSE_URL is not a setting; did you mean CHIMEWAY_DATA")
    assert alien == "CHIMEWAY_ZZZ is not a setting"


def test_file_of_ours_is_read_strictly(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """An unknown key in chimeway.toml, a broken file and a missing one are refused."""
    (here / "chimeway.toml").write_text('databse_url = "x"\n')
    with pytest.raises(InvalidSettings, match=r"databse_url in chimeway\.toml .* database_url"):
        Settings()
    (here / "chimeway.toml").write_text("= nonsense")
    with pytest.raises(InvalidSettings, match="is not TOML"):
        Settings()
    monkeypatch.setenv("CHIMEWAY_CONFIG", str(here / "other.toml"))
    with pytest.raises(InvalidSettings, match=r"CHIMEWAY_CONFIG: .*other\.toml cannot be read"):
        Settings()


def test_unknown_override_is_refused() -> None:
    """A name that is no setting is refused in Python too."""
    with pytest.raises(InvalidSettings, match="leese_ttl is not a setting; did you mean lease_ttl"):
        Settings(leese_ttl="PT3S")


def test_keys_of_links_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several, the first first, from text or a list; none is shown, neither when all is well nor when not."""
    first, second = "a" * 32, "B" * 43 + "="
    for given in (f"{first} {second}", f"{first},\n{second}\n", [first, second]):
        settings = Settings(unsubscribe_keys=given)
        assert settings.signing_keys() == (first.encode(), second.encode())
        shown = {row.name: row.value for row in settings.describe()}
        assert shown["CHIMEWAY_UNSUBSCRIBE_KEYS"] == "***"
    assert Settings().signing_keys() == ()
    monkeypatch.setenv("CHIMEWAY_UNSUBSCRIBE_KEYS", f"{first} short")
    for wrong in (None, ",", f"{first} {'ä' * 32}", " ".join([first] * 11), [first, 7]):
        with pytest.raises(InvalidSettings, match=r"UNSUBSCRIBE_KEYS is .* right would be") as caught:
            Settings(unsubscribe_keys=wrong)
        assert first not in str(caught.value)


def test_origins_are_as_browsers_say_them() -> None:
    """Several, from text or a list; a star, a path, a default port, capital letters are none."""
    two = "https://app.example.org http://127.0.0.1:8080"
    for given in (two, two.replace(" ", ", "), two.split()):
        assert Settings(inbox_origins=given).allowed_origins() == set(two.split())
    assert Settings().allowed_origins() == frozenset()
    for wrong in (
        "*", "null", "https://*.example.org", "https://app.example.org/", "https://App.example.org",
        "https://app.example.org:443", "http://a:80", "app.example.org", "ftp://a", "https://a b", ",",
        " ".join(f"https://h{number}" for number in range(21)),
    ):  # fmt: skip
        with pytest.raises(InvalidSettings, match="CHIMEWAY_INBOX_ORIGINS"):
            Settings(inbox_origins=wrong)
    keys = Settings(inbox_keys="k" * 32)
    assert keys.inbox_token_keys() == (b"k" * 32,)
    assert {row.name: row.value for row in keys.describe()}["CHIMEWAY_INBOX_KEYS"] == "***"


def test_rates_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out or not; what is none, negative or beyond all measure is refused."""
    assert (Settings().http_rate, Settings().http_burst) == (100, 500)
    monkeypatch.setenv("CHIMEWAY_HTTP_RATE", "0")
    assert Settings(http_burst=20).http_rate == 0
    for wrong in ("-1", "1.5", "ten", "1e3", 2.0, True, 1_000_001, "9" * 5_000):
        with pytest.raises(InvalidSettings, match=r"CHIMEWAY_HTTP_RATE.*a whole number, 0 to 1000000"):
            Settings(http_rate=wrong)


@pytest.mark.parametrize(
    "text",
    [
        "example.org", "ftp://example.org", "https://", "https://h:0", "https://h:x", "https://u@h", "https://h/?x",
        "https://h/#x", "https://h/ä", "https://h/{token}", "https://h/<", "https://h/" + "x" * 200,
        "https://h/%7Ba%7D/%7Ba%7D", "https://h\\x",
    ],
)  # fmt: skip
def test_a_public_url_that_cannot_begin_a_link_is_refused(text: str) -> None:
    """It stands in a mail's header, and paths are put behind it."""
    assert Settings(public_url="https://h:8443/chimeway/").public_url == "https://h:8443/chimeway"
    with pytest.raises(InvalidSettings, match=r"CHIMEWAY_PUBLIC_URL is .* right would be a URL like"):
        Settings(public_url=text)


@pytest.mark.parametrize(
    "text",
    [
        "example.org/out", "ftp://example.org/{delivery_id}", "https://{workflow}.example.org/", "https://h/{email}",
        "https://h/{}", "https://h/{0}", "https://h/{delivery_id!r}", "https://h/{delivery_id:>9}", "https://h/{",
        "https://h/}", "https://h/{delivery_id.int}", "https://h/ä",
    ],
)  # fmt: skip
def test_an_unsubscribe_url_that_cannot_be_filled_is_refused(text: str) -> None:
    """A placeholder that nobody fills, or anything that is no URL, is refused when settings are read."""
    good = "https://h/out/{delivery_id}?t={tenant_id}&r={recipient_id}&w={workflow}"
    assert Settings(unsubscribe_url=good).unsubscribe_url == good
    with pytest.raises(InvalidSettings, match=r"CHIMEWAY_UNSUBSCRIBE_URL is .* right would be a URL like"):
        Settings(unsubscribe_url=text)

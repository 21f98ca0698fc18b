"""The log: lines by the table, in both forms, without secrets."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from chimeway.log import EVENTS, Events, configure


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the logging of this process as it was found (structlog: tests/conftest.py)."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    """Read what was written to standard error; nothing may be on standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def raise_connection_error(text: str) -> None:
    """Fail as a driver would."""
    raise ConnectionError(text)


def test_json_line_bears_event_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """A line in JSON has the event, its fields, level, time and what is bound."""
    configure("json", "info", strict=True)
    with structlog.contextvars.bound_contextvars(node="n1"):
        structlog.get_logger().info("lease.acquired", shards=[1, 2])
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "lease.acquired", "level": "info", "node": "n1", "shards": [1, 2]}


def test_console_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for people has the event and its fields, without colours when it is no terminal."""
    configure("console", "info", strict=True)
    structlog.get_logger().warning("listener.mode", mode="polling", reason="pooler")
    text = capsys.readouterr().err
    assert "listener.mode" in text
    assert "mode=polling" in text
    assert "\x1b" not in text


def test_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    configure("json", "warning")
    structlog.get_logger().info("daemon.ready", node="n1")
    assert lines(capsys) == []


def test_unknown_event_is_our_mistake() -> None:
    """In tests an event that is not in the table fails where it is logged."""
    configure("json", "info", strict=True)
    with pytest.raises(AssertionError, match=r"'daemon\.bored' is not in chimeway\.log\.EVENTS"):
        structlog.get_logger().info("daemon.bored")


def test_secrets_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Passwords in URLs, in fields of such a name and in tracebacks are masked."""
    configure("json", "info", strict=True)
    url = "postgresql://ada:hunter2@db,db2:5432/app?sslmode=require&password=hunter2"
    try:
        raise_connection_error(url)
    except ConnectionError as error:
        structlog.get_logger().exception(
            "database.lost", error=str(error), password="hunter2", operation="http://db:80/"
        )
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "postgresql://ada:***@db,db2:5432/app?sslmode=require&password=***" in text
    assert "http://db:80/" in text
    assert "Traceback" in text


def test_other_libraries_speak_through_us(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of another library comes out as one event; its chatter does not."""
    configure("json", "debug", strict=True)
    configure("json", "debug", strict=True)
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("asyncio").error("Task exception was never retrieved: %s", "x")
    (line,) = lines(capsys)
    assert line["event"] == "library.logged"
    assert line["logger"] == "asyncio"
    assert line["text"] == "Task exception was never retrieved: x"


def test_table_is_documented() -> None:
    """Every event has a dotted name and says its fields."""
    for name, text in EVENTS.items():
        room, _, word = name.partition(".")
        assert room.isalpha(), name
        assert word.replace("_", "").isalpha(), name
        assert len(text) > 5, name


def test_a_host_that_set_nothing_up_hears_us_as_it_hears_any_library(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """In a process of others events go to the logger "chimeway", masked, and nothing is printed."""
    structlog.reset_defaults()
    with caplog.at_level(logging.INFO, logger="chimeway"):
        Events().info("database.back", seconds=2, url="postgresql://ada:hush@db/x")
        Events().debug("decision.stale", run_id="r")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("chimeway", "INFO")
    assert record.getMessage() == "database.back seconds=2 url='postgresql://ada:***@db/x'"
    fields = {"event": "database.back", "seconds": 2, "url": "postgresql://ada:***@db/x"}
    assert record.__dict__["chimeway"] == fields
    assert capsys.readouterr() == ("", "")


def test_a_host_with_structlog_hears_us_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a host has set structlog up, events go its way, whenever it did so."""
    log = Events()
    seen = structlog.testing.LogCapture()
    structlog.configure(processors=[seen])
    log.warning("settings.warning", text="at smtp://ada:hush@host/")
    expected = {"event": "settings.warning", "text": "at smtp://ada:***@host/", "log_level": "warning"}
    assert seen.entries == [expected]
    assert capsys.readouterr() == ("", "")


def test_what_goes_nowhere_is_known_before_anything_is_made_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """By the level that we set up, and by no level of ours where somebody else sets up structlog after us."""
    configure("json", "warning", strict=True)
    Events().info("daemon.ready", node="n1")
    Events().warning("listener.mode", mode="polling")
    assert [line["event"] for line in lines(capsys)] == ["listener.mode"]
    heard: list[str] = []

    def seen(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
        heard.append(event["event"])
        return ""

    structlog.configure(
        processors=[seen],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    Events().debug("decision.stale", run_id="r")
    assert heard == ["decision.stale"]

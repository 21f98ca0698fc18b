"""The contract of channels: who keeps it passes, and who breaks a rule is told which, and by what."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest

from chimeway.delivery.channel import (
    Channel,
    ConfigurationFailure,
    Message,
    RateLimited,
    Sent,
    TransientFailure,
)
from chimeway.delivery.channels.log import LogChannel
from chimeway.errors import InvalidInput
from chimeway.testing import ContractBroken, ContractReport, FaultyHttp, channel_contract, contract_trial
from chimeway.testing.contract import RULES
from kit.plain_channel import PlainChannel

SECRET = "s3cret-token"


async def broken(make: Callable[[str], Channel], rule: str, *more: str, timeout_s: float = 1) -> str:
    """Return what is said of a channel that breaks one rule; others are tried with it."""
    async with FaultyHttp() as provider:

        def channel() -> Channel:
            return make(provider.url)

        with pytest.raises(ContractBroken) as told:
            await channel_contract(
                channel, provider, secrets=[SECRET], timeout_s=timeout_s, only=[rule, *more]
            )
    assert f"- {rule}" in str(told.value)
    return str(told.value)


async def test_a_channel_that_keeps_all_of_it() -> None:
    """It passes, and the report has every rule, and every fault with what was answered."""
    async with FaultyHttp() as provider:
        report = await channel_contract(lambda: PlainChannel(provider.url), provider, timeout_s=1)
    assert not report.broken
    assert not report.skipped
    assert {one.rule for one in report.findings} == set(RULES)
    assert report.answer("refuse") == "transient"
    assert report.answer("close_mid_reply") == "unknown"
    assert "kept    answers (rate_limit): rate_limited" in str(report)


async def test_a_channel_without_a_provider() -> None:
    """What nobody can try is skipped, and the report says so by name."""
    report = await channel_contract(
        LogChannel, None, address=None, without={"logs no secret": "it is there to log messages"}
    )
    assert {one.rule for one in report.skipped} >= {"answers", "gives its key", "logs no secret"}
    assert all(one.note for one in report.skipped)


class Swallows(PlainChannel):
    """Takes whatever comes for a success."""

    async def send(self, message: Message) -> Sent:
        """Send, and never complain."""
        with suppress(Exception):
            await super().send(message)
        return Sent()


async def test_success_without_a_yes() -> None:
    """Who says sent where nobody took anything is told by each fault."""
    text = await broken(Swallows, "answers")
    for fault in ("refuse", "hang", "rate_limit", "error_500", "close_mid_reply", "rubbish", "permanent"):
        assert f"answers ({fault}): it answered sent; right would be " in text


class SurelyNot(PlainChannel):
    """Says that nothing was sent when the answer was lost."""

    async def send(self, message: Message) -> Sent:
        """Send, and call every failure transient."""
        try:
            return await super().send(message)
        except Exception as error:
            raise TransientFailure("did not work") from error


async def test_surely_not_when_the_provider_has_it() -> None:
    """A lost answer is unknown; and what will never work is not transient."""
    text = await broken(SurelyNot, "answers")
    assert "answers (hang): it answered transient (TransientFailure); right would be" in text
    assert "answers (close_mid_reply)" in text
    assert "answers (permanent)" in text
    assert "answers (refuse)" not in text


class NoWait(PlainChannel):
    """Does not hand on for how long the provider wants to be left alone."""

    async def send(self, message: Message) -> Sent:
        """Send."""
        try:
            return await super().send(message)
        except RateLimited:
            raise RateLimited from None


async def test_retry_after_is_handed_on() -> None:
    """What the provider named must arrive."""
    assert "answers (rate_limit): retry_after is None" in await broken(NoWait, "answers (rate_limit)")


class Retries(PlainChannel):
    """Tries again by itself."""

    async def send(self, message: Message) -> Sent:
        """Send, twice if need be."""
        with suppress(TransientFailure):
            return await super().send(message)
        return await super().send(message)


async def test_retries_are_the_engines() -> None:
    """One send is one call: every attempt has its row."""
    assert "answers (error_500): one send asked the provider 2 times" in await broken(
        Retries, "answers (error_500)"
    )


class ManyKeys(PlainChannel):
    """Has a key of its own for each attempt."""

    calls = 0

    def key(self, message: Message) -> str:
        """Return another each time."""
        self.calls += 1
        return f"{message.delivery_id}-{self.calls}"


class NoKey(PlainChannel):
    """Has a key that nobody else knows."""

    def key(self, message: Message) -> str:
        """Return another message's."""
        return "always-the-same"


@pytest.mark.parametrize("kind", [ManyKeys, NoKey])
async def test_the_key_is_the_deliverys(kind: type[PlainChannel]) -> None:
    """Another key, or one for each attempt, is told."""
    assert "key" in await broken(kind, "gives its key")


class KeepsSending(PlainChannel):
    """Does not let itself be cancelled."""

    async def send(self, message: Message) -> Sent:
        """Send, whatever happens."""
        try:
            return await super().send(message)
        except asyncio.CancelledError:
            return Sent()


async def test_cancelling_is_not_swallowed() -> None:
    """Who answers although it was cancelled is told."""
    assert "right is to let CancelledError pass" in await broken(KeepsSending, "can be cancelled")


class CatchesAll(PlainChannel):
    """Turns even an interrupt into a failure."""

    async def send(self, message: Message) -> Sent:
        """Send."""
        try:
            return await super().send(message)
        except BaseException as error:
            raise TransientFailure("something") from error


async def test_interrupts_pass() -> None:
    """Ctrl-C is no failure of a provider."""
    text = await broken(CatchesAll, "lets interrupts pass")
    assert "a KeyboardInterrupt became TransientFailure" in text


class OneAtATime(PlainChannel):
    """Can do one thing at once."""

    busy = False

    async def send(self, message: Message) -> Sent:
        """Send, if nobody else does."""
        if self.busy:
            raise RuntimeError("busy")
        self.busy = True
        try:
            return await super().send(message)
        finally:
            self.busy = False


async def test_several_at_once() -> None:
    """A channel serves all sends that come."""
    assert "of 8 sends at once 7 answered unknown (RuntimeError)" in await broken(
        OneAtATime, "sends several at once"
    )


class OneConnection(PlainChannel):
    """Is done for when its provider was away."""

    gone = False

    async def send(self, message: Message) -> Sent:
        """Send, as long as nothing ever failed."""
        if self.gone:
            raise TransientFailure("the connection is gone")
        self.gone = True
        return await super().send(message)


async def test_a_restarted_provider() -> None:
    """Who does not find back is told."""
    assert "after a restart it answered transient" in await broken(OneConnection, "survives a restart")


class WritesHeaders(PlainChannel):
    """Lets values become headers."""

    def headers(self, message: Message) -> list[str]:
        """Write the subject as it is."""
        return [f"X-Subject: {message.subject.encode('ascii', 'replace').decode()}"]


async def test_values_do_not_become_headers() -> None:
    """An injected header is found at the provider."""
    text = await broken(WritesHeaders, "takes any value")
    assert "takes any value (a lone line feed in the subject)" in text or "became the header" in text
    assert "(unicode)" not in text


class Ascii(PlainChannel):
    """Knows no letters but its own."""

    def headers(self, message: Message) -> list[str]:
        """Fail at others, as encoders do."""
        message.subject.encode("ascii")
        return []


async def test_what_can_never_be_sent_is_refused_for_good() -> None:
    """An error nobody foresaw would be tried again for a day."""
    text = await broken(Ascii, "takes any value")
    assert "takes any value (unicode): it answered unknown (UnicodeEncodeError)" in text


class Tells(PlainChannel):
    """Says too much in its errors."""

    told = ""

    async def send(self, message: Message) -> Sent:
        """Send, and tell."""
        try:
            return await super().send(message)
        except TransientFailure as error:
            said = {"address": message.address, "subject": message.subject, "secret": SECRET}
            raise TransientFailure(f"could not reach {said[self.told]}") from error


@pytest.mark.parametrize(
    ("told", "what"), [("address", "address"), ("subject", "to be sent"), ("secret", "secret")]
)
async def test_errors_are_silent(told: str, what: str) -> None:
    """What an error says becomes a note in a row: no secret, no address, nothing of the message."""
    kind = type("Telling", (Tells,), {"told": told})
    assert what in await broken(kind, "tells no secret", "answers (error_500)")


class ChainsSecrets(PlainChannel):
    """Hides a secret in the cause of its errors."""

    async def send(self, message: Message) -> Sent:
        """Send."""
        try:
            return await super().send(message)
        except TransientFailure:
            raise TransientFailure("no") from RuntimeError(f"https://provider/?token={SECRET}")


async def test_causes_are_silent() -> None:
    """A log may print the whole chain."""
    text = await broken(ChainsSecrets, "tells no secret", "answers (error_500)")
    assert "holds a secret" in text


class Logs(PlainChannel):
    """Says too much to whoever reads logs."""

    async def send(self, message: Message) -> Sent:
        """Send, and log it."""
        logging.getLogger("some.library").warning("posting to %s with %s", message.address, SECRET)
        return await super().send(message)


async def test_logs_are_silent() -> None:
    """A warning of a library is heard on a node."""
    assert "a log line holds a secret" in await broken(Logs, "logs no secret", "sends")


class Leaves(PlainChannel):
    """Leaves something behind."""

    what = ""
    left: ClassVar[list[Any]] = []

    async def send(self, message: Message) -> Sent:
        """Send, and forget something."""
        match self.what:
            case "task":
                self.left.append(asyncio.ensure_future(asyncio.sleep(3600)))
            case "thread":
                done = threading.Event()
                threading.Thread(target=done.wait, name="forgotten", daemon=True).start()
                self.left.append(done)
            case "connection":
                self.left.append(await asyncio.open_connection("127.0.0.1", self._port))
            case _:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                del reader, writer
        return await super().send(message)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("task", "the task"),
        ("thread", "the thread forgotten"),
        ("connection", "open connections"),
        ("nobody's", "ResourceWarning"),
    ],
)
async def test_nothing_is_left_behind(what: str, told: str) -> None:
    """Tasks, threads and connections end with the channel; what the collector finds was not closed."""
    kind = type("Leaving", (Leaves,), {"what": what, "left": []})
    try:
        text = await broken(kind, "leaves nothing behind", "sends", timeout_s=0.2)
    finally:
        for one in kind.left:  # type: ignore[attr-defined]
            match one:
                case asyncio.Future():
                    one.cancel()
                case threading.Event():
                    one.set()
                case _:
                    one[1].close()
    assert told in text


class Unopenable(PlainChannel):
    """Cannot be opened."""

    async def __aenter__(self) -> PlainChannel:
        """Fail."""
        raise ConfigurationFailure("no such folder")

    async def __aexit__(self, *_: object) -> None:
        """Never happens."""


async def test_a_channel_that_cannot_be_opened() -> None:
    """What fails besides sending is a finding too, and ends nothing else."""
    text = await broken(Unopenable, "opens and closes", "sends")
    assert "outside of send it raised ConfigurationFailure" in text


class Exits(PlainChannel):
    """Ends the program."""

    async def send(self, message: Message) -> Sent:
        """Leave."""
        raise SystemExit(1)


async def test_a_send_does_not_end_the_program() -> None:
    """SystemExit is for nobody to raise here."""
    assert "it raised SystemExit, which ends the whole program" in await broken(Exits, "sends")


class NeverEnds(PlainChannel):
    """Goes on whoever wants it to end, until there is no provider any more."""

    async def send(self, message: Message) -> Sent:
        """Send, again and again."""
        self._timeout_s = 60
        while True:
            try:
                return await super().send(message)
            except asyncio.CancelledError:
                await asyncio.sleep(0)


async def test_a_send_that_cannot_be_ended_holds_up_no_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is tried, and the verdict comes."""
    monkeypatch.setattr(contract_trial, "GRACE_S", 0.3)
    text = await broken(NeverEnds, "answers (hang)", timeout_s=0.2)
    assert "it had not ended 0.3 s after its time was over" in text


class NeverCloses(PlainChannel):
    """Waits for ever when it is left."""

    async def __aenter__(self) -> PlainChannel:
        """Open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait."""
        await asyncio.Event().wait()


async def test_a_channel_that_does_not_close_holds_up_no_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule that opens one says so."""
    monkeypatch.setattr(contract_trial, "GRACE_S", 0.3)
    text = await broken(NeverCloses, "has a name", "sends", timeout_s=0.2)
    assert text.count("it was not closed within 0.5 s") == 2


class Forgets(PlainChannel):
    """Forgets its connection when a send fails."""

    async def send(self, message: Message) -> Sent:
        """Send, and close what was opened when all went well."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent = await super().send(message)
        writer.close()
        await writer.wait_closed()
        return sent


async def test_what_an_error_holds_is_found_too() -> None:
    """An error kept for its text does not keep alive what its send forgot."""
    text = await broken(Forgets, "leaves nothing behind", "answers (refuse)", "answers (error_500)")
    assert "ResourceWarning" in text


class Shortens(PlainChannel):
    """Sends what fits."""

    async def send(self, message: Message) -> Sent:
        """Send the beginning."""
        return await super().send(replace(message, body=message.body[:1_000], text=None))


async def test_a_message_that_was_cut_short_is_not_whole() -> None:
    """Who sends only the beginning of a long body is told."""
    text = await broken(Shortens, "takes any value (a long body)")
    assert "a part of the body is missing" in text


class OnThreads(PlainChannel):
    """Works on threads of the loop's libraries, which keep them for the next work."""

    async def send(self, message: Message) -> Sent:
        """Send."""
        await asyncio.to_thread(str)
        await anyio.to_thread.run_sync(str)
        return await super().send(message)


async def test_threads_that_are_the_loops_are_not_the_channels() -> None:
    """They end with the loop; who uses them leaves nothing behind."""
    async with FaultyHttp() as provider:
        await channel_contract(
            lambda: OnThreads(provider.url),
            provider,
            address="1",
            secrets=[""],
            timeout_s=1,
            only=["sends", "leaves nothing behind", "logs no secret"],
        )


async def test_all_rules_are_tried_before_the_verdict() -> None:
    """The text has every broken rule, and the error the whole report."""
    async with FaultyHttp() as provider:
        with pytest.raises(ContractBroken) as told:
            await channel_contract(
                lambda: Exits(provider.url), provider, timeout_s=0.5, only=["sends", "gives its key"]
            )
    report = told.value.report
    assert isinstance(report, ContractReport)
    assert [one.rule for one in report.broken] == ["sends", "gives its key"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"without": {"sins": "why not"}}, "no rule is named 'sins'"),
        ({"without": {"sends": " "}}, "must say why"),
        ({"only": ["sins"]}, "no rule is named 'sins'"),
        ({"answers": {"hang": {"sent"}}}, "would be a lie"),
        ({"answers": {"close_mid_reply": {"transient"}}}, "would be a lie"),
        ({"answers": {"flood": {"unknown"}}}, "no fault is named 'flood'"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"address": ""}, "address"),
        ({"secrets": "s3cret"}, "secrets"),
        ({"only": []}, "only"),
        ({"only": ["answers (hnag)"]}, "hnag"),
        ({"without": {"takes any value (unicorn)": "it is none"}}, "unicorn"),
    ],
)
async def test_what_is_asked_for_must_make_sense(options: dict[str, Any], told: str) -> None:
    """A typing error in a test is no reason to pass it."""
    with pytest.raises(InvalidInput, match=told):
        await channel_contract(LogChannel, None, **options)

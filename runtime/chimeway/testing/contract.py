"""The channel contract: what a node may expect of any channel, proved against a provider that fails.

    async def test_my_channel() -> None:
        async with FaultyHttp() as provider:
            await channel_contract(lambda: MyChannel(provider.url), provider, secrets=["s3cret"])

The rules stand in `contract_rules`, what may be answered to which fault in `contract_answers`. Every rule
has a channel of its own, so that one broken rule says nothing of the next; all are tried before the
contract is said to be broken. What only the end can show (tasks, threads, connections, texts) comes last.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from chimeway.delivery.channel import Channel
from chimeway.errors import InvalidInput
from chimeway.testing.contract_answers import Answers, allowed
from chimeway.testing.contract_leftovers import Leftovers, check_lines, check_texts
from chimeway.testing.contract_report import ContractBroken, ContractReport, Finding
from chimeway.testing.contract_rules import ALONE, WITH_A_PROVIDER, Rule, answers, takes_any_value
from chimeway.testing.contract_trial import GRACE_S, Broken, Provider, Trial
from chimeway.testing.contract_values import VALUES
from chimeway.testing.faults import FAULT_KINDS

_NO_PROVIDER: Final = "there is no provider that could fail"
_RULES_OF_THE_END: Final = ("opens and closes", "leaves nothing behind", "tells no secret", "logs no secret")
RULES: Final = (*ALONE, *WITH_A_PROVIDER, "answers", "takes any value", *_RULES_OF_THE_END)
"""Every rule by its name, as `without` takes them."""
_ADDRESS: Final = "ada@example.org"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


async def channel_contract(  # noqa: PLR0913  (each answers another question about a channel)
    channel: Callable[[], Channel],
    provider: Provider | None,
    *,
    address: str | Callable[[], str] | None = _ADDRESS,
    secrets: Collection[str] = (),
    timeout_s: float = 5.0,
    answers: Answers | None = None,
    without: Mapping[str, str] = _NOTHING,
    only: Collection[str] | None = None,
) -> ContractReport:
    """Prove a channel against a provider that fails in every way it can.

    Args:
        channel: makes a channel that sends to `provider`, a new one at each call.
        provider: the fault server, entered; None for a channel that has no provider.
        address: to whom messages go, in the channel's terms; None for a channel that needs none.
        secrets: texts that no error and no log line may hold (passwords, tokens).
        timeout_s: within this a send must have ended; give the channel a shorter one of its own.
        answers: what this channel may answer to a fault, where it cannot learn what others do.
        without: rules that it cannot keep, each with the reason: "gives its key", "answers (bounce)".
        only: try no other rules than these, while one looks for what breaks them.

    Returns:
        What was found, rule by rule, also what was skipped and why.

    Raises:
        ContractBroken: a rule does not hold; an AssertionError that names each, and bears the report.
        InvalidInput: `answers` or `without` name what is not there, or allow a lie.
    """
    _check_names(without, RULES if only is None else only)
    _check_values(address, secrets, timeout_s)
    more = (getattr(provider, "answers", {}), answers or {})
    trial = Trial(
        make=channel,
        provider=provider,
        address=address if callable(address) else lambda: address,
        timeout_s=timeout_s,
        answers=allowed(*more),
        secrets=tuple(secrets),
    )
    run = _Run(trial, without, RULES if only is None else only)
    await run.all()
    report = ContractReport(trial.name, tuple(run.findings))
    if report.broken:
        raise ContractBroken(report)
    return report


@dataclass(slots=True)
class _Run:
    """Tries the rules, one after the other."""

    trial: Trial
    without: Mapping[str, str]
    only: Collection[str]
    findings: list[Finding] = field(default_factory=list)

    async def all(self) -> None:
        """Try every rule."""
        with Leftovers() as left, self.trial.listening():
            self.trial.name = str(getattr(self.trial.make(), "name", "?"))
            for name, rule in ALONE.items():
                await self._try(name, rule)
            await self._with_a_provider()
            for value in VALUES:
                await self._try("takes any value", takes_any_value, value, self._why_not(value))
            await self._try_end("opens and closes", self._opens_and_closes)
            await self._try_end("leaves nothing behind", lambda: left.check(self.trial))
            await self._try_end("tells no secret", lambda: check_texts(self.trial))
            await self._try_end("logs no secret", lambda: check_lines(self.trial))

    async def _with_a_provider(self) -> None:
        provider = self.trial.provider
        for name, rule in WITH_A_PROVIDER.items():
            await self._try(name, rule, skipped=_NO_PROVIDER if provider is None else None)
        for fault in FAULT_KINDS[1:]:
            skipped = _NO_PROVIDER if provider is None else None
            if provider is not None and fault not in provider.faults:
                skipped = f"{type(provider).__name__} cannot do this"
            await self._try("answers", answers, fault, skipped)

    async def _try(self, name: str, rule: Rule, tried_with: str = "", skipped: str | None = None) -> None:
        async def tried() -> str:
            async with self.trial.channel() as channel:
                return await rule(self.trial, channel, tried_with)

        await self._try_end(name, tried, tried_with, skipped)

    async def _try_end(
        self, name: str, rule: Callable[[], Any], tried_with: str = "", skipped: str | None = None
    ) -> None:
        both = f"{name} ({tried_with})"
        if name not in self.only and both not in self.only:
            return
        skipped = self.without.get(name) or self.without.get(both) or skipped
        if skipped is not None:
            self.findings.append(Finding(name, tried_with, "skipped", skipped))
            return
        try:
            note = await rule()
        except Broken as broken:
            self.findings.append(Finding(name, tried_with, "broken", str(broken)))
        except Exception as error:  # noqa: BLE001  (whatever a channel does besides sending)
            said = f"outside of send it raised {type(error).__name__}"
            self.findings.append(Finding(name, tried_with, "broken", said))
        else:
            self.findings.append(Finding(name, tried_with, "kept", note or ""))

    def _why_not(self, value: str) -> str | None:
        """Say why a value cannot be tried."""
        about_address = "address" in VALUES[value]
        return "it needs no address" if about_address and self.trial.address() is None else None

    async def _opens_and_closes(self) -> str:
        """A channel can be opened and closed, used or not, and a second one after the first."""
        for used in (False, True, True):
            async with asyncio.timeout(self.trial.timeout_s + GRACE_S), self.trial.channel() as channel:
                if used:
                    await self.trial.send_well(channel, "after it was opened anew")
        return ""


def _check_names(without: Mapping[str, str], only: Collection[str]) -> None:
    known = {*RULES, *(f"answers ({fault})" for fault in FAULT_KINDS[1:])}
    known |= {f"takes any value ({value})" for value in VALUES}
    for name in (*without, *only):
        if name not in known:
            raise InvalidInput(f"without, only: no rule is named {name!r}; there are {', '.join(RULES)}")
    if not only:
        raise InvalidInput("only: names no rule; left out, all are tried")
    for name, reason in without.items():
        if not reason.strip():
            raise InvalidInput(f"without[{name!r}]: must say why")


def _check_values(address: object, secrets: object, timeout_s: float) -> None:
    if isinstance(address, str) and not address:
        raise InvalidInput("address: must not be empty; None means that the channel needs none")
    if isinstance(secrets, str):
        raise InvalidInput("secrets: must be a list of texts, and is one text")
    if not timeout_s > 0:
        raise InvalidInput("timeout_s: must be more than 0")

"""The webhook channel: a signed POST of JSON to a URL that a customer gave, and to nowhere else.

Signatures, timestamp and id are those of Standard Webhooks (`webhook_signing`); the id is the delivery's,
and the body the same in every attempt (`webhook_content`). Where a request may go, and why nothing else
can be reached, stands in `chimeway.delivery.outward`. The recipient's address for the channel is the URL;
or one URL of the settings takes all messages.

| what happens                                              | raised                              |
|-----------------------------------------------------------|-------------------------------------|
| the tenant has no secret                                  | `ConfigurationFailure`              |
| a URL that may not be called; an address inside           | `PermanentFailure` (*)              |
| its name does not exist                                   | `Bounced` (*)                       |
| the name cannot be looked up, refused, not connected in   | `TransientFailure`: nothing was     |
| `connect_timeout_s`, TLS that fails, no place free        | sent                                |
| its certificate is not trusted                            | `PermanentFailure` (*)              |
| connection lost, nonsense, since the request began        | `UnknownOutcome`                    |
| no answer within `reply_timeout_s`                        | TimeoutError                        |
| 2xx                                                       | nothing: it is sent                 |
| 404, 410                                                  | `Bounced` (*): nobody is there      |
| 401, 403, 407; a redirect that is not followed            | `PermanentFailure` (*)              |
| 429                                                       | `RateLimited`, with `Retry-After`   |
| 408, 425, any other 5xx                                   | `TransientFailure`, likewise        |
| any other 4xx                                             | `PermanentFailure`                  |
| 502, 504, 520, 524: a gateway lost whom it had asked      | `UnknownOutcome`                    |
| anything else                                             | `UnknownOutcome`                    |

(*) `ConfigurationFailure` where the URL is from the settings: it is ours then.

A status counts as soon as it is there: the rest of the answer is read for a moment and up to a bound, so
that the connection can serve again, and never unpacked. A 2xx whose connection is lost on the way is
`UnknownOutcome` all the same. An idle connection that the receiver closed is seen before anything is sent,
and replaced. Each endpoint answers for itself (`endpoint`): a customer's outage closes nobody else's way.
"""

import asyncio
import re
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self

import httpcore2
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from chimeway import trace_context
from chimeway.clock import Clock, SystemClock
from chimeway.delivery.channel import (
    ConfigurationFailure,
    Message,
    PermanentFailure,
    SendFailure,
    Sent,
)
from chimeway.delivery.channels.places import a_place
from chimeway.delivery.channels.trust import trusting
from chimeway.delivery.channels.webhook_answers import REDIRECTS, Reply, at_fault, judged
from chimeway.delivery.channels.webhook_content import content_of
from chimeway.delivery.channels.webhook_posting import Bounds, Headers, Poster, Reach
from chimeway.delivery.channels.webhook_signing import Secrets, read_secrets
from chimeway.delivery.outward.connecting import Resolve
from chimeway.delivery.outward.names import Names
from chimeway.delivery.outward.networks import Networks, read_networks
from chimeway.delivery.outward.targets import Target, follow, read_target
from chimeway.errors import InvalidInput
from chimeway.limits import WEBHOOK_BODY_BYTES
from chimeway.setting_kinds import Duration, read_json
from chimeway.setting_tables import Options as TableOptions

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_AGENT: Final = f"Chimeway/{version('chimeway')}"
"""Found once: a package's version is read from a file."""


def _signs(value: SecretStr) -> SecretStr:
    read_secrets(value.get_secret_value())
    return value


def _table(value: object) -> object:
    """Read the content of `secrets_file`."""
    return read_json(value, '{"org_456": "whsec_..."}')


def _networks(value: list[str]) -> list[str]:
    read_networks(value)
    return value


SigningSecret = Annotated[SecretStr, AfterValidator(_signs)]
NetworkList = Annotated[list[str], AfterValidator(_networks)]


class Options(TableOptions):
    """`kind = "webhook"`; see docs/channels.md."""

    url: SecretStr | None = None
    secret: SigningSecret | None = None
    secrets: Annotated[dict[str, SigningSecret], BeforeValidator(_table)] = Field(default={}, repr=False)
    master_key: SigningSecret | None = None
    connect_timeout: Duration = timedelta(seconds=5)
    reply_timeout: Duration = timedelta(seconds=15)
    redirects: int = Field(default=0, ge=0, le=5)
    allow_http: bool = False
    ports: list[Annotated[int, Field(ge=1, le=65_535)]] = Field(default=[])
    allow_networks: NetworkList = Field(default=[])
    deny_networks: NetworkList = Field(default=[])
    ca_file: str | None = None
    connections: int = Field(default=64, ge=1, le=1_000)
    max_body_bytes: int = Field(default=WEBHOOK_BODY_BYTES, ge=1_024, le=16_777_216)
    with_data: bool = True
    reference_header: str = Field(default="x-request-id", pattern=r"^[A-Za-z0-9-]{1,100}$")


class WebhookChannel:
    """Posts messages to URLs. Use as an async context manager, so that connections are closed."""

    def __init__(  # noqa: PLR0913  (each is a setting, with a default of its own)
        self,
        secrets: Secrets,
        *,
        name: str = "webhook",
        url: str | None = None,
        reach: Reach | None = None,
        bounds: Bounds | None = None,
        with_data: bool = True,
        reference: str = "x-request-id",
        clock: Clock | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """Take by what is signed and where to; connect when there is something to send.

        Args:
            secrets: of each tenant.
            name: the channel's name in definitions.
            url: where all messages go; if left out, each goes to its recipient's address.
            reach: where requests may go.
            bounds: how long and how much.
            with_data: whether the trigger's data is sent, too.
            reference: the header in which a receiver names the message.
            clock: for the timestamp.
            resolve: says the addresses of a name; if left out, the system does.

        Raises:
            ValueError: `url` cannot be called.
        """
        self.name = name
        self.needs_address = url is None
        self._secrets = secrets
        self._reach = reach or Reach()
        self._bounds = bounds or Bounds()
        self._fixed = None if url is None else self._read(url)
        self._with_data = with_data
        self._reference = reference
        self._clock: Clock = clock or SystemClock()
        self._places = asyncio.Semaphore(self._bounds.connections)
        self._names = Names()
        self._poster = Poster(self._reach, self._bounds, resolve or self._names.addresses, ours=self._ours)

    async def __aenter__(self) -> Self:
        """Nothing to open yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        self._names.close()
        await self._poster.close()

    def endpoint(self, address: str) -> str | None:
        """Return whose answer a message to this address brings; None: the provider's own."""
        return None if self._fixed else self._read(address).endpoint

    async def send(self, message: Message) -> Sent:
        """Post the message; follow redirects where that is allowed."""
        target = self._target(message)
        body = content_of(message, with_data=self._with_data, most_bytes=self._bounds.body_bytes)
        headers = self._headers(message, body)
        bounds = self._bounds
        within_s = bounds.connect_timeout_s + bounds.reply_timeout_s
        async with a_place(self._places, within_s):
            ends = asyncio.get_running_loop().time() + within_s
            for _ in range(self._reach.redirects + 1):
                reply = await self._poster.post(target, headers, body, ends)
                location = reply.header("location")
                if reply.status not in REDIRECTS or location is None or not self._reach.redirects:
                    return self._answer(reply, body, target)
                target = self._followed(target, location)
        raise at_fault(ours=self._ours)(f"more than {self._reach.redirects} redirects, one after the other")

    @property
    def _ours(self) -> bool:
        return self._fixed is not None

    def _read(self, url: str) -> Target:
        return read_target(url, http=self._reach.http, ports=self._reach.ports)

    def _target(self, message: Message) -> Target:
        if self._fixed is not None:
            return self._fixed
        try:
            return self._read(message.address or "")
        except ValueError as fault:
            raise PermanentFailure(f"the address cannot be called: {fault}") from None

    def _followed(self, target: Target, location: str) -> Target:
        try:
            return follow(target, location, http=self._reach.http, ports=self._reach.ports)
        except ValueError as fault:
            raise at_fault(ours=self._ours)(f"a redirect leads where it must not: {fault}") from None

    def _headers(self, message: Message, body: bytes) -> Headers:
        if not _ID.fullmatch(message.delivery_id):
            raise PermanentFailure("the delivery's id cannot be a webhook's id")
        timestamp = int(self._clock.now().timestamp())
        signatures = self._secrets.signatures(message.tenant_id, message.delivery_id, timestamp, body)
        if not signatures:
            raise ConfigurationFailure("the tenant has no secret to sign by")
        traceparent = trace_context.current()
        traced = {} if traceparent is None else {"traceparent": traceparent}
        return traced | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": _AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "webhook-id": message.delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures,
        }

    def _answer(self, reply: Reply, body: bytes, target: Target) -> Sent:
        answer = judged(
            reply,
            ours=self._ours,
            now=self._clock.now(),
            sent=body,
            reference=self._reference,
            path=target.path,
        )
        if isinstance(answer, SendFailure):
            raise answer
        return answer


def build(options: Options, name: str, clock: Clock) -> WebhookChannel:
    """Make the channel.

    Raises:
        InvalidInput: nothing to sign by is set, or too much; the URL cannot be called.
        InvalidSettings: the file of authorities cannot be read.
    """
    if options.secret and options.master_key:
        raise InvalidInput("secret and master_key are both set: one of them, please")
    if not (options.secret or options.secrets or options.master_key):
        raise InvalidInput("secret, secrets or master_key must be set: nothing leaves unsigned")
    try:
        return WebhookChannel(
            _secrets_of(options),
            name=name,
            url=None if options.url is None else options.url.get_secret_value(),
            reach=_reach_of(options),
            bounds=Bounds(
                connect_timeout_s=options.connect_timeout.total_seconds(),
                reply_timeout_s=options.reply_timeout.total_seconds(),
                body_bytes=options.max_body_bytes,
                connections=options.connections,
            ),
            with_data=options.with_data,
            reference=options.reference_header,
            clock=clock,
        )
    except ValueError as fault:
        raise InvalidInput(f"url: it cannot be called: {fault}", field="url") from None


def _secrets_of(options: Options) -> Secrets:
    return Secrets(
        of_all=_keys(options.secret),
        of_tenants={tenant: _keys(secret) for tenant, secret in options.secrets.items()},
        masters=_keys(options.master_key),
    )


def _keys(secret: SecretStr | None) -> tuple[bytes, ...]:
    return () if secret is None else read_secrets(secret.get_secret_value())


def _reach_of(options: Options) -> Reach:
    tls = None
    if options.ca_file is not None:
        tls = trusting(Path(options.ca_file), httpcore2.default_ssl_context())
    return Reach(
        networks=Networks(read_networks(options.allow_networks), read_networks(options.deny_networks)),
        http=options.allow_http,
        ports=tuple(options.ports),
        redirects=options.redirects,
        tls=tls,
    )

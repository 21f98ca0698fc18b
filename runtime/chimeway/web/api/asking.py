"""Who asks, of which tenant, and doing things once: what the routes of `/v1` have in common."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, assert_never

from fastapi import Depends, Header, Query, Request, Response
from pydantic import StringConstraints, TypeAdapter

from chimeway.client.chimeway import Chimeway
from chimeway.client.inbox import Inbox
from chimeway.clock import Clock
from chimeway.errors import InvalidInput
from chimeway.inbox_tokens import InboxBearer
from chimeway.limits import MAX_IDENTIFIER_CHARS
from chimeway.store import answers
from chimeway.store.acting import Operator
from chimeway.store.answers import Key, Reply
from chimeway.store.pool import Connection
from chimeway.web.api.guard import asked_of
from chimeway.web.api.refusals import Refused
from chimeway.web.api.strict_json import canonical
from chimeway.web.auth import Principal, Scope, Tokens
from chimeway.web.limits import MAX_REQUEST_KEY_CHARS

_T = TypeVar("_T")
_KEY: Final = re.compile(rf"[!-~]{{1,{MAX_REQUEST_KEY_CHARS}}}", re.ASCII)
Identifier: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_IDENTIFIER_CHARS, pattern=r"^[^\x00]+$")
]
TenantId: TypeAlias = Annotated[
    Identifier | None,
    Query(description="Whose. Left out: the one that the token opens; a token of all tenants must name one."),
]
RecipientId: TypeAlias = Annotated[
    Identifier | None, Query(description="Whose inbox: for API tokens. An inbox token knows it.")
]
RequestKey: TypeAlias = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=MAX_REQUEST_KEY_CHARS, pattern=r"^[!-~]+$",
        description="The same again is answered as the first time, and does nothing (`Idempotent-Replayed`).",
    ),
]  # fmt: skip


_Dependency: TypeAlias = Callable[..., Awaitable[_T]]


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with, one for a node."""

    client: Chimeway
    tokens: Tokens
    clock: Clock
    inbox_keys: Sequence[bytes]
    lateness: timedelta
    """Past its wake by more than this a run is overdue, where nothing else is asked."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who may do what a route does, in one tenant."""

    principal: Principal
    tenant: str
    client: Chimeway
    request: Request

    @property
    def operator(self) -> Operator:
        """Return who acts, for the audit."""
        return Operator(self.principal.token_id, self.principal.name, self.tenant)

    @property
    def keyed(self) -> bool:
        """Say whether the request is one to be done once, and its answer kept."""
        return "idempotency-key" in self.request.headers

    async def told(self, act: Callable[[object | None], Awaitable[Reply]]) -> Response:
        """Do what is one statement, and so a transaction by itself (None): with an Idempotency-Key as `once`.

        Beginning and ending one would be two of three round trips.
        """
        if self.keyed:
            return await self.once(act)
        return _answer(await act(None))

    async def once(
        self, act: Callable[[Connection], Awaitable[Reply]], *, of_all_tenants: bool = False
    ) -> Response:
        """Do something in one transaction, and with an Idempotency-Key once; return the answer."""
        key = _key(self.request, self.principal, "" if of_all_tenants else self.tenant)
        done = await answers.once(self.client.database, act, key)
        match done:
            case "in_progress":
                raise Refused("request_in_progress")
            case "other_request":
                raise Refused("idempotency_key_reused", field="header.Idempotency-Key")
            case "forgotten":
                raise Refused("answer_forgotten")
            case answers.Done():
                return _answer(done.reply, replayed=done.replayed)
            case _:
                assert_never(done)


@dataclass(frozen=True, slots=True)
class Looker:
    """Somebody who may look on one inbox."""

    inbox: Inbox
    tenant: str
    recipient: str
    with_data: bool
    bearer: Principal | InboxBearer
    secret: str


def service_of(request: Request) -> Service:
    """Return what the routes work with."""
    service: Service = request.app.state.service
    return service


def asker(scope: Scope, *others: Scope, of: Literal["one", "all", "none"] = "one") -> _Dependency[Asker]:
    """Return the dependency of a route that needs one of these scopes.

    Args:
        scope, others: one of them is enough.
        of: what is asked is of one tenant; of all of them, so that only a token of all will do; or of none.
    """

    async def of_one(request: Request, tenant_id: TenantId = None) -> Asker:
        principal = _principal(request)
        _may(principal, (scope, *others))
        return _of_tenant(request, principal, tenant_id)

    async def of_no_one(request: Request) -> Asker:
        principal = _principal(request)
        _may(principal, (scope, *others))
        if of == "all" and principal.tenant is not None:
            raise Refused("needs_all_tenants")
        return Asker(principal, "", service_of(request).client, request)

    of_one.__doc__ = of_no_one.__doc__ = " ".join((scope, *others))
    return of_one if of == "one" else of_no_one


def looker(scope: Scope) -> _Dependency[Looker]:
    """Return the dependency of an inbox's route: an inbox token, or an API token with this scope."""

    async def admitted(
        request: Request, tenant_id: TenantId = None, recipient_id: RecipientId = None
    ) -> Looker:
        bearer, secret, client = (
            asked_of(request).bearer,
            asked_of(request).secret,
            service_of(request).client,
        )
        if isinstance(bearer, InboxBearer):
            if tenant_id not in (None, bearer.tenant):
                raise Refused("wrong_tenant")
            if recipient_id not in (None, bearer.recipient):
                raise Refused("wrong_recipient")
            tenant, recipient, with_data = bearer.tenant, bearer.recipient, bearer.with_data
        else:
            principal = _principal(request)
            _may(principal, (scope,))
            tenant = _of_tenant(request, principal, tenant_id).tenant
            if recipient_id is None:
                raise _missing("recipient_id", "an API token names whose inbox")
            recipient, with_data, bearer = recipient_id, True, principal
        return Looker(client.inbox(recipient, tenant=tenant), tenant, recipient, with_data, bearer, secret)

    admitted.__doc__ = scope
    return admitted


Producer: TypeAlias = Annotated[Asker, Depends(asker("produce"))]
Reader: TypeAlias = Annotated[Asker, Depends(asker("read"))]
ReaderOfNone: TypeAlias = Annotated[Asker, Depends(asker("read", of="none"))]
OperatorOf: TypeAlias = Annotated[Asker, Depends(asker("operate"))]
OperatorOfAll: TypeAlias = Annotated[Asker, Depends(asker("operate", of="all"))]
Canceller: TypeAlias = Annotated[Asker, Depends(asker("produce", "operate"))]


def written(kind: TypeAdapter[_T], value: _T) -> Response:
    """Return a value as the answer to a question."""
    return Response(kind.dump_json(value), media_type="application/json")


def reply(
    kind: TypeAdapter[_T], value: _T, status: Literal[200, 201] = 200, about: Sequence[str] = ()
) -> Reply:
    """Return a value as the answer to what was done."""
    return Reply(status, kind.dump_json(value).decode(), tuple(about))


def _answer(said: Reply, *, replayed: bool = False) -> Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return Response(said.text, said.status, headers, "application/json")


def _missing(name: str, why: str) -> InvalidInput:
    return InvalidInput(f"{name} is missing: {why}", field=f"query.{name}")


def _principal(request: Request) -> Principal:
    bearer = asked_of(request).bearer
    if not isinstance(bearer, Principal):
        raise Refused("unauthorized", "an inbox token opens an inbox alone")
    return bearer


def _may(principal: Principal, scopes: Sequence[Scope]) -> None:
    if not any(principal.may(scope) for scope in scopes):
        needed = " or ".join(scopes)
        raise Refused("missing_scope", f"this token lacks the scope {needed}", scope=needed)


def _of_tenant(request: Request, principal: Principal, named: str | None) -> Asker:
    tenant = named if named is not None else principal.tenant
    if tenant is None:
        raise _missing("tenant_id", "this token opens all tenants: name one")
    if not principal.opens(tenant):
        raise Refused("wrong_tenant")
    return Asker(principal, tenant, service_of(request).client.for_tenant(tenant), request)


def _key(request: Request, principal: Principal, tenant: str) -> Key | None:
    """Return under which key a request was sent: bare, or as a quoted string, as the IETF's draft has it."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    text = given[0][1:-1] if len(given[0]) > 2 and given[0][0] == given[0][-1] == '"' else given[0]
    if len(given) > 1 or not _KEY.fullmatch(text):
        told = f"Idempotency-Key: give it once, with 1 to {MAX_REQUEST_KEY_CHARS} visible characters of ASCII"
        raise Refused("bad_header", told, field="header.Idempotency-Key")
    # The path as it is: `url` is put together with what `Host` says, and writes `?` and `%3F` alike.
    asked: list[Any] = [
        request.method, request.scope["path"], sorted(request.query_params.multi_items()),
        asked_of(request).said,
    ]  # fmt: skip
    return Key(principal.token_id, tenant, text, hashlib.sha256(canonical(asked)).digest())

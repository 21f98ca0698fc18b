"""Who asks too often is told so before anything is done; his share of streams is not all of them."""

from datetime import timedelta

import pytest

from chimeway.clock import SystemClock
from chimeway.store import tokens
from chimeway.store.pool import Database
from chimeway.web import rates
from chimeway.web.api.application import Api
from chimeway.web.api.refusals import Refused
from chimeway.web.api.streams import Streams, Taken
from chimeway.web.auth import Tokens
from chimeway.web.limits import INBOX_STREAMS
from chimeway.web.rates import Rates
from chimeway.web.server import Site, application
from kit.api import KEY, Person, secret
from kit.door import served


def test_so_many_at_once_and_then_an_even_rate() -> None:
    """A rest gives as many again as may come at once, and no more; what was refused does not count."""
    some = Rates(10, 5)
    assert [some.wait_s("a", 100.0) for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]
    assert some.wait_s("b", 100.0) == 0
    assert [some.wait_s("a", 100.11) for _ in range(2)] == [0, 1]
    assert [some.wait_s("a", 200.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    slow = Rates(1, 1)
    assert [slow.wait_s("a", 5.0), slow.wait_s("a", 5.5), slow.wait_s("a", 6.0)] == [0, 1, 0]
    assert [Rates(0, 1).wait_s("a", 5.0) for _ in range(3)] == [0, 0, 0]


def test_of_so_many_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not asked for longest begins anew; memory has a bound."""
    monkeypatch.setattr(rates, "RATES_REMEMBERED", 2)
    some = Rates(1, 1)
    assert [some.wait_s(who, 1.0) for who in "abca"] == [0, 0, 0, 0]
    assert [some.wait_s(who, 1.0) for who in "ca"] == [1, 1]


async def test_who_asks_too_often_is_told_before_anything_is_done(database: Database) -> None:
    """429 with when to come again, whatever the body; another token, another inbox is not concerned."""
    clock = SystemClock()
    api = Api(database, clock, Tokens(database, clock), [KEY], rates=Rates(1, 3))
    async with served(application(Site(api=api.routes()))) as (client, _):
        shop, other = [Person(client, await secret(database, "produce", "read")) for _ in range(2)]
        tried = [await shop.get("/v1/runs") for _ in range(4)]
        assert [one.status_code for one in tried[:3]] == [200, 200, 200]
        refused = await shop.post("/v1/trigger", {"workflow": "x", "recipients": ["ada"], "nonsense": 1})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["content-type"] == "application/problem+json"
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        mints = [await other.post("/v1/inbox-tokens", {"recipient_id": name}) for name in ("ada", "eve")]
        ada, eve = (Person(client, one.json()["token"]) for one in mints)
        assert [(await ada.get("/v1/inbox/counts")).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert (await eve.get("/v1/inbox/counts")).status_code == 200
        assert (await Person(client, None).get("/v1/openapi.json")).status_code == 200


async def test_a_token_that_opens_nothing_counts_for_nobody(database: Database) -> None:
    """It stays 401, and does not use up what a good one may."""
    clock = SystemClock()
    api = Api(database, clock, Tokens(database, clock), rates=Rates(1, 1))
    expired = (await tokens.make(database, "x", "a", ["read"], timedelta(milliseconds=1)))[1]
    async with served(application(Site(api=api.routes()))) as (client, _):
        for given in (expired, expired, "cw_" + "A" * 43, "cw_" + "A" * 43):
            assert (await Person(client, given).get("/v1/runs")).status_code == 401


def test_no_tenant_takes_all_streams() -> None:
    """Alone three quarters; who comes then finds places, and each goes back once."""
    streams, codes = Streams(), set[str]()

    def joined(tenant: str, number: int) -> Taken | None:
        try:
            return streams.join((tenant, f"user-{number}"))
        except Refused as refused:
            codes.add(refused.code)
            return None

    def fill(tenant: str) -> list[Taken]:
        taken = list[Taken]()
        while (place := joined(tenant, len(taken))) is not None:
            taken.append(place)
        return taken

    of_a, of_b = fill("a"), fill("b")
    assert len(of_a) == INBOX_STREAMS * 3 // 4
    assert len(of_b) == INBOX_STREAMS * 3 // 16
    assert codes == {"too_many_streams"}
    for one in (*of_a, *of_a, *of_b):
        one.give_back()
    assert len(fill("c")) == len(of_a)

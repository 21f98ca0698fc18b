"""Amazon's part that asks the network: certificates, kept, and the confirming of subscriptions."""

import asyncio
import re
from datetime import datetime
from typing import Final

from chimeway.clock import Clock
from chimeway.feedback import AmazonSes, FeedbackEvent, Subscription
from chimeway.log import Events
from chimeway.web.fetching import Fetch, Unfetched

_log = Events()
_KEPT: Final = 16
_AT_ONCE: Final = 2
_AGAIN_S: Final = 30.0
_WHOLE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


class Certificates:
    """Certificates by their URLs, each fetched once; one that could not be had is left alone for a while.

    Whoever knows a topic's name can make us ask Amazon's host for files that are not there, before any
    signature is looked at: so only two are asked for at a time.
    """

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        """Take what fetches; nothing is fetched yet."""
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, bytes] = {}
        self._failed: dict[str, float] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def get(self, url: str) -> bytes:
        """Return what lies at the URL, which is Amazon's, or raise Unfetched."""
        if url not in self._kept:
            async with self._places:
                if url not in self._kept:  # another may have fetched it meanwhile
                    await self._keep(url)
        return self._kept[url]

    async def _keep(self, url: str) -> None:
        now = self._clock.monotonic()
        if now - self._failed.get(url, -_AGAIN_S) < _AGAIN_S:
            raise Unfetched("the signing certificate could not be had a moment ago")
        try:
            found = await self._fetch(url)
            if not _WHOLE.search(found):
                raise Unfetched("what lies there is no whole certificate")
        except Unfetched:
            self._failed[url] = now
            _forget_oldest(self._failed)
            raise
        self._kept[url] = found
        _forget_oldest(self._kept)


def _forget_oldest(kept: dict[str, bytes] | dict[str, float]) -> None:
    while len(kept) > _KEPT:
        kept.pop(next(iter(kept)))


async def read_amazon(
    source: AmazonSes, body: bytes, now: datetime, certificates: Certificates, fetch: Fetch
) -> tuple[FeedbackEvent, ...]:
    """Return what a request tells; a subscription of one of the topics is confirmed, and tells nothing.

    Raises:
        FeedbackRefused, InvalidInput: as `AmazonSes.read`.
        Unfetched: Amazon cannot be asked now.
    """
    certificate = await certificates.get(source.certificate_url(body))
    told = source.read(body, certificate, now)
    if isinstance(told, Subscription):
        await fetch(told.url)
        _log.info("feedback.subscribed", topic=told.topic)
        return ()
    return told

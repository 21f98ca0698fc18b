"""`POST /v1/feedback/{source}`: what a provider tells is checked, read, recorded, and answered.

The answer's status is written for the provider, who sends again what is not answered with 200:

| | status |
|---|---|
| recorded, told before, or of no delivery of ours, and never will be | 200, an answer for each event |
| nothing in it is about deliveries | 200, no events |
| not signed, or not by whom it should be | 401 |
| not what this source sends | 400; 413 when it is too long, 408 when it takes too long to come |
| no source of this name | 404 |
| somebody has the run locked, the database or Amazon cannot be reached | 503, again soon |
| a delivery known by the provider's name alone, and not yet, while the event is young | 503, again soon |
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from chimeway.client.feedback import FeedbackReceipt, record_many
from chimeway.clock import Clock, jittered
from chimeway.errors import DatabaseUnavailable, FeedbackRefused, InvalidInput, SchemaMismatch
from chimeway.feedback import AmazonSes, FeedbackEvent
from chimeway.limits import MAX_FEEDBACK_BYTES, MAX_FEEDBACK_EVENTS
from chimeway.log import Events
from chimeway.store import callers
from chimeway.store.faults import passes
from chimeway.store.pool import Database
from chimeway.web.amazon import Certificates, read_amazon
from chimeway.web.bodies import BODY_S, body_of
from chimeway.web.fetching import Fetch, Unfetched, fetching
from chimeway.web.limits import FEEDBACK_YOUNG_S
from chimeway.web.problems import problem
from chimeway.web.sources import Source

_log = Events()
_RECORDING: Final = 4
"""Requests whose events are written at once: of the node's connections most stay its engine's."""
_BUSY_TRIES: Final = 5
_BUSY_S: Final = 0.1
_AGAIN_S: Final = 15


class FeedbackDoor:
    """Answers for all sources that are set up."""

    def __init__(
        self, database: Database, clock: Clock, sources: Mapping[str, Source], fetch: Fetch | None = None
    ) -> None:
        """Take where things are recorded, and who may tell; `fetch` asks Amazon."""
        self._database = database
        self._clock = clock
        self._sources = sources
        self._fetch = fetch or fetching()
        self._certificates = Certificates(self._fetch, clock)
        self._recording = asyncio.Semaphore(_RECORDING)

    def routes(self) -> list[BaseRoute]:
        """Return where it answers."""
        return [Route("/v1/feedback/{source}", self.told, methods=["POST"])]

    async def told(self, request: Request) -> Response:
        """Answer one request."""
        source = self._sources.get(request.path_params["source"])
        if source is None:
            return problem(404, "not_found", "no source of this name is set up")
        try:
            return await self._answered(source, request)
        except FeedbackRefused as error:
            _log.warning("feedback.refused", source=source.name, reason=error.message)
            return problem(401, error.code, error.message)
        except InvalidInput as error:
            _log.warning("feedback.refused", source=source.name, reason=error.message)
            return problem(400, error.code, error.message)
        except (DatabaseUnavailable, SchemaMismatch, Unfetched) as error:
            return self._not_now(source, str(error))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:  # noqa: BLE001  (the boundary: what is told must not end the node)
            if passes(error):
                return self._not_now(source, type(error).__name__)
            _log.error("feedback.failed", source=source.name, error=repr(error))
            return problem(500, "internal_error", "this is our fault: the log says more")

    async def _answered(self, source: Source, request: Request) -> Response:
        body = await _body(request)
        if isinstance(body, Response):
            return body
        events = await self._read(source, request.headers, body)
        if len(events) > MAX_FEEDBACK_EVENTS:
            raise InvalidInput(f"there are more than {MAX_FEEDBACK_EVENTS} events", field="events")
        receipts = await self._record(source, events)
        _log.info("feedback.told", source=source.name, **Counter[str](one.answer for one in receipts))
        if any(each.answer == "busy" for each in receipts):
            return self._not_now(source, "somebody else has a run locked")
        if any(self._too_early(*pair) for pair in zip(events, receipts, strict=True)):
            return self._not_now(source, "the provider's name for a delivery is not known yet")
        answers = [{"id": each.event_id, "answer": each.answer} for each in receipts]
        return JSONResponse({"events": answers})

    async def _read(
        self, source: Source, headers: Mapping[str, str], body: bytes
    ) -> tuple[FeedbackEvent, ...]:
        now = self._clock.now()
        if isinstance(source.reader, AmazonSes):
            return await read_amazon(source.reader, body, now, self._certificates, self._fetch)
        return source.reader.read(headers, body, now)

    async def _record(self, source: Source, events: Sequence[FeedbackEvent]) -> tuple[FeedbackReceipt, ...]:
        """Record events; the few runs that others have locked are asked for again, for a moment."""
        call = record_many(source.tenant, source.name, events, patient=False)
        tries = 0
        while True:
            async with self._recording:
                receipts = await callers.run(self._database, call)
            tries += 1
            if tries > _BUSY_TRIES or all(each.answer != "busy" for each in receipts):
                return receipts
            await asyncio.sleep(jittered(_BUSY_S))

    def _too_early(self, event: FeedbackEvent, receipt: FeedbackReceipt) -> bool:
        """Say whether the attempt that knows the provider's name may yet be recorded."""
        if receipt.answer != "unknown" or event.delivery_id is not None or event.at is None:
            return False
        return abs(self._clock.now() - event.at) < timedelta(seconds=FEEDBACK_YOUNG_S)

    def _not_now(self, source: Source, why: str) -> Response:
        _log.warning("feedback.put_off", source=source.name, reason=why)
        return problem(503, "try_again", "not now: send it again", retry_after_s=_AGAIN_S)


async def _body(request: Request) -> bytes | Response:
    """Return the whole body, or the answer to one that is too long or too slow."""
    match await body_of(request, MAX_FEEDBACK_BYTES):
        case 413:
            return problem(413, "too_large", f"at most {MAX_FEEDBACK_BYTES} bytes")
        case 408:
            return problem(408, "too_slow", f"the body did not come within {BODY_S:g} seconds")
        case body:
            return body

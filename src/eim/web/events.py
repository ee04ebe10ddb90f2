"""/v1/events: what happened, as CloudEvents: in pages, or as a stream of server-sent events."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from eim import api, api_events
from eim.domain.event import is_type, kinds_of
from eim.domain.ids import bucket_of, read_eid
from eim.errors import EimError, InvalidRequest
from eim.services.streams import Batch, EventReader
from eim.services.tokens import Caller, Scope, Tokens
from eim.store.events import Wanted
from eim.web.auth import authenticate, require
from eim.web.endpoints import Call, Endpoint, Route, endpoint, query_of

_STREAM: Final = "text/event-stream"
_HEARTBEAT_S: Final = 15.0
_A_DAY: Final = timedelta(hours=24)
_LAST_ID: Final = "last-event-id"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


class EventDesk:
    def __init__(self, reader: EventReader, tokens: Tokens) -> None:
        self._reader = reader
        self._tokens = tokens

    def endpoints(self) -> list[Endpoint]:
        page = Route("GET", "/v1/events", Scope.EVENTS_READ, "readEvents", "What happened, as CloudEvents.")
        found = endpoint(page, api.Nothing, api_events.EventQuery, api_events.CloudEventPage, self.page)
        return [msgspec.structs.replace(found, stream=self.stream)]

    async def page(self, call: Call[api.Nothing, api_events.EventQuery]) -> api_events.CloudEventPage:
        query = call.query
        since = query.since or datetime.now(UTC) - _A_DAY
        place = int(query.cursor) if query.cursor else await self._reader.place_at(call.caller, since)
        batch = await self._reader.page(call.caller, _wanted(query), place, query.limit)
        items = tuple(event for _, event in batch.events)
        return api_events.CloudEventPage(items, None if batch.whole else str(batch.place), str(batch.place))

    async def stream(self, request: Request, caller: Caller) -> Response | None:
        """The stream, when that is what the request accepts; from `Last-Event-ID`, `cursor` or `since` on, or now."""
        if _STREAM not in request.headers.get("accept", ""):
            return None
        query = query_of(request, api_events.EventQuery)
        wanted, place = _wanted(query), _place(request, query)
        if place is None:
            place = await self._reader.place_at(caller, query.since)
        with self._reader.stream():
            pass  # refused now, with a status, rather than in the middle of an answer
        return StreamingResponse(self._lines(request, caller, wanted, place), 200, _HEADERS, media_type=_STREAM)

    async def _lines(self, request: Request, caller: Caller, wanted: Wanted, place: int) -> AsyncIterator[bytes]:
        """Ends when the token ends, or the database goes away: who follows connects again with the last id."""
        said = time.monotonic()
        try:
            with self._reader.stream():
                yield f"retry: 2000\nid: {place}\n\n".encode()
                async for batch in self._reader.follow(caller, wanted, place):
                    if batch.events:
                        yield _frames(batch)
                    elif time.monotonic() - said < _HEARTBEAT_S:
                        continue
                    else:
                        require(await authenticate(request, self._tokens), Scope.EVENTS_READ)
                        yield f": still here\nid: {batch.place}\n\n".encode()
                    said = time.monotonic()
        except EimError as error:
            yield f": {error.code}\n\n".encode()


def _frames(batch: Batch) -> bytes:
    return b"".join(
        f"id: {turn}\nevent: {event.type}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"
        for turn, event in batch.events
    )


def _place(request: Request, query: api_events.EventQuery) -> int | None:
    said = request.headers.get(_LAST_ID, query.cursor)
    if not said:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < 19):
        raise InvalidRequest("Last-Event-ID is the id of an event in a stream: send the last one that came, or none")
    return int(said)


def _wanted(query: api_events.EventQuery) -> Wanted:
    patterns = tuple(query.type.split(",")) if query.type else ()
    if wrong := [each for each in patterns if not is_type(each)]:
        raise InvalidRequest(f"{wrong[0]!r} is no type of event: docs/events.md lists them, eim.operation.* works")
    eid = read_eid(query.eid) if query.eid is not None else None
    return Wanted(kinds_of(patterns), (bucket_of(eid), eid) if eid is not None else None, query.tag)

"""/v1/euiccs/{eid}: its trace and its timeline."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from eim import api, api_seeing
from eim.api_seeing import TimelineEntry, TimelinePage, TraceMessage, TraceOrder, TracePage, TraceView, Visits
from eim.domain.ids import format_eid, read_eid
from eim.services.timelines import Timelines, Told
from eim.services.tokens import Scope
from eim.services.traces import Traces
from eim.store.euiccs import Seen
from eim.store.timelines import Entry
from eim.store.traces import Switch, Traced
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.pages import FIRST, LAST, Listing, Place, read, split, write

_UUID_SIZE: Final = 16


class SeeingDesk:
    def __init__(self, traces: Traces, timelines: Timelines) -> None:
        self._traces = traces
        self._timelines = timelines

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.EUICCS_READ, Scope.EUICCS_WRITE
        line = Route("GET", "/v1/euiccs/{eid}/timeline", reads, "getTimeline", "All that happened to it, newest first.")
        switch = Route("POST", "/v1/euiccs/{eid}:trace", writes, "traceEuicc", "Keep the octets it sends and gets.")
        kept = Route("GET", "/v1/euiccs/{eid}/trace", reads, "getTrace", "The octets that were kept, oldest first.")
        clear = Route(
            "DELETE", "/v1/euiccs/{eid}/trace", writes, "clearTrace", "Trace it no more; forget what was kept."
        )
        return [
            endpoint(line, api.Nothing, api.PageQuery, TimelinePage, self.timeline),
            endpoint(switch, TraceOrder, api.Nothing, TraceView, self.switch),
            endpoint(kept, api.Nothing, api.PageQuery, TracePage, self.trace),
            endpoint(clear, api.Nothing, api.Nothing, TraceView, self.clear),
        ]

    async def timeline(self, call: Call[api.Nothing, api.PageQuery]) -> TimelinePage:
        eid, query = read_eid(call.path["eid"]), call.query
        listing = Listing(call.caller.tenant, "timeline", (format_eid(eid),))
        place = read(listing, query.cursor, Place(LAST, bytes(1 + _UUID_SIZE)), 1 + _UUID_SIZE)
        before = (place.at, place.key[0], UUID(bytes=place.key[1:]))
        seen, rows = await self._timelines.page(call.caller, eid, before, query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, _place(last.entry)) if last else None
        return TimelinePage(_visits(seen), tuple(map(_entry, shown)), goes_on)

    async def switch(self, call: Call[TraceOrder, api.Nothing]) -> TraceView:
        lasts = timedelta(minutes=call.body.minutes)
        return _view(await self._traces.switch(call.caller, read_eid(call.path["eid"]), lasts, call.body.exchanges))

    async def trace(self, call: Call[api.Nothing, api.PageQuery]) -> TracePage:
        eid, query = read_eid(call.path["eid"]), call.query
        listing = Listing(call.caller.tenant, "trace", (format_eid(eid),))
        place = read(listing, query.cursor, Place(FIRST, bytes(_UUID_SIZE)), _UUID_SIZE)
        after = (place.at, UUID(bytes=place.key))
        found, rows = await self._traces.page(call.caller, eid, after, query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.at, last.id.bytes)) if last else None
        return TracePage(_view(found), tuple(map(_message, shown)), goes_on)

    async def clear(self, call: Call[api.Nothing, api.Nothing]) -> TraceView:
        return _view(await self._traces.clear(call.caller, read_eid(call.path["eid"])))


def _view(found: Switch) -> TraceView:
    return TraceView(found.until, found.left)


def _message(found: Traced) -> TraceMessage:
    return TraceMessage(found.id, found.at, found.direction, found.peer, found.size, found.octets.hex().upper())


def _place(entry: Entry) -> Place:
    return Place(entry.at, bytes((entry.rank,)) + entry.id.bytes)


def _visits(seen: Seen) -> Visits:
    head = seen.head
    return Visits(seen.listed.last_seen_at, head.handed_at if head else None, head.deliveries if head else 0)


def _entry(told: Told) -> TimelineEntry:
    entry, meaning = told.entry, told.meaning
    return api_seeing.TimelineEntry(
        id=entry.id,
        at=entry.at,
        source=entry.source,
        what=entry.what,
        data={name: value for name, value in entry.data.items() if value is not None},
        meaning=meaning.means if meaning else None,
        next_step=meaning.next_step if meaning else None,
        owner=meaning.owner if meaning else None,
    )

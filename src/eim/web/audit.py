"""/v1/audit: who did what."""

from typing import Final
from uuid import UUID

from eim import api, api_access
from eim.services.auditing import AuditReader
from eim.services.tokens import Scope
from eim.store.audit import Filter
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.pages import LAST, Listing, Place, filters_of, read, split, write

_UUID_SIZE: Final = 16


class AuditDesk:
    def __init__(self, audit: AuditReader) -> None:
        self._audit = audit

    def endpoints(self) -> list[Endpoint]:
        page = Route("GET", "/v1/audit", Scope.AUDIT_READ, "searchAudit", "Who did what, newest first.")
        return [endpoint(page, api.Nothing, api_access.AuditQuery, api_access.AuditPage, self.page)]

    async def page(self, call: Call[api.Nothing, api_access.AuditQuery]) -> api_access.AuditPage:
        query = call.query
        wanted = Filter(query.actor, query.action, query.subject, query.since, query.until)
        listing = Listing(call.caller.tenant, "audit", filters_of(query))
        place = read(listing, query.cursor, Place(LAST, bytes(_UUID_SIZE)), _UUID_SIZE)
        rows = await self._audit.search(call.caller, wanted, (place.at, UUID(bytes=place.key)), query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.at, last.id.bytes)) if last else None
        items = tuple(api_access.AuditEntry(e.id, e.at, e.actor, e.action, e.subject, e.data) for e in shown)
        return api_access.AuditPage(items, goes_on)

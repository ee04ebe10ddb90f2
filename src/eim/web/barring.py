"""/v1/barred and /v1/denials: to which eUICCs nothing goes out, and why; bar one, let one go, keep deny-lists."""

from typing import Final
from uuid import UUID

from eim import api, api_barring
from eim.api_barring import BarReason, DenialView
from eim.domain import denial
from eim.domain.ids import Eid, format_eid, read_eid
from eim.errors import InvalidRequest
from eim.services.denials import Denials, Wanted
from eim.services.releasing import BarDesk
from eim.services.tokens import Scope
from eim.store.denials import Denial
from eim.web import views
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.operations import uuid_in
from eim.web.pages import FIRST, Listing, Place, read, split, write

_EID_SIZE: Final = 16
_UUID_SIZE: Final = 16
_FINGERPRINT: Final = 32


class BarringDesk:
    def __init__(self, bars: BarDesk, denials: Denials) -> None:
        self._bars = bars
        self._denials = denials

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.EUICCS_READ, Scope.EUICCS_WRITE
        barred = Route("GET", "/v1/barred", reads, "listBarred", "eUICCs to which nothing goes out, oldest first.")
        stop = Route("POST", "/v1/euiccs/{eid}:quarantine", writes, "quarantineEuicc", "Let nothing go out to it.")
        free = Route("POST", "/v1/euiccs/{eid}:release", writes, "releaseEuicc", "End its quarantine or orphanage.")
        add = Route(
            "POST",
            "/v1/denials",
            writes,
            "addDenial",
            "Deny a card, a maker or a certificate.",
            201,
            "/v1/denials/{0.id}",
        )
        page = Route("GET", "/v1/denials", reads, "listDenials", "The denials that stand, oldest first.")
        one = Route("GET", "/v1/denials/{id}", reads, "getDenial", "One denial.")
        lift = Route("DELETE", "/v1/denials/{id}", writes, "liftDenial", "Take a denial back.")
        return [
            endpoint(barred, api.Nothing, api_barring.BarredQuery, api_barring.BarredPage, self.barred),
            endpoint(stop, BarReason, api.Nothing, api_barring.BarredEuicc, self.quarantine),
            endpoint(free, BarReason, api.Nothing, api_barring.BarredEuicc, self.release),
            endpoint(add, api_barring.NewDenial, api.Nothing, DenialView, self.add),
            endpoint(page, api.Nothing, api_barring.DenialQuery, api_barring.DenialPage, self.page),
            endpoint(one, api.Nothing, api.Nothing, DenialView, self.read),
            endpoint(lift, api.Nothing, api_barring.LiftQuery, DenialView, self.lift),
        ]

    async def barred(self, call: Call[api.Nothing, api_barring.BarredQuery]) -> api_barring.BarredPage:
        query = call.query
        listing = Listing(call.caller.tenant, "barred", ())
        place = read(listing, query.cursor, Place(FIRST, bytes(_EID_SIZE)), _EID_SIZE)
        rows = await self._bars.page(call.caller, (place.at, Eid(place.key)), query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.created_at, last.eid)) if last else None
        items = tuple(api_barring.BarredEuicc(format_eid(each.eid), views.bar(each.bar)) for each in shown)
        return api_barring.BarredPage(items, goes_on)

    async def quarantine(self, call: Call[BarReason, api.Nothing]) -> api_barring.BarredEuicc:
        eid = read_eid(call.path["eid"])
        found = await self._bars.quarantine(call.caller, eid, call.body.reason)
        return api_barring.BarredEuicc(format_eid(eid), views.bar(found))

    async def release(self, call: Call[BarReason, api.Nothing]) -> api_barring.BarredEuicc:
        eid = read_eid(call.path["eid"])
        found = await self._bars.release(call.caller, eid, call.body.reason)
        return api_barring.BarredEuicc(format_eid(eid), views.bar(found))

    async def add(self, call: Call[api_barring.NewDenial, api.Nothing]) -> DenialView:
        return _view(await self._denials.add(call.caller, _wanted(call.body)))

    async def page(self, call: Call[api.Nothing, api_barring.DenialQuery]) -> api_barring.DenialPage:
        query = call.query
        listing = Listing(call.caller.tenant, "denials", (str(query.ended),))
        place = read(listing, query.cursor, Place(FIRST, bytes(_UUID_SIZE)), _UUID_SIZE)
        after = (place.at, UUID(bytes=place.key))
        rows = await self._denials.page(call.caller, after, query.limit + 1, ended=query.ended)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.created_at, last.id.bytes)) if last else None
        return api_barring.DenialPage(tuple(map(_view, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> DenialView:
        return _view(await self._denials.read(call.caller, uuid_in(call.path)))

    async def lift(self, call: Call[api.Nothing, api_barring.LiftQuery]) -> DenialView:
        return _view(await self._denials.lift(call.caller, uuid_in(call.path), call.query.reason))


def _wanted(body: api_barring.NewDenial) -> Wanted:
    named = [body.eid, body.ein, body.eum_key_id, body.fingerprint, body.serial]
    if sum(each is not None for each in named) != 1 or (body.serial is None) != (body.issuer_key_id is None):
        raise InvalidRequest(
            "a denial names exactly one: 'eid', 'ein', 'eum_key_id', 'fingerprint', or 'serial' with 'issuer_key_id'"
        )
    eid = read_eid(body.eid) if body.eid is not None else None
    return Wanted(_mark(body, eid), body.reason, body.expires_at, eid)


def _mark(body: api_barring.NewDenial, eid: Eid | None) -> str:
    if eid is not None:
        return denial.one(eid)
    if body.ein is not None:
        return denial.ein(body.ein)
    if body.eum_key_id is not None:
        return denial.eum(_octets("eum_key_id", body.eum_key_id))
    if body.fingerprint is not None:
        octets = _octets("fingerprint", body.fingerprint)
        if len(octets) != _FINGERPRINT:
            raise InvalidRequest("'fingerprint' is the SHA-256 of a certificate's DER: 64 hex digits")
        return denial.certificate(octets)
    number = (body.serial or "0").replace(":", "")
    return denial.serial(int(number or "0", 16), _octets("issuer_key_id", body.issuer_key_id or ""))


def _octets(name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raise InvalidRequest(f"'{name}' is in hex, two digits an octet") from None


def _view(found: Denial) -> DenialView:
    return DenialView(
        id=found.id,
        mark=found.mark,
        reason=found.reason,
        by=found.created_by,
        created_at=found.created_at,
        expires_at=found.expires_at,
        lifted_at=found.lifted_at,
        lifted_by=found.lifted_by,
        lifted_why=found.lifted_why,
    )

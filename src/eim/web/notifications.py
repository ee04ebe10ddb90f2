"""/v1/notifications and /v1/smdps: what cards signed for SM-DP+, how far it is, and which SM-DP+ may be called."""

from typing import Final, TypeVar
from uuid import UUID

from msgspec import UnsetType

from eim import api, api_notifications
from eim.domain.ids import bucket_of, format_eid, format_iccid, parse_iccid, read_eid
from eim.domain.notification import EXPLAINED, State
from eim.domain.smdp import Binding, RootsOf, canonical
from eim.services.outstanding import Outstanding
from eim.services.smdps import Allowed, Smdps
from eim.services.tokens import Scope
from eim.store.notifications import Filter, Notification
from eim.store.smdps import Entry, Settings
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.operations import uuid_in
from eim.web.pages import FIRST, Listing, Place, filters_of, read, split, write

_UUID_SIZE: Final = 16
_NO_VERSION: Final = -1

T = TypeVar("T")


class NotificationDesk:
    def __init__(self, outstanding: Outstanding) -> None:
        self._outstanding = outstanding

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.OPERATIONS_READ, Scope.OPERATIONS_WRITE
        one = "/v1/notifications/{id}"
        page = Route("GET", "/v1/notifications", reads, "listNotifications", "What cards signed for SM-DP+.")
        get = Route("GET", one, reads, "getNotification", "One notification, and how far it is.")
        retry = Route("POST", f"{one}:retry", writes, "retryNotification", "Try it now, or look again at it.", 202)
        end = Route("POST", f"{one}:give-up", writes, "giveUpNotification", "It goes nowhere any more.")
        nothing, query, view = api.Nothing, api_notifications.NotificationQuery, api_notifications.NotificationView
        return [
            endpoint(page, nothing, query, api_notifications.NotificationPage, self.page),
            endpoint(get, nothing, nothing, view, self.read),
            endpoint(retry, nothing, nothing, view, self.retry),
            endpoint(end, api_notifications.GivingUp, nothing, view, self.give_up),
        ]

    async def page(
        self, call: Call[api.Nothing, api_notifications.NotificationQuery]
    ) -> api_notifications.NotificationPage:
        listing = Listing(call.caller.tenant, "notifications", filters_of(call.query))
        place = read(listing, call.query.cursor, Place(FIRST, bytes(_UUID_SIZE)), _UUID_SIZE)
        after = (place.at, UUID(bytes=place.key))
        rows = await self._outstanding.page(call.caller, _filter(call.query), after, call.query.limit + 1)
        shown, last = split(rows, call.query.limit)
        goes_on = write(listing, Place(last.received_at, last.id.bytes)) if last else None
        return api_notifications.NotificationPage(tuple(map(_notification, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api_notifications.NotificationView:
        return _notification(await self._outstanding.read(call.caller, uuid_in(call.path)))

    async def retry(self, call: Call[api.Nothing, api.Nothing]) -> api_notifications.NotificationView:
        return _notification(await self._outstanding.retry(call.caller, uuid_in(call.path)))

    async def give_up(self, call: Call[api_notifications.GivingUp, api.Nothing]) -> api_notifications.NotificationView:
        return _notification(await self._outstanding.give_up(call.caller, uuid_in(call.path), call.body.reason))


class SmdpDesk:
    def __init__(self, smdps: Smdps) -> None:
        self._smdps = smdps

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.OPERATIONS_READ, Scope.ADMIN
        one = "/v1/smdps/{address}"
        add = Route(
            "POST", "/v1/smdps", writes, "addSmdp", "Allow calls to one more SM-DP+.", 201, "/v1/smdps/{0.address}"
        )
        page = Route("GET", "/v1/smdps", reads, "listSmdps", "The SM-DP+ that may be called, oldest first.")
        get = Route("GET", one, reads, "getSmdp", "One SM-DP+, and how calls to it go.")
        change = Route("PATCH", one, writes, "changeSmdp", "Change how it is called, or switch it on or off.")
        remove = Route("DELETE", one, writes, "removeSmdp", "Call it no more.")
        nothing, view = api.Nothing, api_notifications.SmdpView
        return [
            endpoint(add, api_notifications.NewSmdp, nothing, view, self.add),
            endpoint(page, nothing, api_notifications.SmdpQuery, api_notifications.SmdpPage, self.page),
            endpoint(get, nothing, nothing, view, self.read),
            endpoint(change, api_notifications.SmdpChange, nothing, view, self.change),
            endpoint(remove, nothing, nothing, view, self.remove),
        ]

    async def add(self, call: Call[api_notifications.NewSmdp, api.Nothing]) -> api_notifications.SmdpView:
        b = call.body
        binding, roots = Binding(b.binding), RootsOf(b.roots)
        settings = Settings(b.description, binding, roots, b.networks, b.protocol, b.enabled)
        return _allowed(await self._smdps.add(call.caller, b.address, settings, call.repeat))

    async def page(self, call: Call[api.Nothing, api_notifications.SmdpQuery]) -> api_notifications.SmdpPage:
        listing = Listing(call.caller.tenant, "smdps", ())
        place = read(listing, call.query.cursor, Place(FIRST, bytes(_UUID_SIZE)), _UUID_SIZE)
        rows = await self._smdps.page(call.caller, (place.at, UUID(bytes=place.key)), call.query.limit + 1)
        shown, last = split(rows, call.query.limit)
        goes_on = write(listing, Place(last.created_at, last.id.bytes)) if last else None
        return api_notifications.SmdpPage(tuple(map(_entry, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api_notifications.SmdpView:
        return _entry(await self._smdps.read(call.caller, call.path["address"]))

    async def change(self, call: Call[api_notifications.SmdpChange, api.Nothing]) -> api_notifications.SmdpView:
        address, body = call.path["address"], call.body
        known = await self._smdps.read(call.caller, address)
        settings = Settings(
            description=_or(body.description, known.description),
            binding=Binding(_or(body.binding, known.binding.value)),
            roots=RootsOf(_or(body.roots, known.roots.value)),
            networks=_or(body.networks, known.networks),
            protocol=_or(body.protocol, known.protocol),
            enabled=_or(body.enabled, known.enabled),
        )
        was = known.version if call.match is None else _version(call.match)
        return _allowed(await self._smdps.change(call.caller, address, settings, was))

    async def remove(self, call: Call[api.Nothing, api.Nothing]) -> api_notifications.SmdpView:
        was = None if call.match is None else _version(call.match)
        return _entry(await self._smdps.remove(call.caller, call.path["address"], was))


def _filter(query: api_notifications.NotificationQuery) -> Filter:
    eid = read_eid(query.eid) if query.eid is not None else None
    return Filter(
        states=(State(query.state),) if query.state is not None else (),
        at=(bucket_of(eid), eid) if eid is not None else None,
        iccid=parse_iccid(query.iccid) if query.iccid is not None else None,
        event=query.event,
        address=(canonical(query.address) or query.address.lower()) if query.address is not None else None,
    )


def _notification(found: Notification) -> api_notifications.NotificationView:
    explained = EXPLAINED[found.reason] if found.reason is not None else None
    return api_notifications.NotificationView(
        id=found.id,
        eid=format_eid(found.eid),
        iccid=format_iccid(found.iccid) if found.iccid else None,
        event=found.event,
        address=found.address,
        seq_number=found.seq_number,
        kind=found.kind,
        verdict=found.verdict.value if found.verdict else None,
        state=found.state.value,
        received_at=found.received_at,
        attempts=found.attempts,
        tried_at=found.tried_at,
        due_at=found.due_at,
        failure=found.failure,
        reason=found.reason.value if found.reason else None,
        means=explained.means if explained else None,
        owner=explained.owner if explained else None,
        next_step=explained.next_step if explained else None,
        delayed_at=found.delayed_at,
        settled_at=found.settled_at,
        settled_by=found.settled_by,
        octets=found.octets.hex(),
    )


def _allowed(allowed: Allowed) -> api_notifications.SmdpView:
    return _entry(allowed.entry, allowed.released)


def _entry(found: Entry, released: int = 0) -> api_notifications.SmdpView:
    return api_notifications.SmdpView(
        etag=str(found.version),
        address=found.address,
        description=found.description,
        binding=found.binding.value,
        roots=found.roots.value,
        networks=found.networks,
        protocol=found.protocol,
        enabled=found.enabled,
        created_at=found.created_at,
        delivered_at=found.delivered_at,
        failing_since=found.failing_since,
        failure=found.failure,
        released=released,
    )


def _or(said: T | UnsetType, known: T) -> T:
    return known if isinstance(said, UnsetType) else said


def _version(match: str) -> int:
    """The version in an ETag of ours; one that nothing has for another's."""
    return int(match) if match.isascii() and match.isdigit() and len(match) < 10 else _NO_VERSION

"""/v1/operations and /v1/orders: ask cards for something, see what becomes of it, take it back."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from eim import api
from eim.domain import opening
from eim.domain.ids import bucket_of, parse_iccid, read_eid
from eim.domain.operation import Kind, Priority, State
from eim.domain.step import kind_of
from eim.errors import InvalidRequest, NotFound
from eim.services.estate import EstateReader
from eim.services.identities import Identities
from eim.services.lines import OnError
from eim.services.operations import Operations
from eim.services.ordering import Estate, Ordering, Target
from eim.services.orders import Orders
from eim.services.tokens import Caller, Scope
from eim.store.operations import Filter
from eim.web import views
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.pages import LAST, Listing, Place, filters_of, read, split, write
from eim.web.steps import Configurations, identities_in, template

_UUID_SIZE: Final = 16
_PRIORITIES: Final = {"normal": Priority.NORMAL, "urgent": Priority.URGENT}


class OperationDesk:
    def __init__(self, operations: Operations, orders: Orders, estate: EstateReader, identities: Identities) -> None:
        self._operations = operations
        self._orders = orders
        self._estate = estate
        self._identities = identities

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.OPERATIONS_READ, Scope.OPERATIONS_WRITE
        place = Route(
            "POST",
            "/v1/operations",
            writes,
            "order",
            "Order an operation on one eUICC or many.",
            202,
            "/v1/orders/{0.order}",
        )
        look = Route(
            "POST", "/v1/operations:preview", writes, "previewOrder", "What an order would do, without doing it."
        )
        chain = Route(
            "POST", "/v1/operations:chain", writes, "orderChain", "Order operations that come one after the other.", 202
        )
        page = Route("GET", "/v1/operations", reads, "listOperations", "List operations, newest first.")
        one = Route("GET", "/v1/operations/{id}", reads, "getOperation", "One operation.")
        back = Route("POST", "/v1/operations/{id}:withdraw", writes, "withdraw", "Take an operation back.")
        resume = Route("POST", "/v1/operations/{id}:resume", writes, "resume", "Let a parked operation go on.")
        order = Route("GET", "/v1/orders/{id}", reads, "getOrder", "How the operations of an order stand.")
        stop = Route(
            "POST", "/v1/orders/{id}:stop", writes, "stopOrder", "Place nothing more of an order for very many."
        )
        recall = Route(
            "POST", "/v1/orders/{id}:withdraw", writes, "withdrawOrder", "Take back all that an order placed.", 202
        )
        sums = Route("GET", "/v1/summary", reads, "getSummary", "The sums of the estate.")
        return [
            endpoint(place, api.NewOrder, api.Nothing, api.OrderAccepted, self.place),
            endpoint(look, api.NewOrder, api.Nothing, api.OrderPreview, self.preview),
            endpoint(chain, api.NewChain, api.Nothing, api.ChainAccepted, self.place_chain),
            endpoint(page, api.Nothing, api.OperationQuery, api.OperationPage, self.page),
            endpoint(back, api.Nothing, api.Nothing, api.OperationView, self.withdraw),
            endpoint(resume, api.Nothing, api.Nothing, api.OperationView, self.resume),
            endpoint(one, api.Nothing, api.Nothing, api.OperationView, self.read),
            endpoint(stop, api.Nothing, api.Nothing, api.OrderView, self.stop),
            endpoint(recall, api.Nothing, api.Nothing, api.OrderView, self.recall),
            endpoint(order, api.Nothing, api.Nothing, api.OrderView, self.order),
            endpoint(sums, api.Nothing, api.Nothing, api.SummaryView, self.summary),
        ]

    async def place(self, call: Call[api.NewOrder, api.Nothing]) -> api.OrderAccepted:
        asked = await self._ordering(call.caller, call.body)
        return views.accepted(await self._operations.place(call.caller, asked, call.repeat))

    async def place_chain(self, call: Call[api.NewChain, api.Nothing]) -> api.ChainAccepted:
        orders = [await self._ordering(call.caller, each) for each in _orders(call.body)]
        return views.chained(await self._operations.place_chain(call.caller, orders, call.repeat))

    async def preview(self, call: Call[api.NewOrder, api.Nothing]) -> api.OrderPreview:
        return views.preview(await self._operations.preview(call.caller, await self._ordering(call.caller, call.body)))

    async def _ordering(self, caller: Caller, body: api.NewOrder) -> Ordering:
        """What a body asks for, with the configurations of the identities that it names."""
        named = identities_in(body.steps or ())
        known = {eim_id: await self._identities.configuration(caller, eim_id) for eim_id in sorted(named)}
        return _ordering(body, known)

    async def page(self, call: Call[api.Nothing, api.OperationQuery]) -> api.OperationPage:
        query = call.query
        listing = Listing(call.caller.tenant, "operations", filters_of(query))
        place = read(listing, query.cursor, Place(LAST, bytes(_UUID_SIZE)), _UUID_SIZE)
        before = (place.at, UUID(bytes=place.key))
        rows = await self._operations.page(call.caller, _filter(query), before, query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.created_at, last.id.bytes)) if last else None
        return api.OperationPage(tuple(map(views.operation, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api.OperationView:
        return views.operation(await self._operations.read(call.caller, uuid_in(call.path)))

    async def withdraw(self, call: Call[api.Nothing, api.Nothing]) -> api.OperationView:
        return views.operation(await self._operations.withdraw(call.caller, uuid_in(call.path)))

    async def resume(self, call: Call[api.Nothing, api.Nothing]) -> api.OperationView:
        return views.operation(await self._operations.resume(call.caller, uuid_in(call.path)))

    async def order(self, call: Call[api.Nothing, api.Nothing]) -> api.OrderView:
        return views.order(await self._operations.progress(call.caller, uuid_in(call.path)))

    async def stop(self, call: Call[api.Nothing, api.Nothing]) -> api.OrderView:
        return views.order(await self._orders.stop(call.caller, uuid_in(call.path)))

    async def recall(self, call: Call[api.Nothing, api.Nothing]) -> api.OrderView:
        return views.order(await self._orders.withdraw(call.caller, uuid_in(call.path)))

    async def summary(self, call: Call[api.Nothing, api.Nothing]) -> api.SummaryView:
        found = await self._estate.summary(call.caller)
        states: dict[api.StateName, int] = {state.value: many for state, many in found.operations.items()}
        euiccs = found.introduced + found.not_introduced
        return api.SummaryView(euiccs, found.introduced, found.carriers, states, found.as_of)


def uuid_in(path: Mapping[str, str]) -> UUID:
    """The id in a path. Raises NotFound: what is no id of ours names nothing."""
    try:
        return UUID(path["id"])
    except ValueError:
        raise NotFound(f"there is nothing with the id {path['id']}") from None


def _ordering(body: api.NewOrder, known: Configurations) -> Ordering:
    templates = tuple(template(each, known) for each in body.steps or ())
    if (body.operation is None) == (not templates):
        raise InvalidRequest("either 'operation' or 'steps' says what is asked of the card")
    kind = Kind(body.operation) if body.operation is not None else kind_of([each.step for each in templates])
    if templates and body.rollback is not None:
        raise InvalidRequest("with 'steps', 'rollback' is said in the step enable")
    profile = body.profile or api.ProfileChoice()
    if body.profile is not None and (profile.iccid is None) == (profile.service_provider is None):
        raise InvalidRequest("'profile' has either an 'iccid' or a 'service_provider'")
    if body.force != (body.reason is not None):
        raise InvalidRequest("'force' and 'reason' go together: say why the guards are overruled")
    return Ordering(
        kind=kind,
        targets=_targets(body),
        iccid=profile.iccid,
        service_provider=profile.service_provider,
        rollback=(kind is Kind.ENABLE and not templates) if body.rollback is None else body.rollback,
        priority=_PRIORITIES[body.priority],
        not_before=body.not_before,
        expires_at=body.expires_at,
        on_error=OnError(body.on_error),
        force_reason=body.reason,
        confirm=body.confirm,
        after=body.after,
        after_event=body.after_event,
        expires_in=body.expires_in,
        opening=opening.parse(body.window) if body.window is not None else None,
        retries=body.retries,
        steps=templates,
    )


def _orders(body: api.NewChain) -> list[api.NewOrder]:
    """Each step as an order of its own."""
    common = {
        "eids": body.eids,
        "priority": body.priority,
        "force": body.force,
        "reason": body.reason,
        "confirm": body.confirm,
    }
    return [api.NewOrder(**msgspec.structs.asdict(step), **common) for step in body.steps]  # type: ignore[arg-type]


def _targets(body: api.NewOrder) -> tuple[Target, ...] | Estate:
    said = [body.eid is not None, body.eids is not None, body.lines is not None, body.all]
    if sum(said) != 1:
        raise InvalidRequest("exactly one of 'eid', 'eids', 'lines' and 'all' says which eUICCs are meant")
    if body.tag is not None and not body.all:
        raise InvalidRequest("'tag' narrows 'all' down: give both, or name the EIDs")
    if body.eid is not None:
        return (Target(body.eid),)
    if body.eids is not None:
        return tuple(map(Target, body.eids))
    if body.lines is not None:
        return tuple(Target(line.eid, line.iccid) for line in body.lines)
    return Estate(body.tag)


def _filter(query: api.OperationQuery) -> Filter:
    eid = read_eid(query.eid) if query.eid is not None else None
    return Filter(
        State(query.state) if query.state else None,
        Kind(query.kind) if query.kind else None,
        query.order,
        (bucket_of(eid), eid) if eid is not None else None,
        parse_iccid(query.iccid) if query.iccid is not None else None,
        query.ordered_by,
        query.reason,
        query.created_after,
        query.created_before,
        query.open,
    )

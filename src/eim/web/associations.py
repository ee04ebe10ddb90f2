"""/v1/identities/{identity}/keys and what moves cards between them; /v1/euiccs/{eid}:resume for one that stalled."""

from collections.abc import Sequence

from eim import api, api_associations
from eim.domain.ids import IdentityId, format_eid, read_eid
from eim.services.moving import Associations, KeyState, Move
from eim.services.tokens import Scope
from eim.store.renewals import Which
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.tenants import small_id


class AssociationDesk:
    def __init__(self, associations: Associations) -> None:
        self._associations = associations

    def endpoints(self) -> list[Endpoint]:
        one = "/v1/identities/{identity}"
        keys = Route("GET", f"{one}/keys", Scope.EUICCS_READ, "listKeys", "Its keys, and how many eUICCs obey each.")
        move = Route("POST", f"{one}:move", Scope.ADMIN, "moveToNewestKey", "Move eUICCs to its newest key.", 202)
        load = Route("POST", f"{one}:loadKey", Scope.ADMIN, "loadKey", "Let factories load this key from now on.")
        retire = Route("POST", f"{one}:retireKeys", Scope.ADMIN, "retireKeys", "Retire the keys before this one.")
        resume = Route(
            "POST", "/v1/euiccs/{eid}:resume", Scope.EUICCS_WRITE, "resumeEuicc", "Let a stalled eUICC go on."
        )
        moves, moving = api_associations.KeyMove, api_associations.KeyMoving
        choice, listed = api_associations.KeyChoice, api_associations.KeyList
        return [
            endpoint(keys, api.Nothing, api.Nothing, listed, self.keys),
            endpoint(move, moves, api.Nothing, moving, self.move),
            endpoint(load, choice, api.Nothing, listed, self.load),
            endpoint(retire, choice, api.Nothing, listed, self.retire),
            endpoint(resume, api_associations.Resumption, api.Nothing, api_associations.Resumed, self.resume),
        ]

    async def keys(self, call: Call[api.Nothing, api.Nothing]) -> api_associations.KeyList:
        return _listed(await self._associations.keys(call.caller, _identity(call.path["identity"])))

    async def move(self, call: Call[api_associations.KeyMove, api.Nothing]) -> api_associations.KeyMoving:
        body = call.body
        eids = tuple(map(read_eid, body.eids)) if body.eids is not None else None
        move = Move(body.reason, Which(body.tag, eids), body.new_count, body.confirm, body.most)
        done = await self._associations.move(call.caller, _identity(call.path["identity"]), move, call.repeat)
        return api_associations.KeyMoving(done.order, done.key, done.ordered, done.left)

    async def load(self, call: Call[api_associations.KeyChoice, api.Nothing]) -> api_associations.KeyList:
        identity, body = _identity(call.path["identity"]), call.body
        return _listed(await self._associations.load_with(call.caller, identity, body.number, body.reason))

    async def retire(self, call: Call[api_associations.KeyChoice, api.Nothing]) -> api_associations.KeyList:
        identity, body = _identity(call.path["identity"]), call.body
        return _listed(await self._associations.retire_keys(call.caller, identity, body.number, body.reason))

    async def resume(self, call: Call[api_associations.Resumption, api.Nothing]) -> api_associations.Resumed:
        eid = read_eid(call.path["eid"])
        await self._associations.resume(call.caller, eid, call.body.reason)
        return api_associations.Resumed(format_eid(eid))


def _identity(text: str) -> IdentityId:
    return IdentityId(small_id({"identity": text}, "identity"))


def _listed(states: Sequence[KeyState]) -> api_associations.KeyList:
    return api_associations.KeyList(tuple(map(_view, states)))


def _view(state: KeyState) -> api_associations.KeyView:
    return api_associations.KeyView(
        number=state.key.number,
        curve=state.key.curve,
        public_key=state.key.public_key.hex().upper(),
        created_at=state.key.created_at,
        euiccs=state.euiccs,
        moving=state.moving,
        loaded=state.is_loaded,
        retired=state.is_retired,
    )

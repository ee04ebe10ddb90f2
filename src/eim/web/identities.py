"""/v1/identities: who the eIM is to cards, what factories load, and retiring one. They are made at set-up."""

from typing import Final

from eim import api, api_access
from eim.domain.identity import EimIdType
from eim.domain.ids import IdentityId
from eim.services.identities import Identities, Retiring, Shown
from eim.services.tokens import Scope
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.tenants import small_id

_TYPES: Final = {kind.number: kind for kind in EimIdType}


class IdentityDesk:
    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def endpoints(self) -> list[Endpoint]:
        one = "/v1/identities/{identity}"
        page = Route("GET", "/v1/identities", Scope.EUICCS_READ, "listIdentities", "Who the eIM is to cards.")
        read = Route("GET", one, Scope.EUICCS_READ, "getIdentity", "One identity, and what a factory loads.")
        retire = Route("POST", f"{one}:retire", Scope.ADMIN, "retireIdentity", "Let no new eUICC be bound to it.")
        return [
            endpoint(page, api.Nothing, api.Nothing, api_access.IdentityList, self.list),
            endpoint(retire, api_access.Retirement, api.Nothing, api_access.IdentityView, self.retire),
            endpoint(read, api.Nothing, api.Nothing, api_access.IdentityView, self.read),
        ]

    async def list(self, call: Call[api.Nothing, api.Nothing]) -> api_access.IdentityList:
        return api_access.IdentityList(tuple(map(_view, await self._identities.list(call.caller))))

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api_access.IdentityView:
        return _view(await self._identities.read(call.caller, IdentityId(small_id(call.path, "identity"))))

    async def retire(self, call: Call[api_access.Retirement, api.Nothing]) -> api_access.IdentityView:
        retiring = Retiring(call.body.reason, call.body.force)
        identity = IdentityId(small_id(call.path, "identity"))
        return _view(await self._identities.retire(call.caller, identity, retiring))


def _view(shown: Shown) -> api_access.IdentityView:
    identity, blobs = shown.identity, shown.blobs
    return api_access.IdentityView(
        id=identity.id,
        eim_id=identity.eim_id,
        eim_id_type=_TYPES[identity.eim_id_type].value,
        fqdn=identity.fqdn,
        curve=identity.curve,
        public_key=identity.public_key.hex().upper(),
        initial_counter=identity.initial_counter,
        created_at=identity.created_at,
        retired_at=identity.retired_at,
        request=blobs.request.hex().upper() if blobs.request else None,
        configuration=blobs.configuration.hex().upper() if blobs.configuration else None,
        warnings=blobs.warnings,
    )

"""/v1/profiles: on which card an ICCID lies."""

from typing import Final

from eim import api
from eim.domain.ids import parse_iccid
from eim.services.estate import EstateReader
from eim.services.tokens import Scope
from eim.web import views
from eim.web.endpoints import Call, Endpoint, Route, endpoint

_MOST: Final = 100  # cards that claim one ICCID; more than one is a curiosity


class ProfileFinder:
    def __init__(self, estate: EstateReader) -> None:
        self._estate = estate

    def endpoints(self) -> list[Endpoint]:
        find = Route("GET", "/v1/profiles", Scope.EUICCS_READ, "findProfiles", "The cards that hold an ICCID.")
        return [endpoint(find, api.Nothing, api.ProfileQuery, api.Profiles, self.find)]

    async def find(self, call: Call[api.Nothing, api.ProfileQuery]) -> api.Profiles:
        found = await self._estate.by_iccid(call.caller, parse_iccid(call.query.iccid), _MOST)
        return api.Profiles(tuple(map(views.profile, found)))

"""/v1/unknown-callers: EIDs that call us and that nobody onboarded."""

import base64
import binascii
from typing import Final

import msgspec

from eim import api, api_onboarding
from eim.domain.ids import Eid, format_eid, read_eid
from eim.errors import InvalidCursor
from eim.services.onboarding import Onboarded
from eim.services.tokens import Scope
from eim.services.unknown import Terms, UnknownCallers
from eim.store.unknown import Unknown
from eim.web import views
from eim.web.endpoints import Call, Endpoint, Route, endpoint

_FIRST: Final = (2**62, Eid(b""))  # before everyone


class UnknownDesk:
    def __init__(self, unknown: UnknownCallers) -> None:
        self._unknown = unknown

    def endpoints(self) -> list[Endpoint]:
        path, reads, writes = "/v1/unknown-callers", Scope.EUICCS_READ, Scope.EUICCS_WRITE
        page = Route("GET", path, reads, "listUnknownCallers", "EIDs that call and that nobody onboarded.")
        one = Route(
            "POST",
            f"{path}/{{eid}}:adopt",
            writes,
            "adoptUnknownCaller",
            "Onboard one that calls.",
            201,
            "/v1/euiccs/{0.eids[0]}",
        )
        many = Route("POST", f"{path}:adopt", writes, "adoptUnknownCallers", "Onboard several that call, or all.", 201)
        return [
            endpoint(page, api.Nothing, api_onboarding.UnknownQuery, api_onboarding.UnknownCallers, self.page),
            endpoint(one, api_onboarding.Adoption, api.Nothing, api.Onboarded, self.adopt),
            endpoint(many, api_onboarding.AdoptionOfMany, api.Nothing, api.Onboarded, self.adopt_many),
        ]

    async def page(self, call: Call[api.Nothing, api_onboarding.UnknownQuery]) -> api_onboarding.UnknownCallers:
        query = call.query
        found = await self._unknown.page(call.caller, _place(query.cursor), query.limit + 1)
        shown = found.callers[: query.limit]
        goes_on = _cursor(shown[-1]) if len(found.callers) > query.limit else None
        return api_onboarding.UnknownCallers(found.total, tuple(map(_view, shown)), goes_on)

    async def adopt(self, call: Call[api_onboarding.Adoption, api.Nothing]) -> api.Onboarded:
        eid = read_eid(call.path["eid"])
        return _done(await self._unknown.adopt(call.caller, [eid], _terms(call.body), call.repeat))

    async def adopt_many(self, call: Call[api_onboarding.AdoptionOfMany, api.Nothing]) -> api.Onboarded:
        body, terms = call.body, _terms(call.body)
        if body.eids is None:
            return _done(await self._unknown.adopt_all(call.caller, body.confirm, terms, call.repeat))
        eids = [read_eid(text) for text in body.eids]
        return _done(await self._unknown.adopt(call.caller, eids, terms, call.repeat))


def _terms(said: api_onboarding.Adoption) -> Terms:
    return Terms(said.label, said.tags, said.group, said.identity)


def _done(done: Onboarded) -> api.Onboarded:
    return api.Onboarded(len(done.eids), tuple(map(format_eid, done.eids)), views.bad_lines(done.problems))


def _view(of: Unknown) -> api_onboarding.UnknownCaller:
    return api_onboarding.UnknownCaller(format_eid(of.eid), of.polls, of.source, of.first_seen_at, of.last_seen_at)


def _cursor(last: Unknown) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((last.polls, last.eid))).decode()


def _place(cursor: str | None) -> tuple[int, Eid]:
    """The counts move on while one reads: an EID that calls meanwhile may come twice, none is left out."""
    if cursor is None:
        return _FIRST
    try:
        polls, eid = msgspec.msgpack.decode(base64.urlsafe_b64decode(cursor), type=tuple[int, bytes])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidCursor("this cursor is not one of this listing: start again without it") from None
    if not 0 <= polls < 2**62:
        raise InvalidCursor("this cursor is not one of this listing: start again without it")
    return polls, Eid(eid)

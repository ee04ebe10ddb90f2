"""/v1/euiccs: onboard them, list them, look at one."""

from typing import Final
from uuid import UUID

from eim import api
from eim.domain.ids import Eid, format_eid, read_eid
from eim.services.estate import EstateReader
from eim.services.lines import OnError
from eim.services.onboarding import Candidate, CheckDigits, Onboarding, Rules
from eim.services.tokens import Scope
from eim.store.euiccs import Filter
from eim.web import views
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.pages import FIRST, LAST, Listing, Place, read, split, write

_EID_SIZE: Final = 16
_UUID_SIZE: Final = 16
_CHECK_DIGITS: Final = {True: CheckDigits.IGNORED, False: CheckDigits.REQUIRED}  # by allow_invalid_check_digits


class Euiccs:
    def __init__(self, onboarding: Onboarding, estate: EstateReader) -> None:
        self._onboarding = onboarding
        self._estate = estate

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.EUICCS_READ, Scope.EUICCS_WRITE
        add = Route("POST", "/v1/euiccs", writes, "addEuicc", "Onboard one eUICC.", 201)
        add_many = Route("POST", "/v1/euiccs:batch", writes, "addEuiccs", "Onboard up to 10,000 eUICCs.", 201)
        page = Route("GET", "/v1/euiccs", reads, "listEuiccs", "List eUICCs, oldest first.")
        one = Route("GET", "/v1/euiccs/{eid}", reads, "getEuicc", "Everything known of one eUICC.")
        held = Route("GET", "/v1/euiccs/{eid}/profiles", reads, "listProfiles", "The profiles on one eUICC.")
        line = Route("GET", "/v1/euiccs/{eid}/events", reads, "listEvents", "What happened to it, newest first.")
        return [
            endpoint(add, api.NewEuiccAlone, api.Nothing, api.Onboarded, self.add),
            endpoint(add_many, api.NewEuiccs, api.Nothing, api.Onboarded, self.add_many),
            endpoint(page, api.Nothing, api.EuiccQuery, api.EuiccPage, self.page),
            endpoint(one, api.Nothing, api.Nothing, api.EuiccView, self.read),
            endpoint(held, api.Nothing, api.Nothing, api.Profiles, self.profiles),
            endpoint(line, api.Nothing, api.PageQuery, api.EventPage, self.events),
        ]

    async def add(self, call: Call[api.NewEuiccAlone, api.Nothing]) -> api.Onboarded:
        rules = Rules(_CHECK_DIGITS[call.body.allow_invalid_check_digits])
        eid = await self._onboarding.add(call.caller, _candidate(call.body), rules, call.repeat)
        return api.Onboarded(1, (format_eid(eid),), ())

    async def add_many(self, call: Call[api.NewEuiccs, api.Nothing]) -> api.Onboarded:
        rules = Rules(_CHECK_DIGITS[call.body.allow_invalid_check_digits], OnError(call.body.on_error))
        candidates = [_candidate(line) for line in call.body.euiccs]
        done = await self._onboarding.add_many(call.caller, candidates, rules, call.repeat)
        return api.Onboarded(len(done.eids), tuple(map(format_eid, done.eids)), views.bad_lines(done.problems))

    async def page(self, call: Call[api.Nothing, api.EuiccQuery]) -> api.EuiccPage:
        query = call.query
        wanted = Filter(query.tag, query.label, query.introduced, query.service_provider)
        filters = (query.tag, query.label, repr(query.introduced), query.service_provider)
        listing = Listing(call.caller.tenant, "euiccs", filters)
        place = read(listing, query.cursor, Place(FIRST, bytes(_EID_SIZE)), _EID_SIZE)
        rows = await self._estate.page(call.caller, wanted, (place.at, Eid(place.key)), query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.created_at, last.eid)) if last else None
        return api.EuiccPage(tuple(map(views.entry, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api.EuiccView:
        return views.euicc(await self._estate.read(call.caller, read_eid(call.path["eid"])))

    async def profiles(self, call: Call[api.Nothing, api.Nothing]) -> api.Profiles:
        found = await self._estate.profiles(call.caller, read_eid(call.path["eid"]))
        return api.Profiles(tuple(map(views.profile, found)))

    async def events(self, call: Call[api.Nothing, api.PageQuery]) -> api.EventPage:
        eid, query = read_eid(call.path["eid"]), call.query
        listing = Listing(call.caller.tenant, "events", (format_eid(eid),))
        place = read(listing, query.cursor, Place(LAST, bytes(_UUID_SIZE)), _UUID_SIZE)
        rows = await self._estate.timeline(call.caller, eid, (place.at, UUID(bytes=place.key)), query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.at, last.id.bytes)) if last else None
        return api.EventPage(tuple(map(views.event, shown)), goes_on)


def _candidate(line: api.NewEuicc) -> Candidate:
    return Candidate(
        eid=line.eid,
        label=line.label,
        tags=line.tags,
        identity=line.identity,
        association_token=line.association_token,
        counter=line.counter,
        euicc_certificate=line.euicc_certificate,
        eum_certificate=line.eum_certificate,
        unverifiable=line.unverifiable,
    )

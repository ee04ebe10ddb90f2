"""/v1/euiccs: onboard them, list them, look at one."""

from typing import Final
from uuid import UUID

from eim import api
from eim.domain.ids import Eid, format_eid, parse_iccid, read_eid
from eim.services.caring import Care, Edit, Guard
from eim.services.estate import EstateReader
from eim.services.lines import OnError
from eim.services.onboarding import Candidate, CheckDigits, Onboarding, Rules
from eim.services.tokens import Scope
from eim.store.euicc_pages import Filter
from eim.web import views
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.pages import FIRST, LAST, Listing, Place, filters_of, read, split, write

_EID_SIZE: Final = 16
_UUID_SIZE: Final = 16
_GUARDS: Final = {True: Guard.FORCED, False: Guard.HOLDS}  # by force
_CHECK_DIGITS: Final = {True: CheckDigits.IGNORED, False: CheckDigits.REQUIRED}  # by allow_invalid_check_digits


class Euiccs:
    def __init__(self, onboarding: Onboarding, estate: EstateReader, care: Care) -> None:
        self._onboarding = onboarding
        self._estate = estate
        self._care = care

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.EUICCS_READ, Scope.EUICCS_WRITE
        add = Route("POST", "/v1/euiccs", writes, "addEuicc", "Onboard one eUICC.", 201, "/v1/euiccs/{0.eids[0]}")
        add_many = Route("POST", "/v1/euiccs:batch", writes, "addEuiccs", "Onboard up to 10,000 eUICCs.", 201)
        page = Route("GET", "/v1/euiccs", reads, "listEuiccs", "List eUICCs, oldest first.")
        one = Route("GET", "/v1/euiccs/{eid}", reads, "getEuicc", "Everything known of one eUICC.")
        edit = Route(
            "PATCH", "/v1/euiccs/{eid}", writes, "editEuicc", "Change its label, tags, group or time zone (If-Match)."
        )
        gone = Route("DELETE", "/v1/euiccs/{eid}", writes, "offboardEuicc", "Take it out of this eIM.")
        held = Route("GET", "/v1/euiccs/{eid}/profiles", reads, "listProfiles", "The profiles on one eUICC.")
        line = Route("GET", "/v1/euiccs/{eid}/events", reads, "listEvents", "What happened to it, newest first.")
        return [
            endpoint(add, api.NewEuiccAlone, api.Nothing, api.Onboarded, self.add),
            endpoint(add_many, api.NewEuiccs, api.Nothing, api.Onboarded, self.add_many),
            endpoint(page, api.Nothing, api.EuiccQuery, api.EuiccPage, self.page),
            endpoint(one, api.Nothing, api.EuiccRead, api.EuiccView, self.read),
            endpoint(edit, api.EuiccChange, api.Nothing, api.EuiccView, self.edit),
            endpoint(gone, api.Nothing, api.OffboardQuery, api.Offboarded, self.offboard),
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
        listing = Listing(call.caller.tenant, "euiccs", filters_of(query))
        place = read(listing, query.cursor, Place(FIRST, bytes(_EID_SIZE)), _EID_SIZE)
        rows = await self._estate.page(call.caller, _filter(query), (place.at, Eid(place.key)), query.limit + 1)
        shown, last = split(rows, query.limit)
        goes_on = write(listing, Place(last.created_at, last.eid)) if last else None
        return api.EuiccPage(tuple(map(views.entry, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.EuiccRead]) -> api.EuiccView:
        return views.euicc(await self._estate.read(call.caller, read_eid(call.path["eid"])))

    async def edit(self, call: Call[api.EuiccChange, api.Nothing]) -> api.EuiccView:
        eid = read_eid(call.path["eid"])
        await self._care.edit(call.caller, eid, _edit(call.body), call.match)
        return views.euicc(await self._estate.read(call.caller, eid))

    async def offboard(self, call: Call[api.Nothing, api.OffboardQuery]) -> api.Offboarded:
        eid, query = read_eid(call.path["eid"]), call.query
        left = await self._care.offboard(call.caller, eid, query.reason, _GUARDS[query.force])
        return api.Offboarded(format_eid(eid), left.eim_id, left.counter, left.association_token)

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


def _edit(body: api.EuiccChange) -> Edit:
    return Edit(body.label, body.tags, body.group, body.time_zone, body.unverifiable, body.reason)


def _filter(query: api.EuiccQuery) -> Filter:
    return Filter(
        tag=query.tag,
        label=query.label,
        introduced=query.introduced,
        service_provider=query.service_provider,
        identity=query.identity,
        speaks=query.speaks,
        unverifiable=query.unverifiable,
        seen_after=query.seen_after,
        seen_before=query.seen_before,
        created_after=query.created_after,
        created_before=query.created_before,
        plmn=bytes.fromhex(query.plmn) if query.plmn is not None else None,
        iccid=parse_iccid(query.iccid) if query.iccid is not None else None,
        busy=query.busy,
        group=query.group,
    )


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
        initial_counter=line.initial_counter,
        group=line.group,
        time_zone=line.time_zone,
    )

"""The trace and the timeline of one device over REST."""

from datetime import UTC, datetime

import httpx2
import pytest

from eim.domain.ids import bucket_of
from eim.services.traces import Exchange, Tracer
from eim.store.connect import DbRole
from tests.database import Database
from tests.operator_side import eid_of, eid_text, onboard

EID = eid_text(1)
POLL = bytes.fromhex("BF4F125A10") + eid_of(1)
NOTHING = bytes.fromhex("BF4F03020101")


@pytest.fixture
async def known(client: httpx2.AsyncClient, database: Database) -> httpx2.AsyncClient:
    await onboard(database, [1])
    return client


async def called(database: Database, times: int) -> None:
    """The device calls so often, as the device role keeps it."""
    tracer = Tracer(database.pool(DbRole.DEVICE))
    for _ in range(times):
        now = datetime.now(UTC)
        await tracer.keep(bucket_of(eid_of(1)), eid_of(1), "192.0.2.7", Exchange(POLL, now, NOTHING, now))


async def test_a_trace_is_switched_on_read_page_by_page_and_forgotten(
    known: httpx2.AsyncClient, database: Database
) -> None:
    on = (await known.post(f"/v1/euiccs/{EID}:trace", json={"minutes": 5, "exchanges": 3})).json()
    assert on["left"] == 3
    assert 0 < (datetime.fromisoformat(on["until"]) - datetime.now(UTC)).total_seconds() <= 300
    await called(database, 2)
    octets, cursor = [], None
    while True:
        params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await known.get(f"/v1/euiccs/{EID}/trace", params=params)).json()
        octets += [(item["direction"], item["octets"]) for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert octets == [("in", POLL.hex().upper()), ("out", NOTHING.hex().upper())] * 2
    assert page["trace"]["left"] == 1
    gone = await known.delete(f"/v1/euiccs/{EID}/trace")
    assert gone.json() == {"until": None, "left": 0}
    assert (await known.get(f"/v1/euiccs/{EID}/trace")).json()["items"] == []


async def test_no_minutes_switch_it_off(known: httpx2.AsyncClient, database: Database) -> None:
    await known.post(f"/v1/euiccs/{EID}:trace", json={})
    assert (await known.post(f"/v1/euiccs/{EID}:trace", json={"minutes": 0})).json() == {"until": None, "left": 0}
    await called(database, 1)
    assert (await known.get(f"/v1/euiccs/{EID}/trace")).json()["items"] == []


@pytest.mark.parametrize("body", [{"minutes": 1441}, {"minutes": -1}, {"exchanges": 0}, {"exchanges": 10_001}])
async def test_a_trace_has_bounds(known: httpx2.AsyncClient, body: dict[str, int]) -> None:
    assert (await known.post(f"/v1/euiccs/{EID}:trace", json=body)).status_code == 400


async def test_who_is_not_onboarded_has_neither(known: httpx2.AsyncClient) -> None:
    stranger = eid_text(2)
    for method, path in (("POST", ":trace"), ("GET", "/trace"), ("DELETE", "/trace"), ("GET", "/timeline")):
        answer = await known.request(method, f"/v1/euiccs/{stranger}{path}", json={} if method == "POST" else None)
        assert answer.status_code == 404


async def test_the_timeline_says_who_did_what_and_when_it_last_called(known: httpx2.AsyncClient) -> None:
    order = {"operation": "listProfileInfo", "eid": EID}
    placed = (await known.post("/v1/operations", json=order)).json()
    told = (await known.get(f"/v1/euiccs/{EID}/timeline")).json()
    assert (told["items"][0]["source"], told["items"][0]["what"]) == ("order", "operation.accepted")
    assert (told["items"][-1]["source"], told["items"][-1]["what"]) == ("audit", "euicc.onboard")
    assert told["items"][0]["data"] == {
        "operation": placed["operations"][0]["operation"],
        "kind": "listProfileInfo",
        "by": "token:test",
    }
    assert told["visits"] == {"last_seen_at": None, "out_since": None, "deliveries": 0}
    assert told["next"] is None


async def test_a_timeline_goes_on_behind_its_cursor(known: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await known.post("/v1/operations", json={"operation": "listProfileInfo", "eid": EID})
    whole = (await known.get(f"/v1/euiccs/{EID}/timeline")).json()
    first = (await known.get(f"/v1/euiccs/{EID}/timeline", params={"limit": 3})).json()
    second = (await known.get(f"/v1/euiccs/{EID}/timeline", params={"cursor": first["next"]})).json()
    assert len(first["items"]) == 3
    assert first["items"] + second["items"] == whole["items"]
    assert second["next"] is whole["next"] is None

"""One eUICC's entry: fields, filters, edits with ETags, offboarding and coming back."""

from uuid import uuid4

import httpx2
import pytest

from tests.database import Database
from tests.operator_side import A, B, eid_text, give_profiles, onboard


async def test_an_edit_is_refused_when_another_came_first(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    path = f"/v1/euiccs/{eid_text(1)}"
    seen = await client.get(path)
    etag = seen.headers["etag"]
    assert etag == f'"{seen.json()["etag"]}"'
    first = await client.patch(path, json={"label": "pump 7", "tags": ["a", "b", "a"]}, headers={"If-Match": etag})
    assert (first.status_code, first.headers["etag"] != etag) == (200, True)
    assert (first.json()["euicc"]["label"], first.json()["euicc"]["tags"]) == ("pump 7", ["a", "b"])
    late = await client.patch(path, json={"label": "other"}, headers={"If-Match": etag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition-failed")
    for match in ("*", None):
        headers = {"If-Match": match} if match else {}
        assert (await client.patch(path, json={"label": None}, headers=headers)).json()["euicc"]["label"] is None
    assert (await client.patch(path, json={"label": "x"}, headers={"If-Match": "naked"})).status_code == 400
    assert (await client.patch(f"/v1/euiccs/{eid_text(2)}", json={})).status_code == 404
    assert (await client.get("/v1/euiccs", params={"tag": "b"})).json()["items"][0]["eid"] == eid_text(1)
    assert (await client.get(path)).json()["euicc"]["tags"] == ["a", "b"]


async def test_group_and_time_zone_are_edited_too_and_a_zone_that_is_none_refused(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    path = f"/v1/euiccs/{eid_text(1)}"
    etag = (await client.get(path)).headers["etag"]
    put = await client.patch(path, json={"group": "north", "time_zone": "Europe/Berlin"}, headers={"If-Match": etag})
    assert (put.json()["euicc"]["group"], put.json()["euicc"]["time_zone"]) == ("north", "Europe/Berlin")
    assert put.headers["etag"] != etag
    assert (await client.patch(path, json={"time_zone": "Mars/Olympus"})).status_code == 400
    assert (await client.patch(path, json={"group": None})).json()["euicc"]["group"] is None


async def test_that_a_card_cannot_sign_is_said_and_taken_back_with_a_reason_on_record(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    path = f"/v1/euiccs/{eid_text(1)}"
    etag = (await client.get(path)).headers["etag"]
    assert (await client.patch(path, json={"unverifiable": True})).status_code == 400
    for said, why in ((True, "a bench card"), (False, "it signs now")):
        done = await client.patch(path, json={"unverifiable": said, "reason": why}, headers={"If-Match": etag})
        assert (done.status_code, done.json()["association"]["unverifiable"]) == (200, said)
        etag = done.headers["etag"]
    records = (await client.get("/v1/audit", params={"action": "euicc.edit"})).json()["items"]
    assert [(r["data"]["unverifiable"], r["data"]["reason"]) for r in records] == [
        (False, "it signs now"), (True, "a bench card"),
    ]  # fmt: skip
    assert (await client.patch(path, json={"unverifiable": False})).status_code == 200, "nothing changes, no reason"


async def test_fields_leave_out_the_rest(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1, 2])
    page = (await client.get("/v1/euiccs", params={"fields": "eid,tags", "limit": 1})).json()
    assert (set(page["items"][0]), page["next"] is not None) == ({"eid", "tags"}, True)
    on = await client.get("/v1/euiccs", params={"fields": "eid", "limit": 1, "cursor": page["next"]})
    assert [set(item) for item in on.json()["items"]] == [{"eid"}]
    one = await client.get(f"/v1/euiccs/{eid_text(1)}", params={"fields": "association"})
    assert (set(one.json()), "etag" in one.headers) == ({"association"}, True)
    wrong = await client.get("/v1/operations", params={"fields": "colour"})
    assert (wrong.status_code, "colour" in wrong.json()["detail"]) == (400, True)


async def test_every_filter_lets_pass_what_fits_and_nothing_else(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1, 2, 3])
    await give_profiles(database, 1)
    await database.owner().execute("UPDATE operations SET state = 'done' WHERE eid = $1", bytes.fromhex(eid_text(3)))
    await database.owner().execute(
        "UPDATE euiccs SET speaks = '1.2', last_seen_at = now(), plmn = '\\x62f210', unverifiable = true, "
        "label = 'a_b%' WHERE eid = $1", bytes.fromhex(eid_text(1)),
    )  # fmt: skip
    only_first = (
        {"speaks": "1.2"}, {"seen_after": "2020-01-01T00:00:00Z"}, {"plmn": "62F210"}, {"unverifiable": "true"},
        {"iccid": A}, {"iccid": B}, {"service_provider": "Carrier A"}, {"label": "a_b%"},
    )  # fmt: skip
    for query in only_first:
        found = (await client.get("/v1/euiccs", params=query)).json()["items"]
        assert [item["eid"] for item in found] == [eid_text(1)], query
    for query, many in (
        ({"seen_before": "2020-01-01T00:00:00Z"}, 2), ({"identity": "eim.example.com"}, 3), ({"identity": "x"}, 0),
        ({"busy": "true"}, 2), ({"busy": "false"}, 1), ({"created_before": "2020-01-01T00:00:00Z"}, 0),
        ({"label": "a%"}, 0), ({"label": "aXb"}, 0), ({"created_after": "2020-01-01T00:00:00Z"}, 3),
    ):  # fmt: skip
        assert len((await client.get("/v1/euiccs", params=query)).json()["items"]) == many, query
    for query, many in (
        ({"open": "false"}, 2), ({"open": "true"}, 4), ({"ordered_by": "eim"}, 6), ({"ordered_by": "token:x"}, 0),
        ({"iccid": A}, 0), ({"reason": "ok"}, 0), ({"created_before": "2020-01-01T00:00:00Z"}, 0),
    ):  # fmt: skip
        assert len((await client.get("/v1/operations", params=query)).json()["items"]) == many, query


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T00:00:00Z"])
async def test_a_time_that_can_not_be_meant_is_refused(client: httpx2.AsyncClient, moment: str) -> None:
    assert (await client.get("/v1/euiccs", params={"seen_after": moment})).status_code == 400


async def test_offboarding_needs_a_reason_and_nothing_open(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    path = f"/v1/euiccs/{eid_text(1)}"
    assert (await client.delete(path)).status_code == 400
    order = {"operation": "enable", "eid": eid_text(1), "profile": {"iccid": B}}
    await client.post("/v1/operations", json=order)
    guarded = await client.delete(path, params={"reason": "sold"})
    assert (guarded.status_code, guarded.json()["code"]) == (409, "guarded")
    await database.owner().execute("UPDATE euiccs SET counter = 41")
    gone = await client.delete(path, params={"reason": "sold", "force": "true"})
    assert (gone.status_code, gone.json()["counter"]) == (200, 41)
    assert (
        (await client.get(path)).status_code
        == (await client.delete(path, params={"reason": "sold"})).status_code
        == 404
    )
    for table in ("profiles", "operations", "mailbox", "requests", "euicc_tags"):
        assert await database.owner().fetchval(f"SELECT count(*) FROM {table}") == 0, table
    told = (await client.get("/v1/events", params={"type": "eim.euicc.offboarded"})).json()["items"]
    assert [event["data"]["counter"] for event in told] == [41]
    said = (await client.get("/v1/audit", params={"action": "euicc.offboard", "subject": eid_text(1)})).json()["items"]
    assert [(e["data"]["reason"], e["data"]["counter"]) for e in said] == [("sold", 41)]


async def test_who_comes_back_goes_on_from_the_counter_its_card_has_seen(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    await database.owner().execute("UPDATE euiccs SET counter = 41")
    await client.delete(f"/v1/euiccs/{eid_text(1)}", params={"reason": "a mistake", "force": "true"})
    await onboard(database, [1])
    assert await database.owner().fetchval("SELECT counter FROM euiccs") == 41


async def test_the_audit_is_searched_by_who_what_about_and_when(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1, 2])
    order = (await client.post("/v1/operations", json={"operation": "listProfileInfo", "all": True})).json()["order"]
    for query, many in (
        ({"actor": "token:test", "action": "order."}, 1), ({"subject": order}, 1), ({"subject": eid_text(1)}, 1),
        ({"subject": str(uuid4())}, 0), ({"action": "euicc.onboard"}, 2), ({"since": "2020-01-01T00:00:00Z"}, 4),
        ({"until": "2020-01-01T00:00:00Z"}, 0), ({"actor": "setup"}, 1),
    ):  # fmt: skip
        assert len((await client.get("/v1/audit", params=query)).json()["items"]) == many, query
    seen, cursor = [], None
    while cursor != "end":
        page = (await client.get("/v1/audit", params={"limit": 1} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next"] or "end"
    assert len(seen) == len(set(seen)) == 4

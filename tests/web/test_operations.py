"""/v1/operations, /v1/orders and /v1/summary over ASGI on a real database."""

import asyncio
from uuid import uuid4

import httpx2
import pytest

from eim.domain.ids import bucket_of, format_iccid, parse_iccid
from tests.database import Database
from tests.operator_side import A, B, eid_of, eid_text, give_profiles, onboard


async def order(client: httpx2.AsyncClient, **body: object) -> httpx2.Response:
    return await client.post("/v1/operations", json=body)


async def test_an_enable_is_accepted_with_rollback_and_an_id_that_can_be_read(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    answer = await order(client, operation="enable", eid=eid_text(1), profile={"iccid": B})
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    placed = answer.json()["operations"][0]
    found = (await client.get(f"/v1/operations/{placed['operation']}")).json()
    assert (found["state"], found["rollback"], found["eid"]) == ("accepted", True, eid_text(1))
    assert found["iccid"] == format_iccid(parse_iccid(B))
    assert found["ordered_by"] == "token:test"
    stands = (await client.get(f"/v1/orders/{answer.json()['order']}")).json()
    assert stands["states"]["accepted"] == 1
    assert sum(stands["states"].values()) == 1
    assert stands["oldest_waiting"] is not None


async def test_a_service_provider_finds_its_profile_on_each_card(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1, 2, 3])
    await give_profiles(database, 1)
    await give_profiles(database, 2, A, "8988211000000000009F")
    body = {
        "operation": "enable",
        "eids": [eid_text(n) for n in (1, 2, 3)],
        "profile": {"service_provider": "Carrier B"},
    }
    refused = await client.post("/v1/operations", json=body)
    assert refused.status_code == 422
    assert [bad["line"] for bad in refused.json()["bad_lines"]] == [3]
    taken = await client.post("/v1/operations", json=body | {"on_error": "skip"})
    assert taken.json()["accepted"] == 2
    assert [bad["line"] for bad in taken.json()["bad_lines"]] == [3]
    iccids = {r["iccid"] for r in await database.owner().fetch("SELECT iccid FROM operations WHERE kind = 'enable'")}
    assert iccids == {parse_iccid(B), parse_iccid("8988211000000000009F")}


async def test_operations_keep_the_order_in_which_they_were_placed_even_at_once(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1, 2])
    both = [eid_text(1), eid_text(2)]
    bodies = [{"operation": "listProfileInfo", "eids": both if n % 2 else both[::-1]} for n in range(40)]
    answers = await asyncio.gather(*(client.post("/v1/operations", json=body, timeout=60) for body in bodies))
    assert {answer.status_code for answer in answers} == {202}
    rows = await database.owner().fetch(
        "SELECT eid, array_agg(ordinal ORDER BY ordinal) AS o FROM operations GROUP BY eid"
    )
    assert [row["o"] for row in rows] == [list(range(1, 43))] * 2


async def test_a_later_order_has_the_later_place(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    for kind in ("listProfileInfo", "enable", "ipaEuiccDataRequest"):
        profile = {"profile": {"iccid": B}} if kind == "enable" else {}
        assert (await order(client, operation=kind, eid=eid_text(1), **profile)).status_code == 202
    rows = await database.owner().fetch("SELECT kind FROM operations WHERE ordinal > 2 ORDER BY ordinal")
    assert [row["kind"] for row in rows] == ["listProfileInfo", "enable", "ipaEuiccDataRequest"]


async def test_the_lines_of_one_order_for_one_card_keep_their_order(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    iccids = [f"898821100000000000{n}F" for n in (5, 3, 4)]
    lines = [{"eid": eid_text(1), "iccid": iccid} for iccid in iccids]
    assert (await order(client, operation="delete", lines=lines)).status_code == 202
    rows = await database.owner().fetch("SELECT iccid FROM operations WHERE kind = 'delete' ORDER BY ordinal")
    assert [row["iccid"] for row in rows] == [parse_iccid(iccid) for iccid in iccids]


async def test_a_bad_eid_at_the_end_of_a_list_order_refuses_all_of_it(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, range(5))
    eids = [eid_text(n) for n in (0, 1, 2, 1, 7)] + ["89"]
    answer = await order(client, operation="listProfileInfo", eids=eids)
    assert answer.status_code == 422
    assert [bad["line"] for bad in answer.json()["bad_lines"]] == [4, 5, 6]
    assert "line 2" in answer.json()["bad_lines"][0]["detail"]
    assert "not onboarded" in answer.json()["bad_lines"][1]["detail"]
    assert await database.owner().fetchval("SELECT count(*) FROM operations WHERE order_id IS NOT NULL") == 0
    assert await database.owner().fetchval("SELECT count(*) FROM orders") == 0


@pytest.mark.parametrize("iccid", ["8", "89", "89882110", "8988211000000000002X", "898821100000000000200"])
async def test_an_iccid_that_is_none_is_refused(client: httpx2.AsyncClient, database: Database, iccid: str) -> None:
    await onboard(database, [1])
    answer = await order(client, operation="enable", eid=eid_text(1), profile={"iccid": iccid})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid-iccid"
    lines = await order(client, operation="enable", lines=[{"eid": eid_text(1), "iccid": iccid}])
    assert lines.status_code == 422


async def test_deleting_the_enabled_profile_takes_force_and_a_reason(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    body = {"operation": "delete", "eid": eid_text(1), "profile": {"iccid": A}}
    assert (await client.post("/v1/operations", json=body)).status_code == 422
    assert "reason" in (await client.post("/v1/operations", json=body | {"force": True})).json()["detail"]
    forced = await client.post("/v1/operations", json=body | {"force": True, "reason": "card is scrapped"})
    assert forced.status_code == 202
    reason = await database.owner().fetchval("SELECT data ->> 'force_reason' FROM audit WHERE action = 'order.place'")
    assert reason == "card is scrapped"
    assert (await order(client, operation="delete", eid=eid_text(1), profile={"iccid": B})).status_code == 202


async def test_disabling_what_leaves_no_enabled_profile_is_refused(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1, 2])
    await give_profiles(database, 1)
    known = await order(client, operation="disable", eid=eid_text(1), profile={"iccid": A})
    assert known.status_code == 422
    assert "can't call again" in known.json()["bad_lines"][0]["detail"]
    unknown = await order(client, operation="disable", eid=eid_text(2), profile={"iccid": A})
    assert unknown.status_code == 422
    assert "not known yet" in unknown.json()["bad_lines"][0]["detail"]
    assert (await order(client, operation="disable", eid=eid_text(1), profile={"iccid": B})).status_code == 202


async def test_the_same_key_orders_once_whatever_happens_at_once(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    headers = {"Idempotency-Key": str(uuid4())}
    body = {"operation": "listProfileInfo", "eid": eid_text(1)}
    answers = await asyncio.gather(*(client.post("/v1/operations", json=body, headers=headers) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert await database.owner().fetchval("SELECT count(*) FROM orders") == 1
    other = await client.post("/v1/operations", json=body | {"priority": "urgent"}, headers=headers)
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency-key-reused"


async def test_a_refused_request_leaves_its_key_free(client: httpx2.AsyncClient, database: Database) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"operation": "listProfileInfo", "eid": eid_text(1)}
    assert (await client.post("/v1/operations", json=body, headers=headers)).status_code == 422
    await onboard(database, [1])
    assert (await client.post("/v1/operations", json=body, headers=headers)).status_code == 202


async def test_all_and_a_tag_name_cards_too(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, range(5))
    assert (await order(client, operation="listProfileInfo", all=True)).json()["accepted"] == 5
    assert (await order(client, operation="listProfileInfo", all=True, tag="even")).json()["accepted"] == 3
    assert (await order(client, operation="listProfileInfo", all=True, tag="none")).status_code == 400


async def test_an_order_for_five_thousand_is_answered_with_counts(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, range(5000))
    answer = await client.post(
        "/v1/operations",
        json={"operation": "enable", "all": True, "profile": {"iccid": B}, "confirm": 5000},
        timeout=60,
    )
    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["operations"]) == (5000, [])
    assert await database.owner().fetchval("SELECT count(DISTINCT id) FROM operations WHERE kind = 'enable'") == 5000
    summary = (await client.get("/v1/summary")).json()
    assert summary["operations"]["accepted"] == 15_000
    assert summary["euiccs"] == 5000


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation": "enable"},
        {"operation": "listProfileInfo", "all": True, "eid": "89"},
        {"operation": "listProfileInfo", "eid": "EID", "tag": "x"},
        {"operation": "listProfileInfo", "eid": "EID", "profile": {"iccid": B}},
        {"operation": "enable", "eid": "EID", "profile": {}},
        {"operation": "enable", "eid": "EID", "profile": {"iccid": B, "service_provider": "Carrier B"}},
        {"operation": "delete", "eid": "EID", "profile": {"iccid": B}, "rollback": True},
        {"operation": "listProfileInfo", "eid": "EID", "expires_at": "2001-01-01T00:00:00Z"},
        {"operation": "listProfileInfo", "eid": "EID", "not_before": "0001-01-01T00:00:00+14:00"},
        {"operation": "listProfileInfo", "eid": "EID", "not_before": "2030-01-01T00:00:00"},
        {"operation": "reboot", "eid": "EID"},
        {"operation": "listProfileInfo", "eids": []},
        {"operation": "listProfileInfo", "eid": "EID", "colour": "red"},
        {"operation": "listProfileInfo", "eid": "EID", "force": True},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_with_a_sentence(
    client: httpx2.AsyncClient, database: Database, wrong: dict[str, object]
) -> None:
    await onboard(database, [1])
    body = wrong | ({"eid": eid_text(1)} if wrong.get("eid") == "EID" else {})
    answer = await client.post("/v1/operations", json=body)
    assert answer.status_code == 400
    assert len(answer.json()["detail"]) > 20
    assert await database.owner().fetchval("SELECT count(*) FROM orders") == 0


async def test_listings_of_operations_page_and_filter(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, range(6))
    placed = (await order(client, operation="enable", eids=[eid_text(1), eid_text(2)], profile={"iccid": B})).json()
    found: list[str] = []
    cursor: str | None = None
    while cursor != "end":
        page = (await client.get("/v1/operations", params={"limit": 5} | ({"cursor": cursor} if cursor else {}))).json()
        found += [each["id"] for each in page["items"]]
        cursor = page["next"] or "end"
    assert len(found) == len(set(found)) == 14
    of_order = (await client.get("/v1/operations", params={"order": placed["order"]})).json()["items"]
    assert {o["id"] for o in of_order} == {p["operation"] for p in placed["operations"]} == set(found[:2])
    assert len((await client.get("/v1/operations", params={"kind": "enable", "eid": eid_text(1)})).json()["items"]) == 1
    assert (await client.get("/v1/operations", params={"state": "done"})).json()["items"] == []
    assert (await client.get("/v1/operations", params={"state": "lost"})).status_code == 400


async def withdraw(client: httpx2.AsyncClient, operation: str) -> httpx2.Response:
    return await client.post(f"/v1/operations/{operation}:withdraw")


async def test_what_waits_can_be_withdrawn_and_again_changes_nothing(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    placed = (await order(client, operation="enable", eid=eid_text(1), profile={"iccid": B})).json()["operations"][0]
    first, again = [await withdraw(client, placed["operation"]) for _ in range(2)]
    assert first.json()["state"] == "withdrawn"
    assert first.json()["ended_at"] is not None
    assert again.json() == first.json()
    assert await database.owner().fetchval("SELECT count(*) FROM audit WHERE action = 'operation.withdraw'") == 1


async def test_withdrawing_what_is_sealed_takes_every_seal_back(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    eid = eid_of(1)
    first, second = [
        (await order(client, operation="enable", eid=eid_text(1), profile={"iccid": iccid})).json()["operations"][0][
            "operation"
        ]
        for iccid in (A, B)
    ]
    await seal(database, 1, first, number=1, head=True)
    await seal(database, 1, second, number=2, head=False)
    assert (await withdraw(client, second)).json()["state"] == "withdrawn"
    assert (await client.get(f"/v1/operations/{first}")).json()["state"] == "accepted"
    rows = await database.owner().fetch("SELECT state FROM packages")
    assert [row["state"] for row in rows] == ["dead", "dead"]
    head = await database.owner().fetchrow(
        "SELECT sealed, operation FROM mailbox WHERE bucket = $1 AND eid = $2", bucket_of(eid), eid
    )
    assert head is not None
    assert tuple(head) == (None, None)


async def test_what_is_out_becomes_in_doubt_and_a_worker_is_asked_to_clear_it_up(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    operation = (await order(client, operation="listProfileInfo", eid=eid_text(1))).json()["operations"][0]["operation"]
    await seal(database, 1, operation, number=1, head=True)
    await database.owner().execute("UPDATE mailbox SET handed_at = now(), deliveries = 1")
    await database.owner().execute("UPDATE operations SET state = 'out' WHERE id = $1", operation)
    for _ in range(2):
        answer = (await withdraw(client, operation)).json()
        assert (answer["state"], answer["doubt"], answer["ended_at"]) == ("in_doubt", "withdrawn", None)
    assert [r["kind"] for r in await database.owner().fetch("SELECT kind FROM requests")] == ["recover"]
    assert await database.owner().fetchval("SELECT sealed FROM mailbox") is not None


async def test_what_has_ended_or_is_the_eims_own_can_not_be_withdrawn(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    own = (await client.get("/v1/operations")).json()["items"][0]["id"]
    assert (await withdraw(client, own)).status_code == 409
    operation = (await order(client, operation="listProfileInfo", eid=eid_text(1))).json()["operations"][0]["operation"]
    await database.owner().execute("UPDATE operations SET state = 'done', ended_at = now() WHERE id = $1", operation)
    assert (await withdraw(client, operation)).json()["code"] == "conflict"
    assert (await withdraw(client, str(uuid4()))).status_code == 404
    assert (await withdraw(client, "nonsense")).status_code == 404


async def test_an_order_counts_its_operations_by_state_and_reason(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, range(4))
    placed = (await order(client, operation="listProfileInfo", all=True)).json()
    for position, (state, reason) in enumerate([("failed", "rolledBack"), ("failed", "rolledBack"), ("done", "ok")]):
        await database.owner().execute(
            "UPDATE operations SET state = $2, outcome = jsonb_build_object('reason', $3::text) WHERE id = $1",
            placed["operations"][position]["operation"], state, reason,
        )  # fmt: skip
    stands = (await client.get(f"/v1/orders/{placed['order']}")).json()
    assert (stands["states"]["failed"], stands["states"]["done"], stands["states"]["accepted"]) == (2, 1, 1)
    assert stands["reasons"] == {"ok": 1, "rolledBack": 2}


async def seal(database: Database, number_of_card: int, operation: str, *, number: int, head: bool) -> None:
    """What a worker leaves when it has sealed an operation."""
    eid, owner = eid_of(number_of_card), database.owner()
    bucket = bucket_of(eid)
    await owner.execute("UPDATE operations SET state = 'sealed' WHERE id = $1", operation)
    await owner.execute(
        """INSERT INTO packages
                  (bucket, eid, number, operation, identity, counter, speaks, sealed, gate, not_before, state)
           VALUES ($1, $2, $3, $4, 1, $5, '1.2', '\\xbf51', 1, now(), $6)""",
        bucket, eid, number, operation, number, "head" if head else "waiting",
    )  # fmt: skip
    if head:
        await owner.execute(
            """UPDATE mailbox SET number = $3, operation = $4, counter = $5, sealed = '\\xbf51'
                WHERE bucket = $1 AND eid = $2""",
            bucket, eid, number, operation, number,
        )  # fmt: skip

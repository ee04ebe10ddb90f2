"""/v1/euiccs over ASGI on a real database."""

from uuid import uuid4

import httpx2
import pytest

from eim.domain.ids import bucket_of
from tests.database import Database
from tests.operator_side import eid_of, eid_text, give_profiles, onboard


async def test_an_eid_alone_becomes_a_device_that_waits_for_its_introduction(
    client: httpx2.AsyncClient, database: Database
) -> None:
    answer = await client.post("/v1/euiccs", json={"eid": eid_text(1), "label": "lamp 7", "tags": ["street"]})
    assert answer.status_code == 201
    assert answer.json() == {"accepted": 1, "eids": [eid_text(1)], "bad_lines": []}
    seen = (await client.get(f"/v1/euiccs/{eid_text(1)}")).json()
    assert seen["euicc"]["label"] == "lamp 7"
    assert seen["euicc"]["tags"] == ["street"]
    assert seen["euicc"]["introduced_at"] is None
    assert seen["mailbox"] is None
    assert seen["association"]["identity"] == "eim.example.com"
    own = (await client.get("/v1/operations", params={"eid": eid_text(1)})).json()["items"]
    assert sorted(o["operation"] for o in own) == ["ipaEuiccDataRequest", "listProfileInfo"]
    assert {o["ordered_by"] for o in own} == {"eim"}
    rows = await database.owner().fetch("SELECT kind, ordinal FROM operations ORDER BY ordinal")
    assert [tuple(r) for r in rows] == [("ipaEuiccDataRequest", 1), ("listProfileInfo", 2)]
    counted = await database.owner().fetchrow(
        """SELECT (SELECT ordinals FROM euiccs), (SELECT count(*) FROM mailbox),
                  (SELECT count(*) FROM audit WHERE action = 'euicc.onboard'),
                  (SELECT count(*) FROM events WHERE kind = 'euicc.onboarded')"""
    )
    assert counted is not None
    assert tuple(counted) == (2, 1, 1, 1)  # ordinals, heads, audited, told


async def test_a_mistyped_eid_never_becomes_a_device(client: httpx2.AsyncClient, database: Database) -> None:
    right = eid_text(1)
    wrong = right[:10] + str((int(right[10]) + 1) % 10) + right[11:]
    answer = await client.post("/v1/euiccs", json={"eid": wrong})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid-eid"
    assert "mistyped" in answer.json()["detail"]
    for text in ("", "12", right + "0", right[:-1], "é" * 32, "G" * 32):
        assert (await client.post("/v1/euiccs", json={"eid": text})).status_code == 400
    assert await database.owner().fetchval("SELECT count(*) FROM euiccs") == 0


async def test_wrong_check_digits_pass_only_when_the_request_says_so(client: httpx2.AsyncClient) -> None:
    wrong = eid_text(1)[:-2] + "00"
    said = {"eid": wrong, "allow_invalid_check_digits": True}
    assert (await client.post("/v1/euiccs", json=said)).status_code == 201
    assert (await client.get(f"/v1/euiccs/{wrong}")).status_code == 200


async def test_a_bad_eid_at_the_end_of_a_list_refuses_all_of_it_and_names_each_line(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [9])
    lines = [eid_text(1), eid_text(2), eid_text(1), eid_text(9), "8904"]
    answer = await client.post("/v1/euiccs:batch", json={"euiccs": [{"eid": eid} for eid in lines]})
    assert answer.status_code == 422
    assert [bad["line"] for bad in answer.json()["bad_lines"]] == [3, 4, 5]
    assert "line 1" in answer.json()["bad_lines"][0]["detail"]
    assert "known already" in answer.json()["bad_lines"][1]["detail"]
    assert await database.owner().fetchval("SELECT count(*) FROM euiccs") == 1


async def test_skip_takes_the_good_lines_and_reports_the_bad(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [9])
    lines = [eid_text(1), "8904", eid_text(9), eid_text(2)]
    body = {"euiccs": [{"eid": eid} for eid in lines], "on_error": "skip"}
    answer = await client.post("/v1/euiccs:batch", json=body)
    assert answer.status_code == 201
    assert answer.json()["eids"] == [eid_text(1), eid_text(2)]
    assert [bad["line"] for bad in answer.json()["bad_lines"]] == [2, 3]
    assert await database.owner().fetchval("SELECT count(*) FROM mailbox") == 3


async def test_a_list_of_ten_thousand_is_onboarded_in_one_request(
    client: httpx2.AsyncClient, database: Database
) -> None:
    body = {"euiccs": [{"eid": eid_text(n), "tags": ["big", str(n % 7)]} for n in range(10_000)]}
    answer = await client.post("/v1/euiccs:batch", json=body, timeout=60)
    assert answer.status_code == 201
    assert answer.json()["accepted"] == 10_000
    assert await database.owner().fetchval("SELECT count(*) FROM operations") == 20_000
    assert (
        await database.owner().fetchval("SELECT count(*) FROM euiccs WHERE tags @> '{big}' AND ordinals = 2") == 10_000
    )


async def test_a_key_repeats_an_onboarding_instead_of_a_conflict(client: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first = await client.post("/v1/euiccs", json={"eid": eid_text(1)}, headers=headers)
    again = await client.post("/v1/euiccs", json={"eid": eid_text(1)}, headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = await client.post("/v1/euiccs", json={"eid": eid_text(2)}, headers=headers)
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency-key-reused"
    assert (await client.post("/v1/euiccs", json={"eid": eid_text(1)})).json()["code"] == "conflict"


async def test_certificates_that_lead_nowhere_are_refused(client: httpx2.AsyncClient) -> None:
    half = {"eid": eid_text(1), "euicc_certificate": "MIIB"}
    assert "both" in (await client.post("/v1/euiccs", json=half)).json()["detail"]
    both = half | {"eum_certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}
    assert (await client.post("/v1/euiccs", json=both)).json()["code"] == "untrusted-certificate"
    broken = half | {"eum_certificate": "!"}
    assert (await client.post("/v1/euiccs", json=broken)).json()["code"] == "invalid-request"


async def test_pages_go_through_all_euiccs_once(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, range(25))
    await onboard(database, range(25, 30))
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = (await client.get("/v1/euiccs", params={"limit": 7} | ({"cursor": cursor} if cursor else {}))).json()
        found += [each["eid"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["items"]) == 7
    assert sorted(found) == sorted(eid_text(n) for n in range(30))


async def test_filters_narrow_the_listing(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, range(4))
    await client.post("/v1/euiccs", json={"eid": eid_text(50), "label": "lamp 50%_"})
    await give_profiles(database, 1)

    async def listed(**params: str) -> list[str]:
        return [each["eid"] for each in (await client.get("/v1/euiccs", params=params)).json()["items"]]

    assert set(await listed(tag="even")) == {eid_text(0), eid_text(2)}
    assert await listed(label="lamp") == [eid_text(50)]
    assert await listed(label="lamp%") == []
    assert await listed(service_provider="Carrier A") == [eid_text(1)]
    assert await listed(service_provider="Carrier B") == []
    assert len(await listed(introduced="false")) == 5
    assert await listed(introduced="true") == []


@pytest.mark.parametrize("change", ["flip", "cut", "filter", "noise", "empty"])
async def test_a_cursor_that_was_tampered_with_is_refused(
    client: httpx2.AsyncClient, database: Database, change: str
) -> None:
    await onboard(database, range(3))
    cursor = (await client.get("/v1/euiccs", params={"limit": 1})).json()["next"]
    flipped = cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:]
    bad = {"flip": flipped, "cut": cursor[:-4], "filter": cursor, "noise": "\x00 é", "empty": ""}[change]
    params = {"cursor": bad} | ({"tag": "even"} if change == "filter" else {})
    answer = await client.get("/v1/euiccs", params=params)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid-cursor"


async def test_profiles_are_shown_by_card_and_found_by_iccid(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1, 2])
    await give_profiles(database, 1)
    held = (await client.get(f"/v1/euiccs/{eid_text(1)}/profiles")).json()["items"]
    assert {(p["service_provider"], p["state"]) for p in held} == {("Carrier A", "enabled"), ("Carrier B", "disabled")}
    assert (await client.get(f"/v1/euiccs/{eid_text(2)}/profiles")).json()["items"] == []
    found = (await client.get("/v1/profiles", params={"iccid": held[0]["iccid"]})).json()["items"]
    assert [p["eid"] for p in found] == [eid_text(1)]
    assert (await client.get("/v1/profiles", params={"iccid": "89"})).json()["code"] == "invalid-iccid"
    assert (await client.get(f"/v1/euiccs/{eid_text(3)}/profiles")).status_code == 404


async def test_the_timeline_of_a_card_is_newest_first_and_pages(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    await client.post("/v1/operations", json={"operation": "listProfileInfo", "eid": eid_text(1)})
    path = f"/v1/euiccs/{eid_text(1)}/events"
    assert [e["kind"] for e in (await client.get(path)).json()["items"]] == ["operation.accepted", "euicc.onboarded"]
    first = (await client.get(path, params={"limit": 1})).json()
    second = (await client.get(path, params={"limit": 1, "cursor": first["next"]})).json()
    assert [second["items"][0]["kind"], second["next"]] == ["euicc.onboarded", None]


async def test_the_mailbox_head_is_shown_without_its_octets(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    eid, operation = eid_of(1), uuid4()
    await database.owner().execute(
        """UPDATE mailbox SET number = 1, operation = $3, counter = 7, sealed = '\\xbf51deadbeef', handed_at = now(),
                  deliveries = 3 WHERE bucket = $1 AND eid = $2""",
        bucket_of(eid), eid, operation,
    )  # fmt: skip
    answer = await client.get(f"/v1/euiccs/{eid_text(1)}")
    head = answer.json()["mailbox"]
    assert (head["operation"], head["counter"], head["deliveries"]) == (str(operation), 7, 3)
    assert "deadbeef" not in answer.text.lower()

"""Any step and several of them over /v1/operations."""

import httpx2
import pytest

from eim.asn1 import sgp32
from eim.domain.ids import format_iccid, parse_iccid
from tests.database import Database
from tests.domain.steps import CONFIG
from tests.operator_side import A, B, eid_text, give_profiles, onboard

ON_A, ON_B = (format_iccid(parse_iccid(text)) for text in (A, B))
CONFIGURATION = sgp32.encode(CONFIG).hex().upper()
STEPS: list[dict[str, object]] = [
    {"step": "enable", "iccid": ON_B, "rollback": True},
    {"step": "listProfileInfo", "profile_class": "operational", "tags": ["5A", "9F70"]},
    {"step": "getRAT"},
    {"step": "configureImmediateEnable", "flag": True, "smdp_oid": "2.999.1", "smdp_address": "smdp.example.com"},
    {"step": "unsetFallbackAttribute"},
    {"step": "setDefaultDpAddress", "address": "smdp.example.com"},
    {"step": "addEim", "eim_id": CONFIG.eim_id, "configuration": CONFIGURATION},
    {"step": "updateEim", "eim_id": CONFIG.eim_id, "configuration": CONFIGURATION},
    {"step": "deleteEim", "eim_id": "other.example.com"},
    {"step": "listEim"},
    {"step": "ipaEuiccDataRequest", "tags": ["notifications"], "notification_events": ["install", "delete"]},
]


async def order(client: httpx2.AsyncClient, **body: object) -> httpx2.Response:
    return await client.post("/v1/operations", json={"eid": eid_text(1)} | body)


async def shown(client: httpx2.AsyncClient, answer: httpx2.Response) -> dict[str, object]:
    assert answer.status_code == 202, answer.text
    found = await client.get(f"/v1/operations/{answer.json()['operations'][0]['operation']}")
    return found.json()  # type: ignore[no-any-return]


async def test_each_step_is_shown_as_it_was_ordered(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    for step in STEPS:
        asked = {name: value for name, value in step.items() if name not in ("iccid", "eim_id")}
        if step["step"] == "enable":
            asked["profile"] = {"iccid": B}
        if step["step"] == "deleteEim":
            asked["eim_id"] = step["eim_id"]
        found = await shown(client, await order(client, steps=[asked]))
        assert (found["operation"], found["steps"]) == (step["step"], [step])


async def test_several_steps_mean_the_profile_that_the_order_names_on_each_card(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    steps = [{"step": "disable", "profile": {"service_provider": "Carrier A"}}, {"step": "enable"}]
    named = {"steps": steps, "profile": {"service_provider": "Carrier B"}}
    looked = await client.post("/v1/operations:preview", json={"eid": eid_text(1)} | named)
    assert (looked.status_code, looked.json()["operations"]) == (200, 1)
    found = await shown(client, await order(client, **named))
    assert found["operation"] == "package"
    assert found["steps"] == [{"step": "disable", "iccid": ON_A}, {"step": "enable", "iccid": ON_B, "rollback": True}]


async def test_a_check_asks_for_all_that_a_card_tells(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1])
    answer = await order(client, operation="check")
    assert answer.json()["accepted"] == 3
    listed = (await client.get("/v1/operations", params={"order": answer.json()["order"]})).json()["items"]
    assert {each["operation"] for each in listed} == {"listProfileInfo", "listEim", "ipaEuiccDataRequest"}
    assert (await client.get(f"/v1/orders/{answer.json()['order']}")).json()["operation"] == "check"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "either 'operation' or 'steps'"),
        ({"operation": "getRAT", "steps": [{"step": "getRAT"}]}, "either 'operation' or 'steps'"),
        ({"operation": "addEim"}, "needs more words"),
        ({"operation": "package"}, "needs more words"),
        ({"steps": [{"step": "getRAT"}, {"step": "listEim"}]}, "never about both"),
        ({"steps": [{"step": "enable"}]}, "needs one profile"),
        ({"steps": [{"step": "getRAT"}], "profile": {"iccid": B}}, "name no profile"),
        ({"steps": [{"step": "enable", "profile": {"iccid": B}}], "profile": {"iccid": B}}, "name none for all"),
        ({"steps": [{"step": "addEim"}]}, "either 'configuration' or 'identity'"),
        ({"steps": [{"step": "addEim", "configuration": "3000"}]}, "no eIM configuration"),
        ({"steps": [{"step": "addEim", "configuration": "30000"}]}, "odd number"),
        ({"steps": [{"step": "addEim", "identity": "nobody"}]}, "there is no identity nobody"),
        ({"steps": [{"step": "deleteEim", "eim_id": "eim.example.com"}]}, "our own eIM"),
        ({"steps": [{"step": "paint"}]}, "paint"),
        ({"steps": []}, "length"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, database: Database, body: dict[str, object], why: str
) -> None:
    await onboard(database, [1])
    answer = await order(client, **body)
    assert answer.status_code in (400, 404, 409, 422), answer.text
    assert why in answer.text


async def test_an_outcome_says_what_each_reason_means_and_who_has_to_act(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    placed = (await order(client, operation="disable", profile={"iccid": A}, force=True, reason="a test")).json()
    outcome = {"reason": "disallowedByPolicy", "steps": [{"step": "disable", "reason": "disallowedByPolicy"}]}
    await database.owner().execute(
        "UPDATE operations SET state = 'failed', outcome = $2 WHERE id = $1",
        placed["operations"][0]["operation"],
        outcome,
    )
    found = (await client.get(f"/v1/operations/{placed['operations'][0]['operation']}")).json()
    meaning = found["meanings"]["disallowedByPolicy"]
    assert meaning["owner"] == "profile owner"
    assert "policy rules" in meaning["means"]
    assert meaning["next_step"].startswith("ask the profile's owner")

"""Orders for many: looked at before, counted twice, guarded by what is queued."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from eim.services.tokens import SETUP, NewToken, Scope
from eim.store.connect import DbRole
from eim.web.operator import Ports, operator_app, services_on
from tests.database import Database
from tests.operator_side import DATA_KEY, A, B, client_of, eid_text, give_profiles, no_roots, now, onboard, ready

TO_B: dict[str, Any] = {"operation": "enable", "profile": {"service_provider": "Carrier B"}, "all": True}


async def count(database: Database, table: str = "operations") -> int:
    return int(await database.owner().fetchval(f"SELECT count(*) FROM {table}"))


async def test_a_preview_says_how_many_and_which_and_does_nothing(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, range(1, 6))
    for number in (1, 2):
        await give_profiles(database, number)
    await give_profiles(database, 3, enabled=B, disabled=A)
    before = [await count(database, table) for table in ("operations", "orders", "audit", "events", "requests_seen")]
    asked = TO_B | {"profile": {"iccid": B}, "on_error": "skip"}
    looked = (await client.post("/v1/operations:preview", json=asked, headers={"Idempotency-Key": "x"})).json()
    assert (looked["lines"], looked["operations"], looked["already"], looked["queued"]) == (5, 5, 1, 0)
    assert looked["carriers"] == {"Carrier A": 3, "(not known yet)": 2}
    assert looked["confirm"] is None
    assert set(looked["examples"]) == {eid_text(n) for n in range(1, 6)}
    by_carrier = (await client.post("/v1/operations:preview", json=TO_B | {"on_error": "skip"})).json()
    assert (by_carrier["operations"], by_carrier["refused"]) == (3, {"not-found": 2})
    assert len(by_carrier["bad_lines"]) == 2
    assert (await client.post("/v1/operations:preview", json=TO_B)).json()["operations"] == 0  # one bad line stops it
    after = [await count(database, table) for table in ("operations", "orders", "audit", "events", "requests_seen")]
    assert after == before


async def test_an_order_for_many_repeats_how_many(database: Database) -> None:
    await database.seed_identity()
    services = services_on(database.pool(DbRole.OPERATOR), Ports(no_roots, ready, DATA_KEY, now, confirm_above=3))
    made = await services.tokens.create(SETUP, NewToken("t", frozenset(Scope)))
    await onboard(database, range(5))
    body = {"operation": "listProfileInfo", "all": True}
    async with client_of(operator_app(services), made.secret) as client:
        for wrong in ({}, {"confirm": 4}, {"confirm": 6}):
            refused = await client.post("/v1/operations", json=body | wrong)
            assert (refused.status_code, refused.json()["code"]) == (409, "confirmation-needed")
            assert '"confirm": 5' in refused.json()["detail"]
        assert await count(database, "orders") == 0
        assert (await client.post("/v1/operations:preview", json=body)).json()["confirm"] == 5
        key = {"Idempotency-Key": str(uuid4())}
        assert (await client.post("/v1/operations", json=body, headers=key)).status_code == 409
        first, again = [await client.post("/v1/operations", json=body | {"confirm": 5}, headers=key) for _ in range(2)]
        assert (first.status_code, first.text) == (202, again.text)
        few = {"operation": "listProfileInfo", "eid": eid_text(1)}
        assert (await client.post("/v1/operations", json=few)).status_code == 202
        assert (await client.post("/v1/operations", json=few | {"confirm": 2})).status_code == 409


async def test_what_is_queued_is_judged_too_also_within_one_order(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    assert (await client.post("/v1/operations", json=TO_B)).status_code == 202
    delete = {"operation": "delete", "eid": eid_text(1), "profile": {"iccid": B}}
    refused = await client.post("/v1/operations", json=delete)
    assert (refused.status_code, "about to be enabled" in refused.text) == (422, True)
    looked = (await client.post("/v1/operations:preview", json=delete)).json()
    assert (looked["refused"], looked["operations"]) == ({"guarded": 1}, 0)
    other = {"operation": "listProfileInfo", "eid": eid_text(1)}
    assert (await client.post("/v1/operations:preview", json=other)).json()["queued"] == 1
    enabled = await client.post("/v1/operations", json=delete | {"profile": {"iccid": A}})
    assert (enabled.status_code, "is enabled" in enabled.text) == (422, True)
    assert (await client.post("/v1/operations", json=delete | {"force": True, "reason": "scrapped"})).status_code == 202


@pytest.mark.parametrize("ppr", ["\\x0540", "\\x0520"])
async def test_policy_rules_in_the_inventory_are_kept(client: httpx2.AsyncClient, database: Database, ppr: str) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    await database.owner().execute(f"UPDATE profiles SET ppr = '{ppr}'")
    switched = await client.post("/v1/operations", json=TO_B)
    deleted = await client.post("/v1/operations", json={"operation": "delete", "all": True, "profile": {"iccid": B}})
    first = (switched.status_code, deleted.status_code)
    assert first == ((422, 202) if ppr == "\\x0540" else (202, 422))

"""Tenants as the installation manages them, their limits, identities, and tokens that are rotated."""

import httpx2

from eim.services.tokens import SETUP, NewToken, Scope
from eim.web.endpoints import Limits
from eim.web.operator import operator_app
from eim.web.rates import Rate
from tests.database import Database
from tests.operator_side import client_of, eid_text, services_of

SCOPES = ["euiccs:read", "euiccs:write", "operations:read", "operations:write", "admin"]


async def tenant_with_token(client: httpx2.AsyncClient, **limits: int) -> tuple[int, str]:
    made = await client.post("/v1/tenants", json={"name": "acme", "limits": limits})
    assert made.status_code == 201, made.text
    ident = made.json()["id"]
    token = await client.post(f"/v1/tenants/{ident}/tokens", json={"name": "first", "scopes": SCOPES})
    return ident, token.json()["token"]


async def test_a_new_tenant_works_with_its_first_token_and_sees_only_itself(
    client: httpx2.AsyncClient, database: Database
) -> None:
    ident, token = await tenant_with_token(client)
    assert [t["name"] for t in (await client.get("/v1/tenants")).json()["items"]] == ["default", "acme"]
    async with client_of(operator_app(services_of(database)), token) as theirs:
        assert (await theirs.post("/v1/euiccs", json={"eid": eid_text(1)})).status_code == 201
        assert [i["eim_id"] for i in (await theirs.get("/v1/identities")).json()["items"]] == ["eim.example.com"]
        assert (await theirs.get("/v1/tenants")).status_code == 403
        widened = await theirs.post("/v1/tokens", json={"name": "x", "scopes": ["tenants"]})
        assert (widened.status_code, widened.json()["code"]) == (403, "forbidden")
    assert (await client.get(f"/v1/euiccs/{eid_text(1)}")).status_code == 404
    twice = await client.post("/v1/tenants", json={"name": "acme"})
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
    assert (await client.get(f"/v1/tenants/{ident + 1}")).status_code == 404
    assert (await client.get("/v1/tenants/99999999")).status_code == 404
    await database.owner().execute("UPDATE tokens SET scopes = scopes || '{tenants}' WHERE tenant <> 1")
    async with client_of(operator_app(services_of(database)), token) as theirs:
        assert (await theirs.get("/v1/tenants")).status_code == 403  # whatever its row says


async def test_the_same_eid_in_a_second_tenant_is_refused_with_one_neutral_sentence(
    client: httpx2.AsyncClient, database: Database
) -> None:
    _, token = await tenant_with_token(client)
    assert (await client.post("/v1/euiccs", json={"eid": eid_text(1)})).status_code == 201
    own = await client.post("/v1/euiccs", json={"eid": eid_text(1)})
    async with client_of(operator_app(services_of(database)), token) as theirs:
        foreign = await theirs.post("/v1/euiccs", json={"eid": eid_text(1)})
    assert (own.status_code, own.text) == (foreign.status_code, foreign.text)
    assert own.json()["detail"] == f"EID {eid_text(1)} can't be added: it is known already"


async def test_a_tenant_is_held_to_its_limits_until_they_change(client: httpx2.AsyncClient, database: Database) -> None:
    ident, token = await tenant_with_token(client, euiccs=2, tokens=2, orders_a_day=1)
    async with client_of(operator_app(services_of(database)), token) as theirs:
        both = {"euiccs": [{"eid": eid_text(1)}, {"eid": eid_text(2)}]}
        assert (await theirs.post("/v1/euiccs:batch", json=both)).status_code == 201
        third = {"eid": eid_text(3)}
        refused = await theirs.post("/v1/euiccs", json=third)
        assert (refused.status_code, refused.json()["code"]) == (409, "limit-reached"), refused.text
        new = {"name": "x", "scopes": ["euiccs:read"]}
        assert [(await theirs.post("/v1/tokens", json=new)).status_code for _ in range(2)] == [201, 409]
        order = {"operation": "listProfileInfo", "eid": eid_text(1)}
        assert [(await theirs.post("/v1/operations", json=order)).status_code for _ in range(2)] == [202, 409]
        seen = await client.get(f"/v1/tenants/{ident}")
        more = {"limits": {"euiccs": 3, "tokens": 2, "orders_a_day": 1}}
        headers = {"If-Match": seen.headers["etag"]}
        changed = [await client.patch(f"/v1/tenants/{ident}", json=more, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in changed] == [200, 412]
        assert (await theirs.post("/v1/euiccs", json=third)).status_code == 201


async def test_an_identity_is_retired_but_not_the_last_one(client: httpx2.AsyncClient, database: Database) -> None:
    first = (await client.get("/v1/identities")).json()["items"][0]
    path = f"/v1/identities/{first['id']}:retire"
    last = await client.post(path, json={"reason": "old key"})
    assert (last.status_code, last.json()["code"]) == (409, "guarded")
    await database.seed_identity(eim_id="second.example.com")
    retired = await client.post(path, json={"reason": "old key"})
    assert (retired.status_code, retired.json()["retired_at"] is not None) == (200, True)
    assert (await client.post(path, json={"reason": "again"})).json() == retired.json()
    assert (await client.post("/v1/euiccs", json={"eid": eid_text(1)})).status_code == 201
    assert await database.owner().fetchval("SELECT identity FROM euiccs") != first["id"]


async def test_the_same_request_for_a_token_makes_one_and_keeps_no_secret(
    client: httpx2.AsyncClient, database: Database
) -> None:
    body, key = {"name": "script", "scopes": ["euiccs:read"]}, {"Idempotency-Key": "once"}
    first, again = [(await client.post("/v1/tokens", json=body, headers=key)).json() for _ in range(2)]
    assert (first["id"], again["token"]) == (again["id"], None)
    assert [t["name"] for t in (await client.get("/v1/tokens")).json()["items"]].count("script") == 1
    kept = await database.owner().fetchval("SELECT string_agg(answer::text, '') FROM requests_seen")
    assert first["token"] not in kept
    assert first["token"].removeprefix("eim_") not in kept


async def test_a_rotated_token_works_beside_the_old_one_as_long_as_asked(
    client: httpx2.AsyncClient, database: Database
) -> None:
    services = services_of(database)
    for grace, works in ((0, 401), (60, 200)):
        old = await services.tokens.create(SETUP, NewToken("script", frozenset({Scope.EUICCS_READ})))
        new = (await client.post(f"/v1/tokens/{old.id}:rotate", json={"grace_s": grace})).json()
        for secret, status in ((old.secret, works), (new["token"], 200)):
            async with client_of(operator_app(services), secret) as theirs:
                assert (await theirs.get("/v1/euiccs")).status_code == status
        view = next(t for t in (await client.get("/v1/tokens")).json()["items"] if t["id"] == new["id"])
        assert (view["name"], view["scopes"], view["expires_at"]) == ("script", ["euiccs:read"], None)


async def test_a_token_that_asks_too_often_waits_and_others_do_not(database: Database) -> None:
    services = services_of(database)
    fast, slow = [await services.tokens.create(SETUP, NewToken(n, frozenset(Scope))) for n in ("fast", "slow")]
    app = operator_app(services, Limits(rate=Rate(a_second=0.5, burst=3)))
    async with client_of(app, fast.secret) as client:
        answers = [await client.get("/v1/tokens") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"token";q=3;w=6'
        assert answers[0].headers["ratelimit"] == '"token";r=2;t=2'
        assert (answers[3].headers["retry-after"], answers[3].json()["code"]) == ("2", "rate-limited")
    async with client_of(app, slow.secret) as client:
        assert (await client.get("/v1/tokens")).status_code == 200


async def test_the_page_of_the_interface_loads_nothing_and_names_every_call(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/docs", headers={"Authorization": ""})
    document = (await client.get("/v1/openapi.json")).json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for forbidden in ("<script", "src=", "http://", "https://", "style="):
        assert forbidden not in answer.text.replace("https://hooks", "")
    for path, item in document["paths"].items():
        assert path.replace("'", "&#x27;") in answer.text
        for operation in item.values():
            assert f'id="{operation["operationId"]}"' in answer.text

"""Who may call what: every route of the table against every kind of token."""

from uuid import uuid4

import httpx2
import pytest

from eim.domain.ids import TenantId
from eim.services.tokens import SETUP, Caller, NewToken, Scope, Tokens
from eim.store.connect import DbRole
from eim.web.endpoints import Endpoint
from eim.web.operator import OperatorServices, endpoints_of, operator_app
from tests.database import Database
from tests.operator_side import TENANTS_OWN, client_of, eid_text, give_profiles, onboard, second_tenant, services_of

NOBODY = f"eim_{'x' * 43}"


@pytest.fixture
async def services(database: Database) -> OperatorServices:
    await database.seed_identity()
    return services_of(database)


def path_of(endpoint: Endpoint) -> str:
    return endpoint.route.path.replace("{eid}", eid_text(1)).replace("{id}", str(uuid4()))


async def call(client: httpx2.AsyncClient, endpoint: Endpoint) -> httpx2.Response:
    """The route, with an empty body: who may is asked before what."""
    return await client.request(endpoint.route.method, path_of(endpoint))


async def test_every_route_refuses_who_has_no_working_token_with_one_answer(
    services: OperatorServices, database: Database
) -> None:
    ended = await services.tokens.create(SETUP, NewToken("ended", frozenset(Scope)))
    await services.tokens.revoke(SETUP, ended.id)
    late = await services.tokens.create(SETUP, NewToken("late", frozenset(Scope)))
    await database.owner().execute("UPDATE tokens SET expires_at = now() WHERE id = $1", late.id)
    app = operator_app(services)
    answers = set()
    for endpoint in endpoints_of(services):
        for token in (
            None,
            NOBODY,
            "eim_",
            "\x7f",
            "eim_é".encode("latin-1").decode("latin-1"),
            ended.secret,
            late.secret,
        ):
            headers = {b"Authorization": f"Bearer {token}".encode("latin-1")} if token else {}
            async with client_of(app, None) as client:
                answer = await client.request(endpoint.route.method, path_of(endpoint), headers=headers)
            answers.add((answer.status_code, answer.text, answer.headers["www-authenticate"]))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


async def test_every_route_takes_its_own_scope_and_no_other(services: OperatorServices) -> None:
    app = operator_app(services)
    for scope in Scope:
        made = await services.tokens.create(SETUP, NewToken(scope.name, frozenset({scope})))
        async with client_of(app, made.secret) as client:
            for endpoint in endpoints_of(services):
                answer = await call(client, endpoint)
                assert (answer.status_code == 403) == (endpoint.route.scope is not scope), endpoint.route
                assert answer.status_code < 500
    assert {endpoint.route.scope for endpoint in endpoints_of(services)} == set(Scope)


async def test_writing_routes_never_take_a_reading_scope(services: OperatorServices) -> None:
    for endpoint in endpoints_of(services):
        assert (endpoint.route.method == "GET") == endpoint.route.scope.value.endswith("read") or (
            endpoint.route.scope in (Scope.ADMIN, Scope.TENANTS)
        )


async def test_another_tenants_rows_are_answered_like_missing_ones(
    services: OperatorServices, database: Database
) -> None:
    tenant = await second_tenant(database)
    await onboard(database, [1])
    await give_profiles(database, 1)
    other = Caller(tenant, "token:other", TENANTS_OWN)
    made = await services.tokens.create(other, NewToken("other", TENANTS_OWN))
    operation = await database.owner().fetchval("SELECT id FROM operations LIMIT 1")
    mine, missing = eid_text(1), eid_text(2)
    async with client_of(operator_app(services), made.secret) as client:
        for path in ("/v1/euiccs/{}", "/v1/euiccs/{}/profiles", "/v1/euiccs/{}/events"):
            foreign, absent = [await client.get(path.format(eid)) for eid in (mine, missing)]
            assert foreign.status_code == absent.status_code == 404
            assert foreign.text.replace(mine, missing) == absent.text
        for path in ("/v1/operations/{}", "/v1/orders/{}"):
            absent_id = str(uuid4())
            foreign, absent = [await client.get(path.format(i)) for i in (operation, absent_id)]
            assert (foreign.status_code, foreign.text.replace(str(operation), absent_id)) == (404, absent.text)
        assert (await client.get("/v1/euiccs")).json()["items"] == []
        assert (await client.get("/v1/operations")).json()["items"] == []
        assert (await client.get("/v1/summary")).json()["euiccs"] == 0
        refused = await client.post("/v1/operations", json={"operation": "listProfileInfo", "eid": mine})
        assert refused.status_code == 422
        assert "not onboarded" in refused.text
        assert (await client.post(f"/v1/operations/{operation}:withdraw")).status_code == 404


async def test_an_eid_of_another_tenant_is_refused_in_the_same_words_as_ones_own(
    services: OperatorServices, database: Database
) -> None:
    tenant = await second_tenant(database)
    await onboard(database, [1])
    bodies = []
    for owner in (SETUP, Caller(tenant, "token:other", frozenset(Scope))):
        made = await services.tokens.create(owner, NewToken("t", TENANTS_OWN))
        async with client_of(operator_app(services), made.secret) as client:
            answer = await client.post("/v1/euiccs", json={"eid": eid_text(1)})
            bodies.append((answer.status_code, answer.text))
    assert bodies[0] == bodies[1]
    assert bodies[0][0] == 409


async def test_the_database_itself_shows_a_tenant_nothing_of_another(database: Database) -> None:
    await database.seed_identity()
    tenant = await second_tenant(database)
    await onboard(database, [1])
    await give_profiles(database, 1)
    counts = """SELECT (SELECT count(*) FROM euiccs), (SELECT count(*) FROM profiles),
                       (SELECT count(*) FROM operations),
                       (SELECT count(*) FROM events), (SELECT count(*) FROM audit), (SELECT count(*) FROM mailbox)"""
    async with database.pool(DbRole.OPERATOR).acquire() as db:
        for who, sees in ((None, 0), (tenant, 0), (TenantId(1), 1)):
            async with db.transaction():
                if who is not None:
                    await db.execute("SELECT set_config('eim.tenant', $1, true)", str(who))
                row = await db.fetchrow(counts)
                assert row is not None
                assert {bool(count) for count in row} == {bool(sees)}


async def test_a_token_is_kept_as_a_hash_and_shown_once(services: OperatorServices, database: Database) -> None:
    made = await services.tokens.create(SETUP, NewToken("kept", frozenset({Scope.ADMIN})))
    assert made.secret not in repr(made)
    row = await database.owner().fetchrow("SELECT t::text AS t FROM tokens t")
    assert row is not None
    assert made.secret not in row["t"]
    assert made.secret.removeprefix("eim_") not in row["t"]
    assert isinstance(services.tokens, Tokens)

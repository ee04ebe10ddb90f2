"""The status page, as a browser gets it."""

import base64
import hashlib
import re

import httpx2

from eim.services.tokens import SETUP, NewToken, Scope
from eim.store.connect import DbRole, transaction
from eim.store.unknown import Noted, note
from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import client_of, eid_of, eid_text, give_profiles, onboard, services_of


async def page(database: Database, scopes: frozenset[Scope], user: str = "me") -> httpx2.Response:
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("page", scopes))
    async with client_of(operator_app(services), None) as client:
        return await client.get("/", auth=httpx2.BasicAuth(user, made.secret))


async def test_a_browser_without_a_token_is_asked_for_one(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/", headers={"Authorization": ""})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_basic_credentials_open_the_page_and_nothing_else(database: Database) -> None:
    assert (await page(database, frozenset(Scope))).status_code == 200
    assert (await page(database, frozenset({Scope.ADMIN}))).status_code == 403
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("api", frozenset(Scope)))
    async with client_of(operator_app(services), None) as client:
        assert (await client.get("/v1/euiccs", auth=httpx2.BasicAuth("me", made.secret))).status_code == 401


async def test_the_page_shows_the_estate_and_escapes_what_cards_say(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, [1, 2])
    await give_profiles(database, 1)
    await database.owner().execute("UPDATE profiles SET service_provider = '<script>alert(1)</script>&\"'")
    text = (await page(database, frozenset(Scope))).text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;" in text
    assert "2 eUICCs" in text
    assert eid_text(1) in text
    assert "euicc.onboarded" in text
    assert "accepted" in text
    assert 'http-equiv="refresh"' in text


async def test_the_policy_allows_the_one_style_and_nothing_else(database: Database) -> None:
    answer = await page(database, frozenset(Scope))
    styles = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert len(styles) == 1
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "style=" not in answer.text
    assert "<script" not in answer.text
    assert "src=" not in answer.text


async def test_it_says_how_many_call_that_nobody_onboarded(database: Database) -> None:
    await database.seed_identity()
    scopes = frozenset({Scope.EUICCS_READ, Scope.OPERATIONS_READ})
    assert "nobody onboarded" not in (await page(database, scopes)).text
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await note(db, [Noted(eid_of(number), "192.0.2.0/24", 1) for number in range(37)])
    assert "37 EIDs call us and nobody onboarded them" in (await page(database, scopes)).text

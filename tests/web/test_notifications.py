"""/v1/notifications and /v1/smdps, and their commands: what operators see, retry, give up, allow."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

import eim
from eim.domain.ids import DEFAULT_TENANT, Iccid, TenantId, bucket_of
from eim.domain.notification import EXPLAINED, Reason
from eim.services.tokens import NewToken
from eim.store import notifications
from eim.store.connect import DbRole, transaction
from eim.store.notifications import Taken
from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import (
    TENANTS_OWN,
    caller_of,
    client_of,
    eid_of,
    eid_text,
    onboard,
    operator_client,
    second_tenant,
    services_of,
)

HELD = "UPDATE notifications SET state = 'held', reason = $2, host = $3 WHERE id = $1"


async def put(
    database: Database, number: int, seq: int, held: str | None = None, tenant: TenantId = DEFAULT_TENANT
) -> UUID:
    """A notification of card `number`; as the worker left it when it held it."""
    eid = eid_of(number)
    taken = Taken(
        bytes([seq]), b"\x30\x00", "otherSignedNotification", seq, "enable", "SMDP.example.com", Iccid(bytes(10))
    )
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        ident = await notifications.insert(db, bucket_of(eid), eid, tenant, taken)
    assert ident is not None
    if held:
        await database.owner().execute(HELD, ident, held, "smdp.example.com")
    return ident


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    async with operator_client(database) as made:
        await onboard(database, [1, 2])
        yield made


async def states(client: httpx2.AsyncClient, **query: str) -> list[object]:
    answer = await client.get("/v1/notifications", params=query)
    assert answer.status_code == 200, answer.text
    return [item["seq_number"] for item in answer.json()["items"]]


async def test_notifications_are_found_by_what_they_are(client: httpx2.AsyncClient, database: Database) -> None:
    for number, seq in ((1, 1), (1, 2), (2, 3)):
        await put(database, number, seq)
    held = await put(database, 2, 4, "not-allowed")
    assert await states(client) == [1, 2, 3, 4]
    assert await states(client, eid=eid_text(1)) == [1, 2]
    assert await states(client, state="held") == [4]
    assert await states(client, address="smdp.EXAMPLE.com:443") == [1, 2, 3, 4]
    assert await states(client, address="other.example.com") == []
    assert await states(client, event="delete") == []
    assert await states(client, iccid="0" * 20) == [1, 2, 3, 4]
    first = (await client.get("/v1/notifications", params={"limit": 3})).json()
    rest = (await client.get("/v1/notifications", params={"limit": 3, "cursor": first["next"]})).json()
    assert [item["seq_number"] for item in (*first["items"], *rest["items"])] == [1, 2, 3, 4]
    shown = (await client.get(f"/v1/notifications/{held}")).json()
    assert (shown["reason"], shown["octets"], shown["owner"]) == ("not-allowed", "3000", "you")
    assert "eim smdps add" in shown["next_step"]


async def test_allowing_an_smdp_lets_go_what_waited_for_it(client: httpx2.AsyncClient, database: Database) -> None:
    held, other = await put(database, 1, 1, "not-allowed"), await put(database, 1, 2, "signature-wrong")
    made = await client.post("/v1/smdps", json={"address": "SMDP.example.com:443", "networks": ["10.0.0.0/8"]})
    assert made.status_code == 201, made.text
    assert (made.json()["address"], made.json()["released"]) == ("smdp.example.com", 1)
    rows = {row["id"]: row["due_at"] for row in await database.owner().fetch("SELECT id, due_at FROM notifications")}
    assert rows[held] is not None
    assert rows[other] is None
    assert (await client.post("/v1/smdps", json={"address": "smdp.example.com"})).status_code == 409
    for wrong in ("https://smdp.example.com", "a/b", "user@host", "", "127.1"):
        assert (await client.post("/v1/smdps", json={"address": wrong})).status_code == 400, wrong
    assert (await client.post("/v1/smdps", json={"address": "x.com", "networks": ["x"]})).status_code == 400


async def test_an_smdp_is_changed_and_removed(client: httpx2.AsyncClient) -> None:
    made = await client.post("/v1/smdps", json={"address": "smdp.example.com:8443"})
    path = "/v1/smdps/smdp.example.com:8443"
    changed = await client.patch(
        path, json={"enabled": False, "roots": "web"}, headers={"If-Match": made.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    assert (changed.json()["enabled"], changed.json()["roots"], changed.json()["binding"]) == (False, "web", "json")
    stale = await client.patch(path, json={"enabled": True}, headers={"If-Match": made.headers["etag"]})
    assert stale.status_code == 412
    assert [s["address"] for s in (await client.get("/v1/smdps")).json()["items"]] == ["smdp.example.com:8443"]
    assert (await client.delete(path)).status_code == 200
    assert (await client.get(path)).status_code == 404


async def test_one_is_retried_or_given_up_and_that_is_audited(client: httpx2.AsyncClient, database: Database) -> None:
    ident = await put(database, 1, 1, "signature-wrong")
    retried = await client.post(f"/v1/notifications/{ident}:retry")
    assert (retried.status_code, retried.json()["reason"]) == (202, "asked")
    assert (await client.post(f"/v1/notifications/{ident}:give-up", json={})).status_code == 400
    ended = await client.post(f"/v1/notifications/{ident}:give-up", json={"reason": "the server is gone"})
    assert (ended.status_code, ended.json()["state"]) == (200, "given_up")
    assert ended.json()["settled_by"].endswith(": the server is gone")
    assert (await client.post(f"/v1/notifications/{ident}:retry")).status_code == 409
    actions = {row["action"] for row in await database.owner().fetch("SELECT action FROM audit")}
    assert {"notification.retry", "notification.give_up"} <= actions
    kinds = {row["kind"] for row in await database.owner().fetch("SELECT kind FROM events")}
    assert "notification.given_up" in kinds


async def test_another_tenant_sees_none_and_names_no_private_network(
    client: httpx2.AsyncClient, database: Database
) -> None:
    ident = await put(database, 1, 1, "not-allowed")
    services = services_of(database)
    stranger = caller_of(await second_tenant(database))
    made = await services.tokens.create(stranger, NewToken("test", TENANTS_OWN))
    async with client_of(operator_app(services), made.secret) as other:
        assert await states(other) == []
        assert (await other.get(f"/v1/notifications/{ident}")).status_code == 404
        refused = await other.post("/v1/smdps", json={"address": "x.example.com", "networks": ["10.0.0.0/8"]})
        assert refused.status_code == 403
        added = await other.post("/v1/smdps", json={"address": "smdp.example.com"})
        assert (added.status_code, added.json()["released"]) == (201, 0)


def test_every_reason_is_explained_in_the_documentation() -> None:
    page = (Path(eim.__file__).parents[2] / "docs/notifications.md").read_text(encoding="utf-8")
    for reason in Reason:
        if reason is not Reason.ASKED:
            said = EXPLAINED[reason]
            assert f"| `{reason.value}` | {said.means} | {said.owner} | {said.next_step} |" in page

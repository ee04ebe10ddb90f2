"""/v1/webhooks over HTTP: made, changed under an ETag, rotated, tested, replayed; its secret shown once."""

import json
import logging
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest

from tests.database import Database

URL = "https://hooks.example.com/a?token=in-the-path"


async def made(client: httpx2.AsyncClient, **fields: object) -> dict[str, object]:
    answer = await client.post("/v1/webhooks", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_a_webhook_is_made_read_listed_changed_and_removed(client: httpx2.AsyncClient) -> None:
    created = await made(client, types=["eim.operation.*"], tags=["north"], description="ours")
    webhook = created["webhook"]
    assert isinstance(webhook, dict)
    path = f"/v1/webhooks/{webhook['id']}"
    read = await client.get(path)
    assert read.json() == webhook
    assert read.headers["etag"] == '"1"'
    assert (await client.get("/v1/webhooks")).json()["items"] == [webhook]
    changed = await client.patch(path, json={"enabled": False, "tags": []}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json() | {"etag": "1", "enabled": True, "tags": ["north"]} == webhook
    stale = await client.patch(path, json={"enabled": True}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")
    assert (await client.delete(path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.delete(path, headers={"If-Match": '"2"'})).status_code == 200
    assert (await client.get(path)).status_code == 404


async def test_a_list_comes_in_pages(client: httpx2.AsyncClient) -> None:
    for _ in range(5):
        await made(client)
    found, cursor = [], ""
    while True:
        page = (await client.get(f"/v1/webhooks?limit=2{cursor}")).json()
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert len(set(found)) == len(found) == 5


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://a:b@example.com/",
        "https://0x7f.1/",
        "ftp://a/",
    ],
)
async def test_a_url_that_is_not_for_us_to_call_is_refused(client: httpx2.AsyncClient, url: str) -> None:
    assert (await client.post("/v1/webhooks", json={"url": url})).status_code == 400
    path = f"/v1/webhooks/{(await made(client))['webhook']['id']}"  # type: ignore[index] # a JSON object
    assert (await client.patch(path, json={"url": url})).status_code == 400


async def test_an_unknown_type_is_refused_by_its_name(client: httpx2.AsyncClient) -> None:
    for wrong in ("operation.done", "eim.operation.doen", "eim.nothing.*", "*"):
        refused = await client.post("/v1/webhooks", json={"url": URL, "types": [wrong]})
        assert refused.status_code == 400
        assert wrong in refused.json()["detail"]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_a_secret_is_shown_once_and_stands_nowhere_in_the_clear(
    client: httpx2.AsyncClient, database: Database, logged: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    key = str(uuid4())
    body = json.dumps({"url": URL})
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    first = (await client.post("/v1/webhooks", content=body, headers=headers)).json()
    again = (await client.post("/v1/webhooks", content=body, headers=headers)).json()
    assert again == first | {"secret": None}
    path = f"/v1/webhooks/{first['webhook']['id']}"
    rotated = (await client.post(f"{path}:rotate", json={})).json()
    assert rotated["secret"] != first["secret"]
    said = [(await client.get(path)).text, (await client.get("/v1/webhooks")).text]
    said += [(await client.get(f"{path}/dead-letters")).text, (await client.post(f"{path}:test")).text]
    for table in ("webhooks", "audit", "events", "requests_seen"):
        said += [row["t"] for row in await database.owner().fetch(f"SELECT t::text AS t FROM {table} t")]
    said += [logged.text, *capfd.readouterr()]
    secrets = [str(each["secret"]).removeprefix("whsec_") for each in (first, rotated)]
    assert all(len(secret) == 44 for secret in secrets)
    assert not [text for text in said for secret in secrets if secret in text]
    audited = await database.owner().fetchval("SELECT string_agg(data::text, '') FROM audit")
    assert "in-the-path" not in audited


async def test_a_replay_names_exactly_one_thing(client: httpx2.AsyncClient) -> None:
    path = f"/v1/webhooks/{(await made(client))['webhook']['id']}"  # type: ignore[index] # a JSON object
    assert (await client.post(f"{path}:replay", json={})).status_code == 400
    both = {"since": "2026-11-22T00:00:00Z", "dead_letters": True}
    assert (await client.post(f"{path}:replay", json=both)).status_code == 400
    assert (await client.post(f"{path}:replay", json={"dead_letters": True})).json() == {"dead_letters": 0}
    since = await client.post(f"{path}:replay", json={"since": "2026-11-22T00:00:00Z"})
    assert (since.status_code, since.json()) == (202, {"dead_letters": None})


async def test_a_webhook_that_is_off_is_not_tested(client: httpx2.AsyncClient) -> None:
    path = f"/v1/webhooks/{(await made(client))['webhook']['id']}"  # type: ignore[index] # a JSON object
    assert (await client.post(f"{path}:test")).status_code == 202
    await client.patch(path, json={"enabled": False})
    assert (await client.post(f"{path}:test")).status_code == 409


async def test_a_tenant_has_a_bounded_number_of_them(client: httpx2.AsyncClient) -> None:
    for _ in range(50):
        await made(client)
    assert (await client.post("/v1/webhooks", json={"url": URL})).status_code == 409

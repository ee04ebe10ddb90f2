"""/v1/events: pages with a place to go on from, and a stream that goes on where it was cut off."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import msgspec
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from eim.api_events import EventQuery
from eim.client import Client, ServerRefused
from eim.domain.event import CloudEvent
from eim.domain.ids import DEFAULT_TENANT, TenantId
from eim.services.streams import EventReader
from eim.services.tokens import SETUP, Caller, NewToken, Scope
from eim.store import events
from eim.store.connect import DbRole, transaction
from eim.store.events import Wanted
from eim.web.operator import OperatorServices, operator_app
from tests.database import Database
from tests.operator_side import (
    TENANTS_OWN,
    caller_of,
    client_of,
    eid_of,
    eid_text,
    onboard,
    second_tenant,
    services_of,
)
from tests.post_office import event_of

pytestmark = pytest.mark.made_up_events

STREAM = {"Accept": "text/event-stream"}


async def happen(database: Database, number: int, n: int, tenant: TenantId = DEFAULT_TENANT) -> None:
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await events.append(db, tenant, [event_of(eid_of(number), n)])


def numbers(page: httpx2.Response) -> list[int]:
    return [event["data"]["n"] for event in page.json()["items"]]


async def test_pages_go_on_where_the_one_before_ended_also_later(
    client: httpx2.AsyncClient, database: Database
) -> None:
    for n in range(5):
        await happen(database, 1, n)
    first = await client.get("/v1/events?limit=2")
    second = await client.get(f"/v1/events?limit=10&cursor={first.json()['next']}")
    assert (numbers(first), numbers(second), second.json()["next"]) == ([0, 1], [2, 3, 4], None)
    await happen(database, 1, 5)
    third = await client.get(f"/v1/events?cursor={second.json()['place']}")
    assert numbers(third) == [5]
    assert third.json()["items"][0]["specversion"] == "1.0"


async def test_filters_narrow_down(client: httpx2.AsyncClient, database: Database) -> None:
    await onboard(database, [1, 2])
    for number in (1, 2):
        await happen(database, number, number)
    done = "type=eim.operation.done"
    assert numbers(await client.get(f"/v1/events?{done}")) == [1, 2]
    assert numbers(await client.get(f"/v1/events?{done}&eid={eid_text(1)}")) == [1]
    assert numbers(await client.get(f"/v1/events?{done}&tag=even")) == [2]
    assert numbers(await client.get(f"/v1/events?{done}&since=2100-01-01T00:00:00Z")) == []
    both = (await client.get("/v1/events?type=eim.euicc.*,eim.operation.failed")).json()["items"]
    assert {each["type"] for each in both} == {"eim.euicc.onboarded"}
    for wrong in ("type=eim.x", "cursor=x", "eid=1", "cursor=-1", "since=x"):
        assert (await client.get(f"/v1/events?{wrong}")).status_code == 400


async def test_a_look_for_a_tag_ends_after_a_window_and_goes_on_until_all_are_found(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, [1, 2])
    for n in range(1, 8):
        await happen(database, 2 if n in (1, 7) else 1, n)
    reader = EventReader(database.pool(DbRole.OPERATOR), window=3)
    place, found, looks = 0, list[CloudEvent](), 0
    while True:
        batch = await reader.page(caller_of(), Wanted(("operation.done",), tag="even"), place, 100)
        found += [event for _, event in batch.events]
        assert batch.place - place <= 3
        place, looks = batch.place, looks + 1
        if batch.whole:
            break
    assert [event.data["n"] for event in found] == [1, 7]
    assert looks == 3


async def test_another_tenants_events_are_not_seen(database: Database) -> None:
    await database.seed_identity()
    services, tenant = services_of(database), await second_tenant(database)
    await happen(database, 1, 1)
    await happen(database, 2, 2, tenant)
    other = Caller(tenant, "token:other", TENANTS_OWN)
    secret = (await services.tokens.create(other, NewToken("other", TENANTS_OWN))).secret
    async with client_of(operator_app(services), secret) as client:
        assert numbers(await client.get("/v1/events")) == [2]


@pytest.fixture
async def streaming(database: Database) -> AsyncIterator[tuple[httpx2.AsyncClient, OperatorServices]]:
    """A client over a socket: an answer without end needs one."""
    await database.seed_identity()
    services = msgspec.structs.replace(
        services_of(database), events=EventReader(database.pool(DbRole.OPERATOR), most_streams=2)
    )
    secret = (await services.tokens.create(SETUP, NewToken("follower", frozenset(Scope)))).secret
    listener, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    config = Config()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config.bind, config.errorlog, config.graceful_timeout = [f"fd://{listener.detach()}"], None, 0.1

    async def stopped() -> None:
        await stop.wait()

    serving = asyncio.create_task(serve(operator_app(services), config, shutdown_trigger=stopped))  # type: ignore[arg-type] # Starlette is an ASGI application
    async with httpx2.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {secret}"}, timeout=10) as client:
        yield client, services
    stop.set()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def heard(response: httpx2.Response, many: int) -> tuple[list[int], str]:
    """The numbers of the next events, and the id of the last."""
    found: list[int] = []
    place = ""
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            place = line[4:]
        elif line.startswith("data: "):
            found.append(msgspec.json.decode(line[6:])["data"]["n"])
        if len(found) == many and not line:
            break
    return found, place


async def test_a_stream_goes_on_where_it_was_cut_off(
    streaming: tuple[httpx2.AsyncClient, OperatorServices], database: Database
) -> None:
    client, _ = streaming
    await happen(database, 1, 0)
    async with client.stream("GET", "/v1/events?type=eim.operation.*", headers=STREAM) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in response.headers
        for n in (1, 2, 3):
            await happen(database, 1, n)
        assert (await heard(response, 2))[0] == [1, 2]
        place = "2"
    await happen(database, 1, 4)
    place = (await client.get("/v1/events?limit=3")).json()["next"]
    async with client.stream("GET", "/v1/events", headers=STREAM | {"Last-Event-ID": place}) as response:
        again, last = await heard(response, 2)
    assert again == [3, 4]
    async with client.stream("GET", "/v1/events", headers=STREAM | {"Last-Event-ID": last}) as response:
        await happen(database, 1, 5)
        assert (await heard(response, 1))[0] == [5]


async def test_a_process_serves_a_bounded_number_of_streams_and_frees_those_that_end(
    streaming: tuple[httpx2.AsyncClient, OperatorServices],
) -> None:
    client, _ = streaming
    async with (
        client.stream("GET", "/v1/events", headers=STREAM) as first,
        client.stream("GET", "/v1/events", headers=STREAM) as second,
    ):
        lines = first.aiter_lines(), second.aiter_lines()
        for each in lines:
            await anext(each)
        refused = await client.get("/v1/events", headers=STREAM)
        assert (refused.status_code, refused.json()["code"]) == (503, "too-many-streams")
        assert (await client.get("/v1/events")).status_code == 200
    for _ in range(50):
        async with client.stream("GET", "/v1/events", headers=STREAM) as response:
            if response.status_code == 200:
                return
        await asyncio.sleep(0.1)
    pytest.fail("the streams that ended are never free again")


async def test_a_stream_ends_with_its_token(
    streaming: tuple[httpx2.AsyncClient, OperatorServices], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, services = streaming
    monkeypatch.setattr("eim.web.events._HEARTBEAT_S", 0.5)
    made = await services.tokens.create(SETUP, NewToken("short", frozenset({Scope.EVENTS_READ})))
    headers = STREAM | {"Authorization": f"Bearer {made.secret}"}
    async with client.stream("GET", "/v1/events", headers=headers) as response:
        lines = response.aiter_lines()
        while not (await anext(lines)).startswith(": still here"):
            pass
        await services.tokens.revoke(SETUP, made.id)
        rest = [line async for line in lines]
    assert ": unauthenticated" in rest


async def test_the_client_follows_and_connects_again_where_it_was_cut_off(
    streaming: tuple[httpx2.AsyncClient, OperatorServices], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, services = streaming
    monkeypatch.setattr("eim.client._RECONNECT_S", 0.05)
    monkeypatch.setattr("eim.web.events._HEARTBEAT_S", 0.5)
    made = await services.tokens.create(SETUP, NewToken("follower", frozenset({Scope.EVENTS_READ})))
    found = []
    async with Client(str(client.base_url), str(made.secret)) as following:
        stream = following.follow_events(EventQuery(since=datetime.now(UTC) - timedelta(hours=1)))
        for n in range(3):
            await happen(database, 1, n)
            found.append((await anext(stream)).data["n"])
        await services.tokens.revoke(SETUP, made.id)
        with pytest.raises(ServerRefused):
            await anext(stream)
    assert found == [0, 1, 2]


async def test_a_stream_asked_for_with_a_wrong_place_or_filter_is_refused(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/events", headers=STREAM | {"Last-Event-ID": "x"})).status_code == 400
    assert (await client.get("/v1/events?type=eim.x", headers=STREAM)).status_code == 400

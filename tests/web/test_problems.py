"""What goes wrong, as the caller sees it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from eim.services.tokens import SETUP, NewToken, Scope
from eim.store.connect import DbRole, open_pool
from eim.web.endpoints import Limits
from eim.web.operator import Ports, operator_app, services_on
from tests.database import Database
from tests.operator_side import DATA_KEY, client_of, eid_text, no_roots, now, services_of


def assert_problem(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"urn:eim:problem:{code}")
    assert problem["detail"]


async def test_an_unknown_path_is_a_problem(client: httpx2.AsyncClient) -> None:
    for path in ("/v2/euiccs", "/v1", "/v1/euiccs/", "/v1/euiccs/1/2/3", "/%2e%2e/etc/passwd"):
        assert_problem(await client.get(path), 404, "not-found")


async def test_a_wrong_method_names_the_right_ones(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/v1/euiccs")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert_problem(await client.post("/healthz"), 405, "method-not-allowed")


async def test_a_body_of_another_type_is_refused(client: httpx2.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        answer = await client.post("/v1/euiccs", content=b'{"eid": "1"}', headers={"Content-Type": kind})
        assert_problem(answer, 415, "unsupported-media-type")
    fine = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/v1/euiccs", content=f'{{"eid": "{eid_text(1)}"}}', headers=fine)).status_code == 201


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"eid":' + b"[" * 100_000, "$.eid"),
        (b"[]", "not what this call takes"),
        (b'{"eid": 7}', "$.eid"),
        (b"{}", "eid"),
        (b'{"eid": "1", "colour": "red"}', "no field 'colour'"),
        (b'{"eid": "1", "tags": ["a\\u0000"]}', "$.tags"),
        (b'{"eid": "1", "label": "\\u0000"}', "$.label"),
        (b'{"eid": "1", "label": ""}', "$.label"),
        (b'{"eid": "1", "counter": 8388608}', "$.counter"),
        (b'{"eid": "1", "counter": 1e400}', "$.counter"),
        (b'{"eid": "1", "association_token": -1}', "$.association_token"),
        (b'{"eid": "1", "association_token": 9223372036854775808}', "$.association_token"),
        (b'{"eid": "\\ud800"}', "JSON"),
    ],
)
async def test_a_body_that_can_not_be_meant_is_refused_in_clear_words(
    client: httpx2.AsyncClient, body: bytes, says: str
) -> None:
    answer = await client.post("/v1/euiccs", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "invalid-request")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    ["colour=red", "limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "tag=%00", "introduced=maybe", "tag="],
)
async def test_a_query_that_can_not_be_meant_is_refused(client: httpx2.AsyncClient, query: str) -> None:
    assert_problem(await client.get(f"/v1/euiccs?{query}"), 400, "invalid-request")


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "a\tb"])
async def test_a_key_that_is_none_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/euiccs", json={"eid": eid_text(1)}, headers={"Idempotency-Key": key})
    assert_problem(answer, 400, "invalid-request")


async def test_a_body_beyond_the_limit_is_refused_announced_or_not(database: Database) -> None:
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("t", frozenset(Scope)))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 1000

    async with client_of(operator_app(services, Limits(body=100_000)), made.secret) as client:
        headers = {"Content-Type": "application/json"}
        announced = await client.post("/v1/euiccs", content=b" " * 100_001, headers=headers)
        assert_problem(announced, 413, "body-too-large")
        assert_problem(await client.post("/v1/euiccs", content=parts(), headers=headers), 413, "body-too-large")


async def test_a_lost_database_is_503_without_names_or_addresses(database: Database) -> None:
    made = await services_of(database).tokens.create(SETUP, NewToken("t", frozenset(Scope)))
    async with cable(database.dsn(DbRole.OPERATOR)) as (dsn, cut):
        pool = await open_pool(dsn, DbRole.OPERATOR, database.schema, size=1)

        async def unready() -> tuple[str, ...]:
            return ("the database can't be reached",)

        lost = services_on(pool, Ports(no_roots, unready, DATA_KEY, now))
        async with client_of(operator_app(lost), made.secret) as client:
            assert (await client.get("/v1/euiccs")).status_code == 200
            cut()
            for _ in range(2):  # a connection that breaks, and one that can't be made
                answer = await client.get("/v1/euiccs")
                assert_problem(answer, 503, "database-unavailable")
                assert int(answer.headers["retry-after"]) > 0
                assert not re.search(r"\d+\.\d+|postgres|localhost|eim_operator|refused", answer.text)
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200
        pool.terminate()


async def test_answers_are_never_cached_or_sniffed(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/summary")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_who_is_ready_says_so(client: httpx2.AsyncClient) -> None:
    assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]


@asynccontextmanager
async def cable(dsn: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The database of `dsn` through a connection of our own, and what cuts it for good."""
    parts = urlsplit(dsn)
    socket = socket_in(parse_qs(parts.query)["host"][0])
    writers: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while octets := await source.read(65_536):
            sink.write(octets)

    async def join(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_unix_connection(socket)
        writers.extend((back, forth))
        await asyncio.gather(pump(near, forth), pump(far, back), return_exceptions=True)

    server = await asyncio.start_server(join, "127.0.0.1", 0)

    def cut() -> None:
        server.close()
        for writer in writers:
            writer.transport.abort()

    login = parts.netloc.rpartition("@")[0]
    port = server.sockets[0].getsockname()[1]
    try:
        yield parts._replace(netloc=f"{login}@127.0.0.1:{port}", query="").geturl(), cut
    finally:
        cut()


def socket_in(folder: str) -> Path:
    return next(Path(folder).glob(".s.PGSQL.*[0-9]"))

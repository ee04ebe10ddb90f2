"""Our own door and Hypercorn with Starlette on one database: the same requests get the same octets."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from eim.domain.ids import Eid, bucket_of
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import CI, numbered
from tests.esipa.client import MEDIA_TYPE, PATH, Connection
from tests.esipa.server import Served, configure, logins, serving_device

POLL: Final = numbered(2, "request")
OTHER: Final = bytes.fromhex("BF4F125A1089001012012341234012345678901224")
DATE: Final = re.compile(rb"date: [^\r]*\r\n")


def request(
    body: bytes, *lines: str, method: str = "POST", path: str = PATH, media_type: str | None = MEDIA_TYPE
) -> bytes:
    given = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    given += [f"Content-Type: {media_type}"] if media_type else []
    given += [f"Content-Length: {len(body)}", *lines]
    return "\r\n".join((*given, "", "")).encode() + body


# Each alone on a connection that both servers are asked to close after it.
CORPUS: Final = {
    "a poll that finds a package": request(POLL),
    "a poll of nobody": request(OTHER),
    "a poll with its version": request(OTHER, "X-Admin-Protocol: gsma/rsp/v1.3.0"),
    "a poll with a strange version": request(OTHER, "X-Admin-Protocol: 17"),
    "a poll with blanks": request(OTHER, "X-Admin-Protocol:   gsma/rsp/v2.4.0  ", "User-Agent: gsma-rsp-ipad;x"),
    "a mistyped EID": request(POLL[:-1] + b"\x00"),
    "a poll without an EID": request(bytes.fromhex("BF4F00")),
    "no media type": request(OTHER, media_type=None),
    "parameters": request(OTHER, media_type=f"{MEDIA_TYPE} ; charset=UTF-8"),
    "another media type": request(OTHER, media_type="application/json"),
    "an empty media type": request(OTHER, media_type=""),
    "JSON": request(b'{"eidValue": ""}'),
    "garbage": request(b"\x30\x03"),
    "nothing": request(b""),
    "an unknown result": request(bytes.fromhex("BF50035A0100")),
    "a download": request(bytes.fromhex("BF410B800400112233A103810105")),
    "too much": request(b"", method="POST").replace(b"Content-Length: 0", b"Content-Length: 1048576"),
    "a chunked poll": request(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    + b"15\r\n"
    + OTHER
    + b"\r\n0\r\n\r\n",
    "GET": request(b"", method="GET"),
    "DELETE": request(b"", method="DELETE"),
    "another path": request(b"", path="/gsma/rsp2/es9plus/handleNotification"),
    "a path of the operator's": request(b"", method="GET", path="/v1/euiccs"),
    "a query": request(OTHER, path=f"{PATH}?x=1"),
    "health": request(b"", method="GET", path="/healthz", media_type=None),
    "readiness": request(b"", method="GET", path="/readyz", media_type=None),
}


@pytest.fixture
async def both(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Served, Served]]:
    roots = {"TRUST_ROOTS": str(CI)} if CI.exists() else {}
    async with AsyncExitStack() as stack:
        doors = [
            await stack.enter_async_context(
                serving_device(
                    configure(tmp_path, logins(database), DEVICE_DOOR=kind, DEVICE_REMEMBER_ABOVE="0", **roots),
                    database.owner(),
                )
            )
            for kind in ("own", "hypercorn")
        ]
        yield doors[0], doors[1]


async def test_both_servers_answer_the_same_octets(both: tuple[Served, Served]) -> None:
    await both[0].seed(captured.seed(captured.out(numbered(7, "response"))))
    different = {}
    for name, asked in CORPUS.items():
        closing = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        own, hypercorn = [await answered(served, closing) for served in both]
        if own != hypercorn:
            different[name] = (own, hypercorn)
    assert different == {}


_ONBOARD: Final = """
    WITH card AS (
        INSERT INTO euiccs (bucket, eid, tenant, identity, counter, speaks, introduced_at, last_seen_at)
        VALUES ($1, $2, 1, 1, 0, '1.2', now(), now()) RETURNING bucket, eid, tenant
    )
    INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, tenant FROM card
"""


async def test_a_poll_answered_from_memory_hears_the_same_octets_as_from_the_other_server(
    both: tuple[Served, Served],
) -> None:
    """From memory: nobody can read the packages meanwhile."""
    eid, asked = Eid(OTHER[5:]), request(OTHER, "X-Admin-Protocol: gsma/rsp/v1.3.0")
    await both[0].owner.execute(_ONBOARD, bucket_of(eid), eid)
    async with both[1].door.connect() as connection:
        expected = await one_more(connection, asked)
    async with asyncio.timeout(20), both[0].door.connect() as connection:
        while (heard := await one_while_locked(both[0], connection, asked)) is None:
            await one_more(connection, asked)
    assert heard == expected


async def one_more(connection: Connection, asked: bytes) -> bytes:
    await connection.write(asked)
    return await one_answer(connection)


async def one_answer(connection: Connection) -> bytes:
    head = await connection.reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    return DATE.sub(b"", head) + await connection.reader.readexactly(int(length[1]))


async def one_while_locked(served: Served, connection: Connection, asked: bytes) -> bytes | None:
    """None when the answer did not come before the packages could be read again."""
    async with served.owner.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE operations, packages")
        await connection.write(asked)
        answer = asyncio.create_task(one_answer(connection))
        await asyncio.wait([answer], timeout=0.3)
        in_time = answer.done()
    octets = await answer
    return octets if in_time else None


async def answered(served: Served, asked: bytes) -> bytes:
    async with asyncio.timeout(10), served.door.connect() as connection:
        await connection.write(asked)
        return DATE.sub(b"", await connection.rest())


SMUGGLED: Final = {
    "a length beside chunks": request(OTHER, "Transfer-Encoding: chunked"),
    "chunks beside a length": request(b"0\r\n\r\n", "Transfer-Encoding: chunked"),
    "two lengths": request(OTHER, "Content-Length: 21"),
    "a list of lengths": request(OTHER).replace(b"Content-Length: 21", b"Content-Length: 21, 21"),
    "a signed length": request(OTHER).replace(b"Content-Length: 21", b"Content-Length: +21"),
    "a folded line": request(OTHER, "X: a\r\n b"),
    "line feeds alone": request(OTHER).replace(b"\r\n", b"\n", 3),
    "one line feed alone": request(OTHER).replace(b"localhost\r\n", b"localhost\n"),
    "a carriage return alone": request(OTHER, "X: a\rb"),
    "a NUL": request(OTHER, "X: a\x00b"),
    "a blank before the colon": request(OTHER).replace(b"Content-Length:", b"Content-Length :"),
    "the absolute form": request(OTHER, path=f"http://localhost{PATH}"),
    "no host": request(OTHER).replace(b"Host: localhost\r\n", b""),
    "two hosts": request(OTHER, "Host: other"),
    "chunk extensions": request(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    + b"15;x=y\r\n"
    + OTHER
    + b"\r\n0\r\n\r\n",
    "another coding": request(b"", "Transfer-Encoding: gzip, chunked").replace(b"Content-Length: 0\r\n", b""),
    "an unknown expectation": request(OTHER, "Expect: wonders"),
    "100 KB of headers": request(OTHER, f"X: {'a' * 100_000}"),
    "10,000 headers": request(OTHER, *(f"X{n}: 1" for n in range(10_000))),
    "HTTP/1.2": request(OTHER).replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade": request(OTHER, "Upgrade: h2c", "Connection: Upgrade"),
    "a tunnel": b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_two_readers_could_differ_about_is_refused_and_nothing_behind_it_is_served(
    served: Served, name: str
) -> None:
    """Reliability 35."""
    answer = await answered(served, SMUGGLED[name] + request(OTHER))
    assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5"), answer
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert b"Connection: close" in answer


async def test_a_body_is_asked_for_when_its_sender_expects_that(served: Served) -> None:
    async with served.door.connect() as connection:
        head, body = request(OTHER, "Expect: 100-continue", "Connection: close")[:-21], OTHER
        await connection.write(head)
        assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        await connection.write(body)
        assert (await connection.rest()).startswith(b"HTTP/1.1 200 ")


async def test_a_hundred_requests_at_once_on_one_connection_are_answered_in_order(served: Served) -> None:
    async with served.door.connect() as connection:
        paths = ["/healthz" if number % 3 else "/nowhere" for number in range(100)]
        asked = [request(b"", method="GET", path=path, media_type=None) for path in paths]
        asked[-1] = asked[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        await connection.write(b"".join(asked))
        answer = await connection.rest()
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
    assert statuses == [b"200" if number % 3 else b"404" for number in range(100)]


async def test_one_connection_too_many_is_closed_and_the_others_go_on(database: Database, tmp_path: Path) -> None:
    config = configure(tmp_path, logins(database), DEVICE_CONNECTIONS="3")
    async with serving_device(config, database.owner()) as served, AsyncExitStack() as stack:
        kept = [await stack.enter_async_context(served.door.connect()) for _ in range(3)]
        assert await answered(served, request(OTHER)) == b""
        for connection in kept:
            assert (await connection.post(OTHER)).status == 200

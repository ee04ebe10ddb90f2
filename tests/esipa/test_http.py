"""ESipa over real HTTPS: what IPAs get wrong without harm, and what nobody gets away with."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Final

import pytest

from eim.domain.ids import Eid
from eim.services.seeding import Seed
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import numbered
from tests.esipa.client import MEDIA_TYPE, PATH
from tests.esipa.server import Served, configure, logins, serving_device

POLL: Final = numbered(2, "request")
NOTHING: Final = bytes.fromhex("BF4F03020101")
MEBIBYTE: Final = 1 << 20


@pytest.mark.parametrize(
    ("asked", "echoed"),
    [
        ("gsma/rsp/v2.1.0", "gsma/rsp/v2.1.0"),
        ("gsma/rsp/v1.0.0", "gsma/rsp/v1.0.0"),
        ("gsma/rsp/v2.4.0", "gsma/rsp/v2.4.0"),
        ("gsma/rsp/v1.3.0", "gsma/rsp/v1.3.0"),
        ("something else", "gsma/rsp/v2.1.0"),
        ("", "gsma/rsp/v2.1.0"),
        (None, "gsma/rsp/v2.1.0"),
    ],
)
async def test_any_protocol_version_is_served_and_a_well_formed_one_echoed(
    served: Served, asked: str | None, echoed: str
) -> None:
    """Reliability 81."""
    answer = await served.door.post(POLL, {"X-Admin-Protocol": asked})
    assert (answer.status, answer.body) == (200, NOTHING)
    assert answer.headers["x-admin-protocol"] == echoed
    assert answer.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize(
    "media_type",
    [
        MEDIA_TYPE,
        f"{MEDIA_TYPE};charset=utf-8",
        f"{MEDIA_TYPE} ; charset=UTF-8; version=1",
        "Application/X-GSMA-RSP-ASN1",
        None,
    ],
)
async def test_parameters_case_and_a_missing_media_type_hinder_nothing(served: Served, media_type: str | None) -> None:
    """Reliability 81."""
    headers = {"Content-Type": media_type, "Accept": f"application/json, {MEDIA_TYPE}", "User-Agent": "curl/8"}
    assert (await served.door.post(POLL, headers)).body == NOTHING


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/octet-stream", "x", ""])
async def test_what_is_clearly_something_else_is_told_so(served: Served, media_type: str) -> None:
    answer = await served.door.post(POLL, {"Content-Type": media_type})
    assert answer.status == 415
    assert answer.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"


async def test_json_under_the_media_type_of_asn1_is_told_so(served: Served) -> None:
    answer = await served.door.post(b'{"eidValue": "89049032123451234512345678901235"}')
    assert (answer.status, answer.headers["x-admin-protocol"]) == (415, "gsma/rsp/v2.1.0")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", PATH, 405),
        ("PUT", PATH, 405),
        ("POST", "/gsma/rsp2/es9plus/handleNotification", 404),
        ("POST", "/", 404),
        ("GET", "/v1/euiccs", 404),
        ("POST", f"{PATH}/", 404),
    ],
)
async def test_what_fails_before_dispatch_carries_the_protocol_version_too(
    served: Served, method: str, path: str, status: int
) -> None:
    async with served.door.connect() as connection:
        answer = await connection.ask(method, path, POLL if method == "POST" else b"")
        assert answer.status == status
        assert answer.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"


async def test_an_announced_body_that_is_too_large_is_refused_before_it_comes(served: Served) -> None:
    async with served.door.connect() as connection:
        await connection.write(head(f"Content-Length: {MEBIBYTE}"))
        answer = await connection.rest()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"x-admin-protocol" in answer.lower()


async def test_a_chunked_body_that_is_too_large_is_refused_at_the_limit(served: Served) -> None:
    async with served.door.connect() as connection:
        await connection.write(head("Transfer-Encoding: chunked"))
        for _ in range(9):
            await connection.write(b"2000\r\n" + bytes(0x2000) + b"\r\n")
        answer = await connection.rest()
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_chunked_body_of_a_sound_size_is_served(served: Served) -> None:
    async with served.door.connect() as connection:
        await connection.write(head("Transfer-Encoding: chunked", "Connection: close"))
        for octet in POLL:
            await connection.write(b"1\r\n" + bytes([octet]) + b"\r\n")
        await connection.write(b"0\r\n\r\n")
        answer = await connection.rest()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert NOTHING in answer


GARBAGE: Final = {
    "nothing": b"",
    "zeros": bytes(100),
    "text": b"hello, eIM",
    "all ones": b"\xff" * 500,
    "a request for a certificate": bytes.fromhex("3082010A") + bytes(20),
    "an answer of an eIM": NOTHING + b"\x00",
    "64 KB of nesting": b"\x30\x80" * 32_000,
    "a length bomb": bytes.fromhex("BF5084FFFFFFFF") + bytes(10),
    "eight octets of length": bytes.fromhex("BF5088FFFFFFFFFFFFFFFF"),
    "a huge tag": bytes.fromhex("1FFFFFFFFF7F0100"),
    "indefinite length": bytes.fromhex("BF4F805A10") + captured.EID + bytes(2),
    "a poll with octets behind it": POLL + b"\x00",
    "a poll cut short": POLL[:-1],
    "xml": b"<?xml version='1.0'?><!DOCTYPE x>",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_is_answered_400_and_hears_nothing_of_our_insides(served: Served, name: str) -> None:
    """Reliability 27, 28, 29, 73, 82."""
    async with served.door.connect() as connection:
        started = time.perf_counter()
        answer = await connection.post(GARBAGE[name])
        assert time.perf_counter() - started < 2
        assert answer.status == 400
        assert answer.body == b"this is no ESipa message\n"
        assert (await connection.post(POLL)).body == NOTHING


async def test_only_http_1_1_is_offered(served: Served) -> None:
    async with served.door.connect(alpn=["h2", "http/1.1"]) as connection:
        assert connection.alpn == "http/1.1"
        assert (await connection.post(POLL)).status == 200


async def test_one_connection_serves_poll_after_poll(served: Served) -> None:
    async with served.door.connect() as connection:
        for _ in range(50):
            answer = await connection.post(POLL)
            assert "close" not in answer.headers.get("connection", "")
            assert connection.usable
        assert (await connection.post(b"garbage")).status == 400
        assert (await connection.post(POLL)).body == NOTHING


async def test_requests_sent_without_waiting_are_answered_in_their_order(served: Served) -> None:
    await served.seed(captured.seed(captured.out(numbered(7, "response"))))
    unknown = POLL[:-2] + b"\x12\x00"
    async with served.door.connect() as connection:
        lines = [
            head(f"Content-Length: {len(body)}", *more) + body
            for body, *more in ((POLL,), (unknown,), (POLL, "Connection: close"))
        ]
        await connection.write(b"".join(lines))
        answer = await connection.rest()
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.count(numbered(7, "response")) == 2


async def test_an_eid_whose_check_digits_are_wrong_is_invalid_and_never_becomes_a_device(served: Served) -> None:
    """Reliability 79."""
    mistyped = POLL[:-1] + bytes([POLL[-1] ^ 1])
    answer = await served.door.post(mistyped)
    assert answer.body == bytes.fromhex("BF4F03020103")
    assert await served.rows("SELECT eid FROM euiccs") == []


async def test_test_equipment_with_wrong_check_digits_is_served_once_it_is_seeded(served: Served) -> None:
    made_up = Eid(captured.EID[:-1] + b"\x36")
    await served.seed(Seed(made_up))
    assert (await served.door.post(POLL[:-16] + made_up)).body == NOTHING


async def test_eid_not_found_is_said_where_that_is_configured(database: Database, tmp_path: Path) -> None:
    config = configure(tmp_path, logins(database), DEVICE_UNKNOWN_EID="eidNotFound")
    async with serving_device(config, database.owner()) as served:
        assert (await served.door.post(POLL)).body == bytes.fromhex("BF4F03020102")
        named = wrapped(b"\x5a\x10" + captured.EID + numbered(39, "request")[3:])
        assert (await served.door.post(named)).body == bytes.fromhex("BF5003020102")


async def test_a_result_of_an_unknown_eid_is_kept_and_not_acknowledged(served: Served) -> None:
    result = numbered(6, "request")
    named = wrapped(b"\x5a\x10" + captured.EID + result[4:])
    answer = await served.door.post(named)
    assert (answer.status, answer.body) == (200, bytes.fromhex("BF50023000"))  # no sequence number in it
    assert (await served.door.post(named)).body == answer.body
    (stray,) = await served.rows("SELECT octets FROM strays")
    assert stray["octets"] == named
    assert await served.rows("SELECT * FROM results") == []


async def test_strays_are_bounded_and_the_oldest_make_room(database: Database, tmp_path: Path) -> None:
    config = configure(tmp_path, logins(database), DEVICE_STRAYS_LIMIT="5")
    async with serving_device(config, database.owner()) as served, served.door.connect() as connection:
        for number in range(9):
            stray = wrapped(b"\x5a\x10" + captured.EID[:-1] + bytes([number]) + numbered(39, "request")[3:])
            assert (await connection.post(stray)).status == 200
        kept = await served.rows("SELECT octets FROM strays ORDER BY received_at")
    assert [bytes(row["octets"])[20] for row in kept] == [4, 5, 6, 7, 8]  # type: ignore[call-overload]


async def test_a_package_is_signed_by_64_octets_over_https(served: Served) -> None:
    """Reliability 80, for a package of our own see the first visits of old devices."""
    await served.seed(captured.seed(captured.out(numbered(7, "response"))))
    answer = await served.door.post(POLL)
    assert answer.body[-67:-64] == bytes.fromhex("5F3740")


async def test_the_same_result_on_eight_connections_at_once_has_one_effect(served: Served) -> None:
    """Reliability 6, 69."""
    await served.seed(captured.seed(captured.out(numbered(7, "response"))))
    answers = await asyncio.gather(*(served.door.post(numbered(8, "request")) for _ in range(8)))
    assert {(a.status, a.body) for a in answers} == {(200, answers[0].body)}
    assert len(answers[0].body) > 6
    assert len(await served.rows("SELECT * FROM results")) == 1
    assert len(await served.rows("SELECT * FROM events WHERE kind = 'operation.done'")) == 1


async def test_health_and_readiness_are_asked_without_a_device(served: Served) -> None:
    async with served.door.connect() as connection:
        for path in ("/healthz", "/readyz"):
            assert (await connection.ask("GET", path)).status == 200


@pytest.fixture
async def impatient(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """A server whose every deadline is one second."""
    deadlines = dict.fromkeys(("DEVICE_REQUEST_DEADLINE", "DEVICE_HANDSHAKE_DEADLINE", "DEVICE_KEEP_ALIVE"), "1")
    async with serving_device(configure(tmp_path, logins(database), **deadlines), database.owner()) as running:
        yield running


async def test_an_unfinished_body_is_dropped_at_its_deadline(impatient: Served) -> None:
    """Reliability 74."""
    async with impatient.door.connect() as connection:
        await connection.write(head("Content-Length: 21") + POLL[:20])
        started = time.monotonic()
        answer = await connection.rest()
        assert 0.5 < time.monotonic() - started < 5
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_trickles_is_dropped_at_its_deadline(impatient: Served) -> None:
    """Reliability 55, 74: the deadline is the whole body's, not each octet's."""
    async with impatient.door.connect() as connection:
        await connection.write(head("Content-Length: 1000"))
        assert await trickled(connection.write, connection.rest) < 5


async def test_a_header_that_stops_or_trickles_is_dropped_at_its_deadline(impatient: Served) -> None:
    """Reliability 55, 74."""
    async with impatient.door.connect() as stopped, impatient.door.connect() as trickling:
        started = time.monotonic()
        await stopped.write(b"POST /gsma/rsp2/as")
        assert await trickled(trickling.write, trickling.rest) < 6
        await stopped.rest()
        assert time.monotonic() - started < 8


async def test_an_idle_connection_is_closed(impatient: Served) -> None:
    async with impatient.door.connect() as connection:
        assert (await connection.post(POLL)).status == 200
        started = time.monotonic()
        await connection.rest()
        assert time.monotonic() - started < 5


async def test_an_unfinished_handshake_is_dropped_at_its_deadline(impatient: Served) -> None:
    """Reliability 74."""
    reader, writer = await asyncio.open_connection(impatient.door.host, impatient.door.port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cadata=impatient.door.ca_pem).wrap_bio(incoming, outgoing, False, "localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    writer.write(outgoing.read()[:-20])
    started = time.monotonic()
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    assert 0.5 < time.monotonic() - started < 5
    writer.close()


async def test_slow_peers_hold_up_nobody_else(impatient: Served) -> None:
    """Reliability 55 in small: a hundred slow connections, and a healthy device is served at once."""
    slow = await asyncio.gather(
        *(asyncio.open_connection(impatient.door.host, impatient.door.port) for _ in range(100))
    )
    try:
        async with asyncio.timeout(3):
            assert (await impatient.door.post(POLL)).body == NOTHING
    finally:
        for _, writer in slow:
            writer.close()


def head(*lines: str) -> bytes:
    """A request's head as octets, for bodies that h11 would not send."""
    usual = (f"POST {PATH} HTTP/1.1", "Host: localhost", f"Content-Type: {MEDIA_TYPE}")
    return "\r\n".join((*usual, *lines, "", "")).encode()


def wrapped(content: bytes) -> bytes:
    """BF50 around `content`."""
    size = len(content).to_bytes(2, "big")
    return b"\xbf\x50" + (b"\x82" + size if len(content) > 0x7F else size[1:]) + content


async def trickled(
    write: Callable[[bytes], Awaitable[None]], rest: Callable[[], Coroutine[None, None, bytes]]
) -> float:
    """Seconds until the server closed on a peer that sends an octet each 0.2 seconds."""
    ended = asyncio.create_task(rest())
    started = time.monotonic()
    while not ended.done() and time.monotonic() - started < 10:
        try:
            await write(b"X")
        except (ConnectionError, ssl.SSLError):
            break
        await asyncio.sleep(0.2)
    took = time.monotonic() - started
    await ended
    return took

"""Floods in small, over real HTTPS: what too many, too slow and too curious peers get, and what the others notice."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.services.strangers import MOST_OF_ONE
from eim.sim import messages
from eim.sim.pki import EIN, eids
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import numbered
from tests.esipa.client import Connection, Reply
from tests.esipa.server import Served, configure, logins, serving_device
from tests.esipa.test_http import NOTHING, head

KNOWN: Final = numbered(7, "request")
PACKAGE: Final = numbered(7, "response")
_COUNTS: Final = """
    SELECT (SELECT count(*) FROM euiccs) AS euiccs, (SELECT count(*) FROM operations) AS operations,
           (SELECT count(*) FROM packages) AS packages, (SELECT max(counter) FROM packages) AS counter,
           (SELECT count(*) FROM results) AS results, (SELECT count(*) FROM events) AS events
"""


def poll(eid: Eid) -> bytes:
    return messages.poll(eid, Speaks.V1_2, None, None)


async def asked(served: Served, polls: Sequence[bytes], connections: int) -> list[Reply]:
    """The answers, over so many connections at once."""
    waiting, replies = list(polls), list[Reply]()

    async def go_on(connection: Connection) -> None:
        while waiting:
            replies.append(await connection.post(waiting.pop()))

    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(served.door.connect()) for _ in range(connections)]
        await asyncio.gather(*map(go_on, opened))
    return replies


async def test_a_flood_of_unknown_eids_makes_no_row_uses_no_counter_and_delays_nobody(
    database: Database, tmp_path: Path
) -> None:
    """Reliability 52."""
    config = configure(tmp_path, logins(database), DEVICE_GUESSES_A_SECOND="0")
    async with serving_device(config, database.owner()) as served:
        await served.seed(captured.seed_by_key(captured.out(PACKAGE)))
        before = await served.row(_COUNTS)
        flood = asyncio.create_task(asked(served, [poll(eid) for eid in eids(EIN, 1_500)], 8))
        async with served.door.connect() as ipa:
            while not flood.done():
                assert (await ipa.post(KNOWN)).body == PACKAGE
        assert Counter(reply.body for reply in await flood) == {NOTHING: 1_500}
        after = await served.row(_COUNTS)
    assert after == before
    # Written in bulk when the role ended: a bounded list of who called, and nothing else.
    assert await database.owner().fetchval("SELECT count(*) FROM unknown_callers") <= 2 * MOST_OF_ONE


async def test_who_tries_eids_hears_the_same_for_all_and_soon_nothing_from_his_network(
    database: Database, tmp_path: Path
) -> None:
    """Reliability 53."""
    config = configure(tmp_path, logins(database), DEVICE_GUESSES_A_SECOND="0.001", DEVICE_GUESS_BURST="100")
    async with serving_device(config, database.owner()) as served:
        await served.seed(captured.seed_by_key(captured.out(PACKAGE)))
        replies = await asked(served, [poll(eid) for eid in eids(EIN, 300)], 4)
        answered = [reply for reply in replies if reply.status == 200]
        refused = [reply for reply in replies if reply.status == 429]
        assert len(answered) + len(refused) == 300
        assert 100 <= len(answered) <= 104  # one more a connection was under way
        assert {reply.body for reply in answered} == {NOTHING}
        known, unknown = await asked(served, [KNOWN, poll(eids(EIN, 301)[300])], 1)
        assert (known.status, known.body) == (unknown.status, unknown.body) == (429, refused[0].body)
        assert 0 < int(known.headers["retry-after"]) <= 30
        assert await _from_elsewhere(served, KNOWN) == PACKAGE


async def _from_elsewhere(served: Served, body: bytes) -> bytes:
    """The answer to a caller of another network."""
    context = ssl.create_default_context(cadata=served.door.ca_pem)
    reader, writer = await asyncio.open_connection(
        served.door.host, served.door.port, ssl=context, server_hostname="localhost", local_addr=("127.9.9.9", 0)
    )
    writer.write(head(f"Content-Length: {len(body)}", "Connection: close") + body)
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def test_what_comes_on_top_is_told_to_come_again_and_nothing_hangs(database: Database, tmp_path: Path) -> None:
    """Reliability 61."""
    config = configure(tmp_path, logins(database), DEVICE_UNDER_WAY="3")
    async with serving_device(config, database.owner()) as served, AsyncExitStack() as stack:
        await served.seed(captured.seed_by_key(captured.out(PACKAGE)))
        devices = [await stack.enter_async_context(served.door.connect()) for _ in range(30)]
        statuses = Counter[int]()
        told = set[int]()
        async with asyncio.timeout(20):
            for message in (KNOWN, numbered(37, "request"), KNOWN):
                for reply in await asyncio.gather(*(device.post(message) for device in devices)):
                    statuses[reply.status] += 1
                    if reply.status == 503:
                        told.add(int(reply.headers["retry-after"]))
                        assert reply.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"
                    elif message == KNOWN:
                        assert reply.body == PACKAGE
        assert set(statuses) <= {200, 204, 503}
        assert min(statuses[200] + statuses[204], statuses[503]) > 0
        assert min(told) >= 20
        assert max(told) <= 80
        assert len(told) > 5
        assert [(await device.post(KNOWN)).body for device in devices] == [PACKAGE] * 30


Begin = Callable[[Served], Awaitable[asyncio.StreamReader]]


async def _half_a_handshake(served: Served) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection(served.door.host, served.door.port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cadata=served.door.ca_pem).wrap_bio(incoming, outgoing, False, "localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    writer.write(outgoing.read()[:-20])
    return reader


async def _half(served: Served, octets: bytes) -> asyncio.StreamReader:
    context = ssl.create_default_context(cadata=served.door.ca_pem)
    reader, writer = await asyncio.open_connection(
        served.door.host, served.door.port, ssl=context, server_hostname="localhost"
    )
    writer.write(octets)
    return reader


async def _half_a_head(served: Served) -> asyncio.StreamReader:
    return await _half(served, head()[:-20])


async def _half_a_body(served: Served) -> asyncio.StreamReader:
    return await _half(served, head(f"Content-Length: {len(KNOWN)}") + KNOWN[:-1])


@pytest.mark.parametrize("begin", [_half_a_handshake, _half_a_head, _half_a_body])
async def test_the_slow_are_all_dropped_at_their_deadline_and_hold_up_nobody(
    database: Database, tmp_path: Path, begin: Begin
) -> None:
    """Reliability 55."""
    deadlines = dict.fromkeys(("DEVICE_REQUEST_DEADLINE", "DEVICE_HANDSHAKE_DEADLINE"), "2")
    async with serving_device(configure(tmp_path, logins(database), **deadlines), database.owner()) as served:
        slow = await asyncio.gather(*(begin(served) for _ in range(60)))
        began = time.monotonic()
        assert (await served.door.post(KNOWN)).status == 200
        ends = [asyncio.ensure_future(_end(reader)) for reader in slow]
        assert time.monotonic() - began < 2
        async with asyncio.timeout(15):
            await asyncio.gather(*ends)
        assert (await served.door.post(KNOWN)).status == 200


async def _end(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        await reader.read()

"""What the network loses, over real HTTPS: answers, connections, acknowledgements, and a role that is told to end."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import pytest

from eim import api, demo, installation
from eim.asn1.sgp32 import IpaEuiccDataRequest, decode
from eim.client import Client
from eim.domain.euicc import Speaks
from eim.domain.ids import bucket_of, format_eid
from eim.installation import Running
from eim.postgres import Embedded
from eim.protocol.esipa import NO_PACKAGE
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.data import data_response
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import Fleet, Make
from eim.sim.https import MEDIA_TYPE, PATH, Line, NoAnswer
from eim.sim.journal import Journal
from eim.sim.pki import Pki
from eim.store.connect import DbRole, open_pool
from eim.supervisor import Role
from tests.chaos.evidence import faults
from tests.services.rig import inner

pytestmark = pytest.mark.xdist_group("serving")

_CUTS: Final = 20
_CARDS: Final = 8
_LOAD: Final = 16
_PATIENCE_S: Final = 90.0
_HANDED: Final = """
    SELECT count(*) FROM audit a JOIN packages p ON p.bucket = a.bucket AND p.operation::text = a.subject
     WHERE p.bucket = $1 AND p.eid = $2 AND a.action = 'package.handed'
"""
_STORED: Final = "SELECT count(*) FROM results WHERE bucket = $1 AND eid = $2 AND kind = 'data'"


class Lossy:
    """Guards one installation's fleet of plain cards, called by hand."""

    def __init__(self, fleet: Fleet, running: Running) -> None:
        self.fleet = fleet
        self.running = running
        self.cards = [card.euicc for card in fleet.cards]
        self.line: Line = demo._connect(fleet, running)

    async def onboard(self) -> None:
        host, port = self.running.operator
        token = self.running.token_file.read_text().strip()
        async with Client(f"http://{host}:{port}", token, transport=demo.Patient(30)) as client:
            new = tuple(api.NewEuicc(format_eid(card.eid)) for card in self.cards)
            await client.add_euiccs(api.NewEuiccs(new))

    async def post(self, body: bytes) -> bytes:
        """One message on a connection of its own, until the server has answered it."""
        while True:
            with suppress(NoAnswer):
                connection = await self.line.connect()
                try:
                    answer = await connection.post(body)
                    if answer.status == 200:
                        return answer.body
                finally:
                    connection.close()
            await asyncio.sleep(0.1)

    async def cut(self, body: bytes, after: float) -> None:
        """Send it, and be gone `after` seconds."""
        connection = await self.line.connect()
        await connection.send(body)
        await asyncio.sleep(after)
        connection.close()

    async def fetchval(self, query: str, card: VirtualEuicc) -> int:
        assert self.running.embedded is not None
        pool = await open_pool(self.running.embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
        try:
            return int(await pool.fetchval(query, bucket_of(card.eid), card.eid))
        finally:
            pool.terminate()

    async def faults(self) -> list[str]:
        assert self.running.embedded is not None
        pool = await open_pool(self.running.embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
        try:
            return await faults(pool, self.fleet.journal.entries)
        finally:
            pool.terminate()


def _poll(card: VirtualEuicc) -> bytes:
    return messages.poll(card.eid, Speaks.V1_2, None, None)


def _provide(card: VirtualEuicc, result: bytes) -> bytes:
    return messages.provide(result, card.eid, Speaks.V1_2, Naming.NAMED, Carrier.PROVIDE)


def _execute(card: VirtualEuicc, package: bytes, eim_id: str) -> bytes:
    if package[:2] == b"\xbf\x52":
        return data_response(card, decode(IpaEuiccDataRequest, package), eim_id)
    return card.load_euicc_package(package)


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator["Play"]:
    """Runs a scene against an installation of its own."""

    async def run(scene: Callable[[Lossy], Awaitable[None]], patience: float = _PATIENCE_S) -> None:
        fleet = Fleet(Pki.new(), _CARDS, Journal(demo._now), Make(0, 0, 0))

        async def during(running: Running) -> None:
            async with asyncio.timeout(patience):
                lossy = Lossy(fleet, running)
                await lossy.onboard()
                await scene(lossy)

        config = demo._configure(tmp_path, fleet.pki)
        assert await installation.run(config, during, tmp_path / "eim.log") == 0

    try:
        yield run
    finally:
        await Embedded(tmp_path / "data" / "postgres").remove()


class Play(Protocol):
    """Plays a scene within so many seconds."""

    async def __call__(self, scene: Callable[[Lossy], Awaitable[None]], patience: float = _PATIENCE_S) -> None: ...


async def test_a_lost_answer_is_given_again_octet_by_octet_and_a_result_brought_twice_counts_once(play: Play) -> None:
    async def scene(lossy: Lossy) -> None:
        eim_id = lossy.cards[0].associations.entries[0].eim_id
        for card in lossy.cards:
            for _ in range(3):  # the data request, the list of profiles, nothing
                package = await _lose_answers(lossy, card)
                if package is None:
                    break
                await _bring_twice(lossy, card, _provide(card, _execute(card, package, eim_id)))
            assert await lossy.fetchval(_HANDED, card) == 2
            assert await lossy.fetchval(_STORED, card) == 1
        assert await lossy.faults() == []

    await play(scene)


async def _lose_answers(lossy: Lossy, card: VirtualEuicc) -> bytes | None:
    """Poll and be gone before the answer, again and again; then listen, twice."""
    await asyncio.gather(*(lossy.cut(_poll(card), 0.005 * number) for number in range(_CUTS)))
    first, second = await lossy.post(_poll(card)), await lossy.post(_poll(card))
    assert first == second
    return None if first == NO_PACKAGE else inner(first)


async def _bring_twice(lossy: Lossy, card: VirtualEuicc, body: bytes) -> None:
    """Over two connections at once, and once more: the same acknowledgement each time."""
    answers = {*await asyncio.gather(lossy.post(body), lossy.post(body)), await lossy.post(body)}
    (answer,) = answers
    for seq in messages.acknowledged(answer):
        card.remove_notification(seq)


@pytest.mark.parametrize("stops", [1, pytest.param(50, marks=pytest.mark.slow)])
async def test_requests_under_way_are_finished_when_the_device_role_is_told_to_end_under_load(
    play: Play, stops: int
) -> None:
    """Reliability 12. What workers do when they are told to end: tests/serving/test_workers.py."""

    async def scene(lossy: Lossy) -> None:
        outcomes: Counter[str] = Counter()
        stop = asyncio.Event()

        async def load(card: VirtualEuicc) -> None:
            while not stop.is_set():
                outcomes[await _attempt(lossy.line, _poll(card))] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(_LOAD):
                group.create_task(load(lossy.cards[number % len(lossy.cards)]))
            for _ in range(stops):
                await asyncio.sleep(1.5)
                await _end_in_the_middle_of_a_request(lossy)
            await asyncio.sleep(1.5)
            stop.set()
        # A connection whose request was not read yet is closed, which is how HTTP says that it was not acted on.
        assert set(outcomes) <= {"answered", "refused", "closed"}, outcomes
        assert outcomes["closed"] <= _LOAD * stops, outcomes
        assert outcomes["answered"] > 20, outcomes

    await play(scene, _PATIENCE_S + 10 * stops)


async def _end_in_the_middle_of_a_request(lossy: Lossy) -> None:
    """Half a request, SIGTERM, the other half: it is answered."""
    connection, body = await lossy.line.connect_extra(), _poll(lossy.cards[0])
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection._writer.write(head.encode() + body[:5])
    await asyncio.sleep(0.5)
    ending = asyncio.create_task(_end_device_role(lossy.running))
    await asyncio.sleep(0.5)
    connection._writer.write(body[5:])
    assert (await asyncio.wait_for(connection._reader.read(12), 10)) == b"HTTP/1.1 200"
    connection.close()
    await ending


async def _end_device_role(running: Running) -> None:
    pid = running.supervisor.pid(Role.DEVICE)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    while running.supervisor.pid(Role.DEVICE) in {pid, None}:  # noqa: ASYNC110 - the supervisor starts it
        await asyncio.sleep(0.05)


async def _attempt(line: Line, body: bytes) -> str:
    """What becomes of one poll on a connection of its own."""
    try:
        connection = await line.connect()
    except NoAnswer:
        return "refused"
    try:
        answer = await connection.post(body)
    except NoAnswer:
        return "closed"
    finally:
        connection.close()
    return "answered" if answer.status == 200 else str(answer.status)

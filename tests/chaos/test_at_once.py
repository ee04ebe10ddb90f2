"""Eight operators and one eUICC's device at once, over real HTTP and HTTPS, and everything said twice.

One flow shows reliability tests 5, 6, 19, 64 and 65: while the orders come in, each package's first answer is cut off
after the server has committed it, the package is asked for again, at times by sixteen polls at once, and its result
comes over two connections at once and once more.
"""

import asyncio
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from eim import api, demo, installation
from eim.client import Client
from eim.domain.ids import bucket_of, format_eid
from eim.installation import Running
from eim.postgres import Embedded
from eim.protocol.esipa import NO_PACKAGE
from eim.sim import messages
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import Fleet, Make
from eim.sim.journal import Executed, Journal, check
from eim.sim.pki import Pki
from eim.store.connect import DbRole, Pool, open_pool
from tests.chaos.evidence import faults
from tests.chaos.test_losses import Lossy, _execute, _poll, _provide
from tests.services.rig import inner

_CLIENTS: Final = 8
_AT_ONCE: Final = 16
_PATIENCE_S: Final = 20.0  # for one package
_HEAD: Final = "SELECT counter, sealed, deliveries FROM mailbox WHERE bucket = $1 AND eid = $2"
_EFFECTS: Final = """
    SELECT (SELECT count(*) FROM results WHERE bucket = $1 AND eid = $2) AS results,
           (SELECT count(*) FROM events WHERE bucket = $1 AND eid = $2 AND kind = 'operation.done') AS told,
           (SELECT count(*) FROM operations WHERE bucket = $1 AND eid = $2 AND state = 'done') AS done
"""
_DELIVERED: Final = """
    SELECT p.counter, o.id, o.ordinal FROM packages p JOIN operations o ON o.bucket = p.bucket AND o.id = p.operation
     WHERE p.bucket = $1 AND p.eid = $2 AND p.state = 'ended' AND p.counter IS NOT NULL ORDER BY p.number
"""


class Size(msgspec.Struct, frozen=True):
    each: int  # orders a client places at once
    batches: int  # times that all clients do


class Scene:
    """Guards one installation, one card, and what its operators and its device do at once."""

    def __init__(self, lossy: Lossy, owner: Pool, client: Client, size: Size) -> None:
        self._lossy = lossy
        self._owner = owner
        self._client = client
        self._size = size
        self._card: VirtualEuicc = lossy.cards[0]
        self._at = (bucket_of(self._card.eid), self._card.eid)
        self._placed: list[list[UUID]] = [[] for _ in range(_CLIENTS)]

    async def play(self) -> None:
        await self._introduce()
        for number in range(self._size.batches):
            clients = [self._order(placed) for placed in self._placed]
            await asyncio.gather(self._work(_CLIENTS * self._size.each, number), *clients)
        await self._judge()

    async def _introduce(self) -> None:
        while (answer := await self._lossy.post(_poll(self._card))) != NO_PACKAGE:
            await self._bring(inner(answer))

    async def _order(self, placed: list[UUID]) -> None:
        for _ in range(self._size.each):
            new = api.NewOrder("listProfileInfo", eid=format_eid(self._card.eid))
            placed.append((await self._client.order(new)).operations[0].operation)

    async def _work(self, packages: int, batch: int) -> None:
        """The device, until it has executed as many packages as are ordered."""
        for number in range(packages):
            sealed, deliveries = await self._lose_an_answer()
            again = [_poll(self._card)] * (_AT_ONCE if number == 0 and batch % 10 == 0 else 1)
            answers = await asyncio.gather(*(self._lossy.post(poll) for poll in again))
            assert {inner(answer) for answer in answers} == {sealed}
            row = await self._row(_HEAD)
            assert row["sealed"] == sealed
            assert row["deliveries"] >= deliveries + len(again)  # more, when one that was given up went on
            before = await self._row(_EFFECTS)
            await self._bring(sealed)
            after = await self._row(_EFFECTS)
            assert [now - then for now, then in zip(after.values(), before.values(), strict=True)] == [1, 1, 1]

    async def _lose_an_answer(self) -> tuple[bytes, int]:
        """Poll until a hand-out is committed whose answer nobody reads: its octets, and how often they went out."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                connection = await self._lossy.line.connect()
                try:
                    await connection.send(_poll(self._card))
                    if handed := await self._handed():
                        return handed
                finally:
                    connection.close()

    async def _handed(self) -> tuple[bytes, int] | None:
        """What the hand-out of the poll just sent has committed; None when it surely found nothing."""
        for _ in range(100):
            row = await self._row(_HEAD)
            if row["sealed"] is not None and row["deliveries"]:
                return row["sealed"], row["deliveries"]
            await asyncio.sleep(0.002)
        return None

    async def _bring(self, package: bytes) -> None:
        """The result over two connections at once, and once more when they were answered: the same each time."""
        eim_id = self._card.associations.entries[0].eim_id
        body = _provide(self._card, _execute(self._card, package, eim_id))
        answers = {*await asyncio.gather(self._lossy.post(body), self._lossy.post(body)), await self._lossy.post(body)}
        (answer,) = answers
        for seq in messages.acknowledged(answer):
            self._card.remove_notification(seq)

    async def _judge(self) -> None:
        entries = self._lossy.fleet.journal.entries
        assert check(entries).sound
        assert await faults(self._owner, entries) == []
        delivered = await self._owner.fetch(_DELIVERED, *self._at)
        ours = [row for row in delivered if row["id"] in {each for placed in self._placed for each in placed}]
        assert len(ours) == _CLIENTS * self._size.each * self._size.batches
        executed = [entry.counter for entry in entries if isinstance(entry, Executed) and entry.eid == self._eid]
        assert executed == [row["counter"] for row in delivered]
        for key in ("counter", "ordinal"):
            assert all(one[key] < other[key] for one, other in pairwise(ours))
        place = {row["id"]: number for number, row in enumerate(ours)}
        for placed in self._placed:
            assert all(place[one] < place[other] for one, other in pairwise(placed))

    async def _row(self, query: str) -> Mapping[str, Any]:
        row = await self._owner.fetchrow(query, *self._at)
        assert row is not None
        return dict(row)

    @property
    def _eid(self) -> str:
        return format_eid(self._card.eid)


@pytest.mark.xdist_group("serving")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(Size(each=7, batches=1), id="smoke"),
        pytest.param(
            Size(each=125, batches=int(os.environ.get("EIM_BATCHES", "10"))), id="full", marks=pytest.mark.slow
        ),
    ],
)
async def test_orders_polls_lost_answers_and_results_at_once_have_each_one_effect(tmp_path: Path, size: Size) -> None:
    """Reliability 5, 6, 19, 64, 65. In full 10,000 times in batches of 1,000 orders; EIM_BATCHES=1 for fewer."""
    fleet = Fleet(Pki.new(), 1, Journal(demo._now), Make(0, 0, 0))

    async def during(running: Running) -> None:
        assert running.embedded is not None
        host, port = running.operator
        token = running.token_file.read_text().strip()
        owner = await open_pool(running.embedded.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
        try:
            async with Client(f"http://{host}:{port}", token, transport=demo.Patient(30)) as client:
                lossy = Lossy(fleet, running)
                await lossy.onboard()
                await Scene(lossy, owner, client, size).play()
        finally:
            owner.terminate()

    config = demo._configure(tmp_path, fleet.pki)
    try:
        async with asyncio.timeout(60 + size.each * size.batches * _CLIENTS):
            assert await installation.run(config, during, tmp_path / "eim.log") == 0
    finally:
        await Embedded(tmp_path / "data" / "postgres").remove()

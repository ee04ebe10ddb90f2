"""Many notifications wait for a server that is dead: rounds, polls and the other servers don't feel it."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from eim.domain.euicc import Speaks
from eim.protocol.esipa import NO_PACKAGE
from eim.sim import messages
from eim.sim.servers import Manner
from tests.database import Database
from tests.services import rig as rigs
from tests.services.smdp_side import SmdpSide, address, other, smdp_side

# As the worker leaves them when it has sorted them: ten about each profile, of cards in all buckets.
_MANY: Final = """
    INSERT INTO notifications (bucket, id, eid, tenant, digest, octets, seq_number, event, address, iccid, kind,
                               verdict, state, host, due_at, received_at)
    SELECT (n / 10) % 1024, gen_random_uuid(), decode(lpad(to_hex(n / 100), 32, '0'), 'hex'), 1,
           decode(lpad(to_hex(n), 64, '0'), 'hex'), $2, n, 'enable', $3, decode(lpad(to_hex(n / 10), 20, '0'), 'hex'),
           'otherSignedNotification', 'verified', 'waiting', $3, now() - interval '1 hour', now() - interval '1 hour'
      FROM generate_series(1, $1) AS n
"""


@pytest.fixture
async def side(database: Database, tmp_path: Path) -> AsyncIterator[SmdpSide]:
    rig = await rigs.start(database, 1)
    await rig.onboard()
    async with smdp_side(rig, tmp_path) as made:
        yield made


@pytest.mark.parametrize("many", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_a_dead_servers_backlog_slows_nobody(side: SmdpSide, many: int) -> None:
    dead, well, card = await side.allowed("dead.example.com"), await side.allowed(), side.rig.cards[0]
    dead.behave = lambda _: Manner.FAILS
    await side.rig.visit(card)
    octets = other(card, 1, "enable", address(dead, "dead.example.com"))
    await side.rig.database.owner().execute(_MANY, many, octets, address(dead, "dead.example.com"))
    await side.rig.database.owner().execute("ANALYZE notifications")
    forwarder = side.forwarder()
    for _ in range(3):
        await forwarder.round()  # it is left alone by now
    assert 0 < len(dead.given) <= 32
    for seq in range(50):
        await side.hand_in(card, other(card, 1000 + seq, "enable", address(well), seq.to_bytes(10, "big")))
    began = time.perf_counter()
    rounds = 0
    while len(well.taken) < 50:
        await forwarder.round()
        rounds += 1
    taken = (time.perf_counter() - began) / rounds
    began = time.perf_counter()
    for _ in range(20):
        assert await side.rig.send(messages.poll(card.eid, Speaks.V1_2, None, None)) == NO_PACKAGE
    poll = (time.perf_counter() - began) / 20
    print(f"waiting={many} round={taken * 1000:.0f} ms poll={poll * 1000:.1f} ms rounds={rounds}")  # noqa: T201 - a measurement
    assert taken < 2.0
    assert poll < 0.5

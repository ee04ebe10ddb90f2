"""What taking in a result costs, against one bare ECDSA verification and one empty transaction."""

from collections.abc import Sequence
from typing import Final

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from bench._estate import counted, database, here, one_connection, vacuum
from bench._measuring import Contender, Done, Size, compete, conditions, line, size
from eim.app import now
from eim.domain.ids import format_eid
from eim.domain.operation import Kind
from eim.protocol import trust
from eim.protocol.esipa import Provided, receive
from eim.services.ordering import Ordering, Target
from eim.services.results import ResultRules, Results
from eim.services.tokens import SETUP
from eim.services.whose import Source
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.store.connect import DbRole, transaction
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

_STANDARD: Final = Size(rounds=7, operations=100, euiccs=100)
_RESULT_OCTETS: Final = 110  # about what an EuiccPackageResult signs
_NOBODY: Final = Source("192.0.2.1")


class Bench:
    """A fleet that switches to and fro; guards the results it has yet to bring."""

    def __init__(self, rig: Rig, results: Results) -> None:
        self._rig = rig
        self._results = results
        self._carriers = (CARRIER_B, CARRIER_A)
        self._waiting: Sequence[bytes] = ()

    async def switch(self) -> None:
        """Every card is ordered to the other carrier and executes it; its result is on the way."""
        rig, (to, former) = self._rig, self._carriers
        self._carriers = (former, to)
        targets = tuple(Target(format_eid(card.eid)) for card in rig.cards)
        asked = Ordering(Kind.ENABLE, targets, service_provider=to, confirm=len(targets))
        await rig.operations.place(SETUP, asked, None)
        await rig.work()
        waiting = []
        for card in rig.cards:
            package = await rig.poll(card)
            assert package is not None
            result = rig.execute(card, package)
            for held in card.results:
                card.remove_notification(held.seq)
            waiting.append(rig.wrap(card, result))
        self._waiting = waiting

    async def take_in(self) -> Done:
        """Each result as a device posts it, from octets to the acknowledgement."""
        for octets in self._waiting:
            provided = receive(octets)
            assert isinstance(provided, Provided)
            await self._results.provide(provided, _NOBODY)
        return Done(len(self._waiting))


async def measure(made: Database, wanted: Size) -> None:
    rig = await rigs.start(made, wanted.euiccs)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    await vacuum(made)
    pool = await one_connection(made, DbRole.DEVICE)
    roots = trust.load_roots([rig.fleet.pki.root_der])
    bench = Bench(rig, Results(pool, roots, ResultRules(100, False), now))
    key = ec.generate_private_key(ec.SECP256R1())
    message, public = bytes(_RESULT_OCTETS), key.public_key()
    signature = key.sign(message, ec.ECDSA(SHA256()))

    async def verify_and_commit() -> Done:
        for _ in range(wanted.euiccs):
            public.verify(signature, message, ec.ECDSA(SHA256()))
            async with transaction(pool):
                pass
        return Done(wanted.euiccs)

    ours = Contender("result", bench.take_in, here(), bench.switch)
    scores = await compete([ours, Contender("bare", verify_and_commit, here())], wanted.rounds)
    await bench.switch()
    async with counted(pool) as seen:
        done = await bench.take_in()
    await pool.close()
    result, bare = scores["result"], scores["bare"]
    line(
        "result",
        f"{result.over(bare):.2f}x CPU of one verification and one empty transaction",
        f"{result.micros:,.0f} against {bare.micros:,.0f} us",
        f"{result.rate:,.0f} results/s (baseline {bare.rate:,.0f})",
        f"{len(seen) / done.operations:.0f} statements a result",
        conditions("enable", "one after the other on 1 connection", "durable commits", "Postgres counted"),
    )


async def main(wanted: Size) -> None:
    async with database() as made:
        await measure(made, wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

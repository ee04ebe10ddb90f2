"""What sealing a package costs, at three batch sizes, against bare ECDSA signatures over as many octets."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from bench._estate import counted, database, here, one_connection, postgres, settle_in, vacuum
from bench._measuring import Contender, Done, Size, compete, conditions, cpu_of, line, size
from bench._records import cost
from eim.domain.ids import Bucket, Eid, bucket_of, format_eid
from eim.domain.operation import Kind
from eim.keys.files import KeyStore, Signer
from eim.protocol.esep import Unsealed
from eim.protocol.published_keys import Mode
from eim.services.leasing import Leasing
from eim.services.operations import Operations
from eim.services.ordering import Ordering, Target
from eim.services.sealing import Sealer
from eim.services.tokens import SETUP
from eim.store.connect import DbRole
from tests.database import Database

_STANDARD: Final = Size(rounds=5, operations=1000, euiccs=1000)
_BATCHES: Final = (1, 100, 1000)
_ALONE_AT_MOST: Final = 100  # packages a round at batch 1
_AHEAD: Final = 3
_FORGET: Final = (
    "UPDATE operations SET state = 'done' WHERE state <> 'done'",
    "UPDATE packages SET state = 'ended', queued = false WHERE state <> 'ended'",
    "UPDATE mailbox SET sealed = NULL, number = NULL, operation = NULL, counter = NULL WHERE sealed IS NOT NULL",
    "VACUUM operations, packages, mailbox, euiccs",
)


_PARTS: Final = {"server": cpu_of(lambda: [os.getpid()]), "postgres": cpu_of(postgres)}


class Notebook:
    """The worker's key store, which also writes down what was sealed."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self.signed: list[bytes] = []

    def load(self, name: str) -> "Pen":
        return Pen(self._keys.load(name), self.signed)


class Pen:
    """A signer that writes down what it seals."""

    def __init__(self, signer: Signer, signed: list[bytes]) -> None:
        self._signer = signer
        self._signed = signed

    def sign(self, tbs: bytes) -> bytes:
        return self._signer.sign(tbs)

    def seal(self, eim_id: str, packages: Sequence[Unsealed]) -> list[bytes]:
        made = self._signer.seal(eim_id, packages)
        self._signed += made
        return made


class Bench:
    """Orders, seals and forgets; guards the notebook."""

    def __init__(self, made: Database, notebook: Notebook, sealer: Sealer, leasing: Leasing) -> None:
        self._made = made
        self._notebook = notebook
        self._sealer = sealer
        self._leasing = leasing
        self._key = ec.generate_private_key(ec.SECP256R1())

    async def order(self, eids: Sequence[Eid]) -> None:
        """One listProfileInfo each; what was before is over."""
        for statement in _FORGET:
            await self._made.owner().execute(statement)
        targets = tuple(Target(format_eid(eid)) for eid in eids)
        asked = Ordering(Kind.LIST_PROFILES, targets, confirm=len(targets))
        await Operations(self._made.pool(DbRole.OPERATOR)).place(SETUP, asked, None)
        await self._leasing.refresh()

    async def seal(self, eids: Sequence[Eid], batch: int) -> Done:
        self._notebook.signed.clear()
        at: list[tuple[Bucket, Eid]] = sorted((bucket_of(eid), eid) for eid in eids)
        made = 0
        for start in range(0, len(at), batch):
            made += await self._sealer.seal(at[start : start + batch], self._leasing.hold)
        assert made == len(eids), f"{made} packages of {len(eids)}"
        return Done(made)

    async def sign(self) -> Done:
        """As many octets as were sealed last, and nothing else."""
        for tbs in self._notebook.signed:
            self._key.sign(tbs, ec.ECDSA(SHA256()))
        return Done(len(self._notebook.signed))


async def measure(made: Database, keys: KeyStore, eids: Sequence[Eid], wanted: Size) -> None:
    pool = await one_connection(made, DbRole.WORKER)
    notebook, leasing = Notebook(keys), Leasing(pool, uuid4())
    bench = Bench(made, notebook, Sealer(pool, notebook, _AHEAD), leasing)

    def sealing(batch: int) -> Contender:
        some = eids[: min(wanted.operations, _ALONE_AT_MOST if batch == 1 else len(eids))]
        return Contender(f"seal {batch}", lambda: bench.seal(some, batch), here(), lambda: bench.order(some), _PARTS)

    contenders = [
        each for batch in _BATCHES for each in (sealing(batch), Contender(f"sign {batch}", bench.sign, here()))
    ]
    scores = await compete(contenders, wanted.rounds)
    await bench.order(eids[:1])
    async with counted(pool) as seen:
        await bench.seal(eids[:1], 1)
    await pool.close()
    for batch in _BATCHES:
        ours, bare = scores[f"seal {batch}"], scores[f"sign {batch}"]
        about = conditions(f"batches of {batch}", "P-256", "listProfileInfo", "durable commits", "Postgres counted")
        if batch == max(_BATCHES):
            cost("seal", ours.micros_of("server"), ours.micros_of("postgres"), about)
        line(
            f"seal_{batch}",
            f"{ours.over(bare):.2f}x CPU of bare signatures",
            f"{ours.micros:,.0f} against {bare.micros:,.0f} us a package",
            f"{ours.rate:,.0f} packages/s (baseline {bare.rate:,.0f})",
            f"{len(seen)} statements a batch",
            about,
        )


async def main(wanted: Size) -> None:
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as folder:
        keys = KeyStore(Path(folder), Mode.PRODUCTION)
        keys.create_identity_key("test")
        async with database() as made:
            eids = await settle_in(made, wanted.euiccs)
            await vacuum(made)
            await measure(made, keys, eids, wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

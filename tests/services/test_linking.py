"""The audit's chains on a real database: whoever changes anything afterwards is found, and where."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from eim.domain.chain import START, Checkpoint, Head, Record, link_hash, write_heads
from eim.domain.ids import BUCKETS, DEFAULT_TENANT, Bucket
from eim.errors import KeyUnusable, LeaseLost
from eim.keys.checkpoints import ensure_signer, keeper, kept, verifier
from eim.keys.files import KeyStore, Signer
from eim.protocol.published_keys import Mode
from eim.services.leasing import Leasing
from eim.services.linking import Linker, Pen
from eim.services.verifying import Report, What, verify
from eim.store import Db, audit, links
from eim.store.connect import DbRole, transaction
from tests.database import Database

_RECORDS: Final = 400
_ORDER: Final = "INSERT INTO orders (id, tenant, kind, size, ordered_by) VALUES ($1, 1, 'x', 1, 'x')"


class Bench:
    """An audit of some hundred records in few buckets, linked and signed."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.signer: Signer = ensure_signer(KeyStore(folder / "keys", Mode.TEST))
        self.leasing = Leasing(database.pool(DbRole.WORKER), uuid4())
        pen = Pen(self.signer, verifier(self.signer.spki), keeper(folder))
        self.linker = Linker(database.pool(DbRole.WORKER), self.leasing, pen)

    async def write(self, many: int) -> None:
        async with transaction(self.database.pool(DbRole.WORKER)) as db:
            for number in range(many):
                data = {"n": number, "more": {"list": [1, 2.5, None], "text": "ä"}}
                about = {"actor": "device", "action": "operation.done", "subject": str(number)}
                await audit.record(db, Bucket(number % 7), DEFAULT_TENANT, data=data, **about)

    async def link(self) -> None:
        await self.leasing.refresh()
        while await self.linker.round():
            pass

    async def look(self, *, anchored: bool = True) -> Report:
        anchor = kept(self.folder) if anchored else None
        return await verify(self.database.pool(DbRole.WORKER), verifier(self.signer.spki), anchor)


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> Bench:
    made = Bench(database, tmp_path)
    await made.write(_RECORDS // 2)
    await made.link()
    await made.write(_RECORDS // 2)
    await made.link()
    return made


async def test_records_are_linked_once_in_order_and_signed(bench: Bench) -> None:
    report = await bench.look()
    assert (report.records, report.faults, report.late) == (_RECORDS, (), 0)
    assert report.checkpoints == 2
    assert report.head == kept(bench.folder)
    await bench.link()
    assert (await bench.look()).records == _RECORDS


_STEPS: Final = """
    SELECT sum(pg_stat_get_xact_numscans(indexrelid)) FROM pg_stat_user_indexes WHERE relname = 'audit_links'
"""


async def test_what_was_just_linked_is_not_looked_for_again(bench: Bench) -> None:
    """The last seconds are read time and again; each record of them is a step in another index but for that."""
    late = await bench.database.owner().fetch("SELECT id FROM audit")
    every = [Bucket(bucket) for bucket in range(7)]
    async with transaction(bench.database.pool(DbRole.WORKER)) as db:
        before = await db.fetchval(_STEPS)
        assert await links.unlinked(db, every, links._LONG_AGO, 10) == []
        middle = await db.fetchval(_STEPS)
        assert await links.unlinked(db, every, links._LONG_AGO, 10, [row["id"] for row in late]) == []
        after = await db.fetchval(_STEPS)
    assert (middle - before, after - middle) == (_RECORDS, 0)


async def test_the_linker_remembers_what_it_linked_as_long_as_its_looks_go_back(bench: Bench) -> None:
    known = set(bench.linker._linked)
    await bench.write(3)
    assert await bench.linker.round() == 3
    new = set(bench.linker._linked) - known
    assert len(new) == 3
    bench.linker._linked = dict.fromkeys(bench.linker._linked, links._LONG_AGO)
    assert await bench.linker.round() == 0
    assert bench.linker._linked == {}
    assert await bench.linker.round() == 0, "it finds their links without remembering them"
    assert (await bench.look()).records == _RECORDS + 3


async def test_a_record_that_shows_late_is_linked_behind_younger_ones(bench: Bench) -> None:
    pool = bench.database.pool(DbRole.WORKER)
    async with transaction(pool) as slow:
        about = {"actor": "device", "action": "operation.done", "subject": "late"}
        await audit.record(slow, Bucket(3), DEFAULT_TENANT, data={}, **about)
        await bench.write(5)
        assert [await bench.linker.round() for _ in range(3)] == [5, 0, 0]
    assert await bench.linker.round() == 1
    assert (await bench.look()).records == _RECORDS + 6


async def test_another_worker_goes_on_where_the_last_one_died(bench: Bench) -> None:
    await bench.write(10)
    await bench.database.owner().execute("DELETE FROM workers")
    await bench.database.owner().execute("UPDATE leases SET expires_at = '-infinity'")
    heir = Bench(bench.database, bench.folder)
    await heir.link()
    report = await heir.look()
    assert (report.records, report.faults) == (_RECORDS + 10, ())
    await bench.write(1)
    with pytest.raises(LeaseLost):
        await bench.linker.round()


async def test_what_a_worker_left_unlinked_is_linked_however_much_others_signed_meanwhile(bench: Bench) -> None:
    """Its linking was stuck for hours, that of the other went on; then it died."""
    owner = bench.database.owner()
    other = Bench(bench.database, bench.folder)
    for each in (other, bench, other):
        await each.leasing.refresh()
    await other.link()
    mine = bench.leasing.buckets[0]
    await owner.execute("UPDATE workers SET linked_at = now() - interval '3 hours' WHERE id = $1", bench.leasing.holder)
    async with transaction(bench.database.pool(DbRole.WORKER)) as db:
        await audit.record(db, mine, DEFAULT_TENANT, actor="device", action="x", subject="lost", data={})
    await owner.execute("UPDATE audit SET at = now() - interval '2 hours' WHERE subject = 'lost'")
    for table in ("leases", "workers"):
        await owner.execute(f"UPDATE {table} SET expires_at = '-infinity'")
    other.leasing._expired = {bench.leasing.holder: float("-inf")}
    await other.link()
    assert len(other.leasing.buckets) == BUCKETS
    assert (await other.look(anchored=False)).faults == ()
    assert (
        await owner.fetchval("SELECT count(*) FROM audit a JOIN audit_links l ON l.audit = a.id WHERE subject = 'lost'")
        == 1
    )


async def test_a_worker_with_another_checkpoint_key_does_not_begin_beside_others(bench: Bench, tmp_path: Path) -> None:
    await bench.linker.check(others=1)
    stranger = Bench(bench.database, tmp_path / "another")
    await stranger.linker.check(others=0)  # alone it goes on: the key was lost, and verifying says since when
    with pytest.raises(KeyUnusable, match="copy of their folder"):
        await stranger.linker.check(others=1)


async def test_no_role_changes_or_deletes_a_link(bench: Bench) -> None:
    for role in (DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER):
        for table in ("audit_links", "audit_checkpoints"):
            for deed in (f"DELETE FROM {table}", f"UPDATE {table} SET seq = 9", f"TRUNCATE {table}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await bench.database.pool(role).execute(deed)


class Place:
    """One record somewhere in the chains, and its link."""

    def __init__(self, bucket: Bucket, seq: int, record: UUID, last: int) -> None:
        self.bucket, self.seq, self.record, self.last = bucket, seq, record, last


Attack = Callable[[Db, Place, random.Random], Awaitable[None]]


async def edit(db: Db, at: Place, draw: random.Random) -> None:
    column, value = draw.choice(
        [
            ("actor", "'nobody'"),
            ("action", "'nothing.done'"),
            ("subject", "subject || '0'"),
            ("data", "data || '{\"n\": -1}'"),
            ("at", "at + interval '1 microsecond'"),
            ("tenant", "2"),
        ]
    )
    await db.execute(f"UPDATE audit SET {column} = {value} WHERE bucket = $1 AND id = $2", at.bucket, at.record)


async def delete(db: Db, at: Place, draw: random.Random) -> None:
    await db.execute("DELETE FROM audit WHERE bucket = $1 AND id = $2", at.bucket, at.record)
    if draw.random() < 0.5:
        await db.execute("DELETE FROM audit_links WHERE bucket = $1 AND seq = $2", at.bucket, at.seq)


async def insert(db: Db, at: Place, draw: random.Random) -> None:
    await db.execute(
        "INSERT INTO audit (bucket, id, tenant, at, actor, action, subject, data) "
        "SELECT bucket, $3, tenant, at - interval '2 minutes', actor, action, subject, data FROM audit "
        "WHERE bucket = $1 AND id = $2",
        at.bucket, at.record, UUID(int=draw.getrandbits(128)),
    )  # fmt: skip


async def swap(db: Db, at: Place, draw: random.Random) -> None:
    other = at.seq - 1 if at.seq > 1 else at.seq + 1
    if draw.random() < 0.5:
        await db.execute(
            "UPDATE audit a SET subject = o.subject, data = o.data FROM audit o, audit_links l "
            "WHERE a.bucket = $1 AND a.id = $2 AND l.bucket = $1 AND l.seq = $3 AND o.bucket = $1 AND o.id = l.audit",
            at.bucket, at.record, other,
        )  # fmt: skip
    else:
        for old, new in ((at.seq, -1), (other, at.seq), (-1, other)):
            await db.execute("UPDATE audit_links SET seq = $3 WHERE bucket = $1 AND seq = $2", at.bucket, old, new)


async def truncate(db: Db, at: Place, draw: random.Random) -> None:
    await db.execute(
        "DELETE FROM audit a USING audit_links l "
        "WHERE a.bucket = $1 AND l.bucket = $1 AND l.audit = a.id AND l.seq >= $2",
        at.bucket, at.seq,
    )  # fmt: skip
    await db.execute("DELETE FROM audit_links WHERE bucket = $1 AND seq >= $2", at.bucket, at.seq)


async def rewrite(db: Db, at: Place, draw: random.Random) -> None:
    """Edit a record and make the whole chain behind it anew, as whoever owns the database can; not the signatures."""
    await db.execute("UPDATE audit SET actor = 'nobody' WHERE bucket = $1 AND id = $2", at.bucket, at.record)
    previous, new = START, []
    async with db.transaction():
        async for link in links.chains(db, [at.bucket]):
            assert link.record is not None
            previous = link_hash(previous, link.seq, link.linked_at, link.record)
            new.append((link.seq, previous))
    for seq, hashed in new:
        await db.execute("UPDATE audit_links SET hash = $3 WHERE bucket = $1 AND seq = $2", at.bucket, seq, hashed)


_ATTACKS: Final[tuple[Attack, ...]] = (edit, delete, insert, swap, truncate, rewrite)
_FOUND_AS: Final = {
    "edit": {What.RECORD_CHANGED},
    "delete": {What.RECORD_MISSING, What.LINK_MISSING, What.TAIL_MISSING},
    "insert": {What.RECORD_NOT_LINKED},
    "swap": {What.RECORD_CHANGED},
    "truncate": {What.TAIL_MISSING},
    "rewrite": {What.REWRITTEN},
}


async def attack_at_random(bench: Bench, times: int) -> int:
    """Every attack in turn, each undone again; how many were found where they were made."""
    draw, found = random.Random(57), 0
    owner = bench.database.owner()
    places = await owner.fetch(
        "SELECT l.bucket, l.seq, l.audit, max(l.seq) OVER (PARTITION BY l.bucket) AS last FROM audit_links l"
    )
    await owner.execute("INSERT INTO tenants (id, name) VALUES (2, 'other') ON CONFLICT DO NOTHING")
    for number in range(times):
        attack = _ATTACKS[number % len(_ATTACKS)]
        row = draw.choice(places)
        place = Place(Bucket(row["bucket"]), row["seq"], row["audit"], row["last"])
        await owner.execute("CREATE TABLE kept_audit AS TABLE audit")
        await owner.execute("CREATE TABLE kept_links AS TABLE audit_links")
        async with owner.acquire() as db:
            await attack(db, place, draw)
        report = await bench.look()
        await owner.execute("TRUNCATE audit, audit_links")
        await owner.execute("INSERT INTO audit SELECT * FROM kept_audit")
        await owner.execute("INSERT INTO audit_links SELECT * FROM kept_links")
        await owner.execute("DROP TABLE kept_audit, kept_links")
        first = report.faults[0] if report.faults else None
        located = [f for f in report.faults if f.bucket == place.bucket and _is_at(attack.__name__, f.place, place)]
        assert located, (attack.__name__, vars(place), first)
        assert {f.what for f in located} & _FOUND_AS[attack.__name__], (attack.__name__, vars(place), report.faults)
        found += 1
    assert not (await bench.look()).faults
    return found


def _is_at(attack: str, said: int | None, place: Place) -> bool:
    """Where it was made: exactly, beside it for what concerns two, and at or before it for a chain made anew."""
    if attack == "insert":
        return said is None
    assert said is not None
    return said <= place.seq if attack == "rewrite" else abs(said - place.seq) <= (attack == "swap")


async def test_every_kind_of_tampering_is_found_and_located_at_60_places(bench: Bench) -> None:
    assert await attack_at_random(bench, 60) == 60


@pytest.mark.slow
async def test_every_kind_of_tampering_is_found_and_located_at_1000_places(bench: Bench) -> None:
    assert await attack_at_random(bench, 1000) == 1000


async def test_a_control_chain_that_is_cut_or_forged_is_found(bench: Bench, tmp_path: Path) -> None:
    owner = bench.database.owner()
    await owner.execute("DELETE FROM audit_links")
    await owner.execute("DELETE FROM audit")
    await owner.execute("DELETE FROM audit_checkpoints")
    assert {f.what for f in (await bench.look()).faults} == {What.CHECKPOINT_MISSING}  # only what lies outside tells
    forger = ensure_signer(KeyStore(tmp_path / "other", Mode.TEST))
    heads = write_heads({Bucket(1): Head(0, START)})
    async with transaction(bench.database.pool(DbRole.WORKER)) as db:
        forged = Checkpoint(1, await links.now(db), START, heads)
        await links.sign(db, forged, forger.sign(forged.tbs))
    assert What.CHECKPOINT_FORGED in {f.what for f in (await bench.look(anchored=False)).faults}


async def test_what_is_chained_on_without_the_key_is_found_when_it_is_old(bench: Bench) -> None:
    owner = bench.database.owner()
    async with owner.acquire() as db:
        last = await db.fetchrow("SELECT seq, hash FROM audit_links WHERE bucket = 3 ORDER BY seq DESC LIMIT 1")
        assert last is not None
        ident = uuid4()
        old = await db.fetchval("SELECT now() - interval '2 minutes'")
        await db.execute(
            "INSERT INTO audit (bucket, id, tenant, at, actor, action, subject, data) "
            "VALUES (3, $1, 1, $2, 'setup', 'x', 'y', '{}')",
            ident, old,
        )  # fmt: skip
        record = Record(Bucket(3), ident, 1, old, "setup", "x", "y", {})
        hashed = link_hash(last["hash"], last["seq"] + 1, old, record)
        await db.execute(
            "INSERT INTO audit_links (bucket, seq, audit, linked_at, hash) VALUES (3, $1, $2, $3, $4)",
            last["seq"] + 1, ident, old, hashed,
        )  # fmt: skip
    assert {f.what for f in (await bench.look()).faults} == {What.NOT_SIGNED}


async def test_a_deed_whose_record_can_not_be_written_is_not_done(database: Database) -> None:
    async with database.owner().acquire() as db:
        await db.execute("REVOKE INSERT ON audit FROM eim_operator")

    async def deed() -> None:
        async with transaction(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
            await db.execute(_ORDER, uuid4())
            await audit.write(db, [audit.Record(DEFAULT_TENANT, "token:x", "order.place", "x", {})])

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await deed()
    assert await database.owner().fetchval("SELECT count(*) FROM orders") == 0


def test_there_are_as_many_buckets_as_heads_can_name() -> None:
    assert BUCKETS <= 1 << 16

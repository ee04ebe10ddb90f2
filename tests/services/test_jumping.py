"""The counter jump after a restore, with cards that judge by their counters."""

import pytest

from eim.domain.ids import BUCKETS, bucket_of
from eim.domain.operation import Kind
from eim.services.jumping import Jumping
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig
from tests.services.rig import Rig

TABLES = ("euiccs", "mailbox", "operations", "packages", "results", "profiles")


def nothing(_: int) -> None:
    """Progress that nobody watches."""


def jumping(database: Database) -> Jumping:
    return Jumping(database.pool(DbRole.WORKER), "setup")


async def introduced(database: Database, devices: int) -> Rig:
    made = await rig.start(database, devices)
    await made.onboard()
    for card in made.cards:
        await made.visit(card)
    return made


async def counters(database: Database) -> dict[bytes, int]:
    return {row["eid"]: row["counter"] for row in await database.owner().fetch("SELECT eid, counter FROM euiccs")}


async def saved(made: Rig) -> None:
    """A backup inside of the same database: copies of the tables that orders change."""
    for table in TABLES:
        await made.database.owner().execute(f"CREATE TABLE saved_{table} AS TABLE {table}")


async def restored(made: Rig) -> None:
    """The database is as it was when it was saved."""
    async with made.database.owner().acquire() as db, db.transaction():
        for table in ("packages", "operations", "euiccs", "results"):
            await db.execute(f"DELETE FROM {table}")
        for table in TABLES:
            await db.execute(f"INSERT INTO {table} SELECT * FROM saved_{table}")


async def switched(made: Rig, rounds: int) -> None:
    for number in range(rounds):
        for card in made.cards:
            wanted = await _other(made, number)
            await made.order(card, Kind.ENABLE, wanted)
            await made.visit(card)


async def _other(made: Rig, number: int) -> str:
    rows = await made.rows("profiles", made.cards[0])
    enabled = next(str(r["service_provider"]) for r in rows if r["state"] == "enabled")
    return next(str(r["service_provider"]) for r in rows if r["service_provider"] != enabled)


async def test_cards_that_are_ahead_take_the_next_package_after_restore_and_jump(database: Database) -> None:
    made = await introduced(database, 20)
    await saved(made)
    await switched(made, 3)
    await restored(made)
    behind = await database.owner().fetchval("SELECT max(counter) FROM euiccs")
    assert await jumping(database).run(1000, nothing) == 20
    assert await database.owner().fetchval("SELECT min(counter) FROM euiccs") >= 1000 + behind - 1
    for card in made.cards:
        ordered = await made.order(card, Kind.LIST_PROFILES)
        await made.visit(card)
        row = await made.operation(ordered)
        assert (row["state"], row["doubt"]) == ("done", None), "the card called it a replay"


async def test_without_the_jump_the_card_calls_it_a_replay(database: Database) -> None:
    made = await introduced(database, 1)
    await saved(made)
    await switched(made, 3)
    await restored(made)
    ordered = await made.order(made.cards[0], Kind.LIST_PROFILES)
    package = await made.poll(made.cards[0])
    assert package is not None
    await made.provide(made.cards[0], made.execute(made.cards[0], package))
    row = await made.operation(ordered)
    assert row["state"] != "done" or row["doubt"] is not None, "this control shows that the other test bites"


async def test_what_is_sealed_is_sealed_again_above_and_what_is_out_stays(database: Database) -> None:
    made = await introduced(database, 2)
    waiting, out = made.cards
    ordered = [await made.order(card, Kind.LIST_PROFILES) for card in made.cards]
    await made.work()
    handed = await made.poll(out)
    assert handed is not None
    await jumping(database).run(1000, nothing)
    assert (await made.operation(ordered[0]))["state"] == "accepted"
    assert (await made.operation(ordered[1]))["state"] == "out"
    assert await made.poll(out) == handed, "what is out must be given again, octet by octet"
    for card in made.cards:
        await made.visit(card)
    assert {(await made.operation(each))["state"] for each in ordered} == {"done"}
    counters = [row["counter"] for row in await made.rows("packages", waiting) if row["state"] == "ended"]
    assert max(c for c in counters if isinstance(c, int)) > 1000


async def test_an_interrupted_jump_goes_on_and_raises_nothing_twice(database: Database) -> None:
    made = await introduced(database, 8)
    before = await counters(database)
    middle = sorted(bucket_of(card.eid) for card in made.cards)[3]

    def killed(done: int) -> None:
        if done == middle + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await jumping(database).run(500, killed)
    begun = await jumping(database).unfinished()
    assert begun is not None
    assert (begun.next_bucket, begun.margin) == (middle + 1, 500)
    seen: list[int] = []
    await jumping(database).run(9999, seen.append)
    assert seen == list(range(middle + 2, BUCKETS + 1))
    after = await counters(database)
    assert {after[eid] - before[eid] for eid in before} == {500}
    assert await jumping(database).unfinished() is None
    records = await database.owner().fetch("SELECT data FROM audit WHERE action = 'counters.jump'")
    assert sum(row["data"]["euiccs"] for row in records) == 8


async def test_no_counter_passes_the_last_but_one(database: Database) -> None:
    await introduced(database, 1)
    await database.owner().execute("UPDATE euiccs SET counter = 8388000")
    await jumping(database).run(1000, nothing)
    highest = await database.owner().fetchval("SELECT counter FROM euiccs")
    assert highest == 8_388_606, "the last one is kept for the renewal"

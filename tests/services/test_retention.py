"""What is old goes, what is open or needed stays."""

from datetime import timedelta
from operator import itemgetter
from uuid import UUID, uuid4

import asyncpg
import pytest

from eim.domain.ids import Bucket, bucket_of
from eim.domain.operation import Kind
from eim.services.retention import Ages, Retention
from eim.store import retention
from eim.store.connect import DbRole, transaction
from eim.store.retention import Aging
from tests.database import Database
from tests.services import rig
from tests.services.rig import Rig

EVERY = Ages(dict.fromkeys(Aging, timedelta(days=90)))
BUT_OPERATIONS = Ages({kind: age for kind, age in EVERY.kept.items() if kind is not Aging.OPERATIONS})


def forgetting(database: Database, ages: Ages = EVERY) -> Retention:
    return Retention(database.pool(DbRole.WORKER), ages)


async def purged(database: Database, ages: Ages = EVERY) -> dict[Aging, int]:
    """What a purge of the buckets that hold anything finds; that with bucket 0 goes last, as in `purge_all`."""
    held = {row["bucket"] for row in await database.owner().fetch("SELECT bucket FROM euiccs")} - {0}
    total = dict.fromkeys(ages.kept, 0)
    for bucket in [*held, 0]:
        for kind, gone in (await forgetting(database, ages).purge(Bucket(bucket))).items():
            total[kind] += gone
    return total


async def aged(database: Database) -> None:
    """Everything that is there is a year old."""
    owner = database.owner()
    for table, columns in (
        ("results", ("received_at",)),
        ("packages", ("sealed_at",)),
        ("events", ("at",)),
        ("notifications", ("received_at",)),
        ("operations", ("created_at", "ended_at")),
        ("orders", ("created_at",)),
        ("requests_seen", ("created_at",)),
        ("imports", ("changed_at",)),
    ):
        for column in columns:
            await owner.execute(f"UPDATE {table} SET {column} = {column} - interval '1 year'")


async def worked(database: Database) -> tuple[Rig, UUID, bytes]:
    """A card that listed its profiles a year ago, and what it answered."""
    made = await rig.start(database)
    await made.onboard()
    (card,) = made.cards
    await made.visit(card)
    ordered = await made.order(card, Kind.LIST_PROFILES)
    package = await made.poll(card)
    assert package is not None
    answer = made.execute(card, package)
    await made.provide(card, answer)
    await aged(database)
    return made, ordered, answer


async def test_octets_of_ended_packages_go_and_their_counters_stay(database: Database) -> None:
    made, _, _ = await worked(database)
    before = sorted(await made.rows("packages", made.cards[0]), key=itemgetter("number"))
    gone = await purged(database)
    after = sorted(await made.rows("packages", made.cards[0]), key=itemgetter("number"))
    assert gone[Aging.PACKAGES] == len(before) > 0
    assert {row["sealed"] for row in after} == {b""}
    assert [(r["counter"], r["transaction"]) for r in after] == [(r["counter"], r["transaction"]) for r in before]
    assert all(row["digest"] is not None for row in after)
    assert set((await purged(database)).values()) == {0}, "a second purge found something"


async def test_a_result_that_comes_again_after_its_purge_changes_nothing(database: Database) -> None:
    made, ordered, answer = await worked(database)
    await purged(database, BUT_OPERATIONS)
    before, profiles = await made.operation(ordered), await made.rows("profiles", made.cards[0])
    assert not [r for r in await made.rows("results", made.cards[0]) if r["kind"] == "result"]
    await made.provide(made.cards[0], answer)
    assert await made.operation(ordered) == before
    assert await made.rows("profiles", made.cards[0]) == profiles


async def test_an_operation_goes_after_its_packages_and_results_and_its_order_after_it(database: Database) -> None:
    made, ordered, answer = await worked(database)
    (card,) = made.cards
    alone = Ages({kind: EVERY.kept[kind] for kind in (Aging.OPERATIONS, Aging.ORDERS)})
    assert not any((await purged(database, alone)).values()), "before what belongs to it"
    looked = await forgetting(database).count()
    gone = await purged(database)
    assert (gone[Aging.OPERATIONS] >= 1, gone[Aging.ORDERS]) == (True, 1)
    assert looked[Aging.OPERATIONS] == 0, "what waits for its results to go is not counted yet"
    assert ordered not in {row["id"] for row in await made.rows("operations", card)}
    assert await database.owner().fetchval("SELECT count(*) FROM orders") == 0
    highest = "SELECT max(counter) FROM packages"
    before = await database.owner().fetchval(highest)
    profiles = await made.rows("profiles", card)
    assert await made.provide(card, answer), "what comes once more, and late, is acknowledged: the card may forget it"
    assert await made.rows("profiles", card) == profiles
    again = await made.order(card, Kind.LIST_PROFILES)
    await made.visit(card)
    assert (await made.operation(again))["state"] == "done"
    assert await database.owner().fetchval(highest) > before


async def test_an_operation_stays_while_its_card_is_in_doubt_or_another_waits_for_it(database: Database) -> None:
    made, ordered, _ = await worked(database)
    (card,) = made.cards
    waiting = await made.order(card, Kind.LIST_PROFILES)
    owner = database.owner()
    for doubtful in ("state = 'in_doubt'", f"state = 'accepted', after = '{ordered}'"):
        await owner.execute(f"UPDATE operations SET {doubtful} WHERE id = $1", waiting)
        await aged(database)
        await purged(database)
        assert ordered in {row["id"] for row in await made.rows("operations", card)}
    await owner.execute("UPDATE operations SET after = NULL WHERE id = $1", waiting)
    await purged(database)
    assert ordered not in {row["id"] for row in await made.rows("operations", card)}


async def test_keys_and_reports_of_imports_go_by_age(database: Database) -> None:
    owner = database.owner()
    for key, age in (("old", "1 year"), ("new", "0")):
        await owner.execute(
            "INSERT INTO requests_seen (tenant, key, control, request_hash, created_at)"
            " VALUES (1, $1, gen_random_uuid(), '', now() - $2::text::interval)", key, age,
        )  # fmt: skip
        await owner.execute(
            "INSERT INTO imports (id, tenant, key, terms, digest, actor, changed_at)"
            " VALUES (gen_random_uuid(), 1, $1, '', '', 'a', now() - $2::text::interval)", key, age,
        )  # fmt: skip
    looked, gone = await forgetting(database).count(), await forgetting(database).purge_all()
    assert (looked[Aging.KEYS], looked[Aging.IMPORTS]) == (gone[Aging.KEYS], gone[Aging.IMPORTS]) == (1, 1)
    for table in ("requests_seen", "imports"):
        assert await owner.fetchval(f"SELECT string_agg(key, ',') FROM {table}") == "new"


async def test_what_is_open_stays_however_old(database: Database) -> None:
    made, _, _ = await worked(database)
    (card,) = made.cards
    await made.order(card, Kind.LIST_PROFILES)
    out = await made.poll(card)
    await made.order(card, Kind.LIST_PROFILES)
    await made.work()
    await database.owner().execute("UPDATE results SET verdict = 'unverified' WHERE kind = 'result'")
    await aged(database)
    await purged(database)
    kept = [row for row in await made.rows("packages", card) if row["sealed"]]
    assert sorted(str(row["state"]) for row in kept) == ["head", "waiting"]
    assert await made.poll(card) == out
    assert {row["verdict"] for row in await made.rows("results", card) if row["kind"] == "result"} == {"unverified"}


async def test_an_event_stays_until_the_webhooks_are_done_with_it(database: Database) -> None:
    made, _, _ = await worked(database)
    owner, bucket = database.owner(), bucket_of(made.cards[0].eid)
    webhook, events = uuid4(), len(await made.rows("events", made.cards[0]))
    await owner.execute(
        "INSERT INTO webhooks (id, tenant, url, types, tags, secrets, start)"
        " VALUES ($1, 1, 'https://example.com', '{}', '{}', '', 0)",
        webhook,
    )
    assert (await forgetting(database).count())[Aging.EVENTS] == 0
    await owner.execute(
        "INSERT INTO webhook_places (bucket, webhook, generation, turn) SELECT $1, $2, 1, max(turn) FROM events",
        bucket,
        webhook,
    )
    assert (await forgetting(database).count())[Aging.EVENTS] == events > 0
    assert (await purged(database))[Aging.EVENTS] == events


async def test_the_worker_can_delete_nothing_young_and_nothing_by_itself(database: Database) -> None:
    worker = database.pool(DbRole.WORKER)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="younger than 7 days"):
        async with worker.acquire() as db:
            await retention.purge(db, Aging.RESULTS, Bucket(0), timedelta(days=1), 10)
    for statement in ("DELETE FROM results", "UPDATE packages SET sealed = ''", "DELETE FROM events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(statement)
    for role in (DbRole.DEVICE, DbRole.OPERATOR):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.pool(role).execute("SELECT purge_bucket('results', 1::smallint, interval '9 days', 1)")


async def test_audit_records_are_kept(database: Database) -> None:
    await worked(database)
    async with transaction(database.pool(DbRole.OWNER)) as db:
        before = await db.fetchval("SELECT count(*) FROM audit")
    await purged(database)
    assert await database.owner().fetchval("SELECT count(*) FROM audit") == before > 0

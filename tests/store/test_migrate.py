from tests.database import Database


async def test_a(database: Database) -> None:
    owner = database.owner()
    assert await owner.fetchval("SELECT count(*) FROM leases") == 1024
    assert await database.seed_identity() == 1


async def test_b(database: Database) -> None:
    owner = database.owner()
    assert await owner.fetchval("SELECT count(*) FROM leases") == 1024

"""`eim doctor` on a real database, healthy and in every way ill that can be made here."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from eim import app
from eim.cli.doctor import doctor
from eim.config import Config
from eim.config_loading import load
from eim.doctor import Check, State, examine
from eim.errors import BadConfiguration
from eim.services.leasing import Leasing
from eim.store import health
from eim.store.connect import DbRole
from eim.store.health import Replication
from tests.database import Database


def variables(data: Path, database: Database) -> dict[str, str]:
    dsns = {f"EIM_DATABASE_{role.value.upper()}_DSN": database.dsn(role) for role in DbRole if role is not DbRole.OWNER}
    return {"EIM_SERVER_DATA_DIR": str(data), "EIM_DATABASE_DSN": database.dsn(DbRole.OWNER), **dsns}


@pytest.fixture
async def config(database: Database, tmp_path: Path) -> Config:
    """An installation with its identity and a worker that holds all buckets."""
    made = load(None, variables(tmp_path / "data", database)).config
    await app.set_up(made, database.dsn(DbRole.OWNER))
    await Leasing(database.pool(DbRole.WORKER), uuid4()).refresh()
    return made


async def checks(config: Config) -> Mapping[str, Check]:
    return {check.name: check for check in await examine(config)}


async def onboarded(database: Database, counter: int) -> None:
    await database.owner().execute(
        "INSERT INTO euiccs (bucket, eid, tenant, identity, counter) VALUES (1, $1, 1, 1, $2)", bytes(16), counter
    )


async def test_a_sound_installation_has_no_fault(config: Config) -> None:
    found = await checks(config)
    assert [check for check in found.values() if check.state is State.FAULT] == []
    assert found["workers"].found == "1024 of 1024 buckets are held, workers: 1"
    assert found["schema"].state is found["registered key"].state is found["clock"].state is State.OK


async def test_a_right_too_many_and_one_too_few_are_named(config: Config, database: Database) -> None:
    await database.owner().execute("GRANT INSERT ON operations TO eim_device")
    await database.owner().execute("REVOKE INSERT ON results FROM eim_device")
    found = (await checks(config))["database rights"]
    assert found.state is State.FAULT
    assert found.found == "device lacks INSERT on results; device has INSERT on operations"


async def test_a_dead_worker_and_work_that_waits_are_faults(config: Config, database: Database) -> None:
    owner = database.owner()
    await owner.execute("UPDATE leases SET expires_at = now() - interval '1 minute'")
    await onboarded(database, 0)
    await owner.execute("UPDATE euiccs SET introduced_at = now()")
    await owner.execute(
        "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by, not_before)"
        " VALUES (1, $1, $2, 1, 1, 1, 'enable', 'token:test', now() - interval '1 hour')",
        uuid4(),
        bytes(16),
    )
    found = await checks(config)
    assert found["workers"].state is found["due work"].state is State.FAULT
    assert found["due work"].found.startswith("the oldest waits for 36")


async def test_counters_near_the_ceiling_are_an_alarm(config: Config, database: Database) -> None:
    await onboarded(database, 7_549_746)
    assert (await checks(config))["counters"].state is State.OK
    await database.owner().execute("UPDATE euiccs SET counter = 7549747")
    assert (await checks(config))["counters"].state is State.FAULT


async def test_another_key_than_the_registered_one_is_a_fault(config: Config, database: Database) -> None:
    await database.owner().execute("UPDATE identities SET public_key = 'x'")
    assert (await checks(config))["registered key"].state is State.FAULT


async def test_a_schema_of_another_release_is_seen(config: Config, database: Database) -> None:
    await database.owner().execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', 'x')"
    )
    assert (await checks(config))["schema"].state is State.WARNING
    await database.owner().execute("DELETE FROM schema_migrations WHERE version IN (13, 9999)")
    assert (await checks(config))["schema"].state is State.FAULT


async def test_files_that_others_may_read_are_named(config: Config) -> None:
    key = config.server.data_dir / "keys" / "default.pem"
    key.chmod(0o640)
    found = (await checks(config))["data folder"]
    assert found.state is State.FAULT
    assert str(key) in found.found


async def test_a_standby_that_is_demanded_and_absent_stops_the_start(config: Config) -> None:
    texts = {
        f"EIM_DATABASE_{role.upper()}_DSN": getattr(config.database, f"{role}_dsn").text
        for role in ("device", "worker", "operator")
    }
    demanding = load(
        None,
        {
            "EIM_SERVER_DATA_DIR": str(config.server.data_dir),
            **texts,
            "EIM_DATABASE_REQUIRE_SYNCHRONOUS_STANDBY": "true",
        },
    ).config
    assert (await checks(demanding))["standby"].state is State.FAULT
    with pytest.raises(BadConfiguration, match="require_synchronous_standby"):
        await app.run_worker(demanding, asyncio.Event(), alone=False)


def test_a_standby_counts_only_when_commits_wait_for_it() -> None:
    assert health.standby_fault(Replication("ANY 1 (a, b)", "on")) is None
    assert health.standby_fault(Replication("ANY 1 (a, b)", "local")) is not None
    assert health.standby_fault(Replication(" ", "on")) is not None


def test_a_database_that_is_not_there_is_a_fault_with_exit_code_1(tmp_path: Path) -> None:
    said = CliRunner().invoke(doctor, ["--json"], env={"EIM_SERVER_DATA_DIR": str(tmp_path / "data"), "EIM_CONFIG": ""})
    assert said.exit_code == 1
    assert "no embedded database runs" in said.stdout
    assert not list(tmp_path.iterdir()), "looking has made something"

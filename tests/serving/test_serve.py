"""`eim serve` from the outside: it comes up with nothing configured, keeps its data, and leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from eim.sim.https import trusting
from eim.sim.pki import EIN, eids
from eim.store.connect import DbRole
from tests.database import Database
from tests.serving.conftest import Installation
from tests.serving.served import (
    PATIENCE_S,
    Serve,
    free_port,
    get,
    left_of,
    passwords,
    run,
    superuser,
    wait_for,
)

pytestmark = pytest.mark.xdist_group("serving")  # one after the other: each brings three processes and a Postgres

ROLES = ("device", "operator", "worker")
_EACH_ITS_OWN = {f"eim {role}": {f"eim_{role}_login"} for role in ROLES}
_LOGINS = """
    SELECT application_name, usename FROM pg_stat_activity
     WHERE application_name LIKE 'eim %' AND datname = current_database()
"""
EID, OTHER = (eid.hex().upper() for eid in eids(EIN, 2))


async def test_with_nothing_configured_three_roles_serve_beside_another_postgres(installation: Installation) -> None:
    with _somebody_on_5432():
        serve = installation.serve(PGPORT="5999", PGHOST="nowhere.invalid", PGSSLMODE="require").up()
        for address in (serve.device, serve.operator):
            assert (get(f"{address}/healthz", serve), get(f"{address}/readyz", serve)) == (200, 200)
        assert sorted(serve.roles) == sorted(ROLES)
        assert len({*serve.roles.values(), serve.process.pid}) == 4
        assert await _logins(superuser(serve.data)) == _EACH_ITS_OWN
        assert serve.end() == 0
    assert left_of(serve.data) == []
    assert not [word for word in passwords(serve.data).values() if word in serve.said]


def test_a_role_is_given_its_own_login_to_the_database_and_no_other(serve: Serve) -> None:
    known = passwords(serve.data)
    for role, pid in serve.roles.items():
        told = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        file = serve.data / "run" / f"{role}.toml"
        assert file.stat().st_mode & 0o777 == 0o600
        assert {name for name, word in known.items() if word in file.read_text()} == {role}
        assert [name for name, word in known.items() if word.encode() in told] == []
        assert b"EIM_DATABASE" not in told


def test_a_restart_keeps_what_was_there_also_after_the_supervisor_is_killed(installation: Installation) -> None:
    ports = {"EIM_DEVICE_PORT": free_port(), "EIM_OPERATOR_PORT": free_port()}
    first = installation.serve(**ports).up()
    with first.client as client:
        assert client.post("/v1/euiccs", json={"eid": EID}).status_code == 201
    assert first.end() == 0
    second = installation.serve(**ports).up()
    second.end(signal.SIGKILL)
    third = installation.serve(**ports).up()  # at once: what the killed one left ends by itself, or is ended
    with third.client as client:
        assert client.get(f"/v1/euiccs/{EID}").json()["euicc"]["eid"] == EID
    assert third.end() == 0
    assert left_of(third.data) == []


def test_what_a_killed_supervisor_leaves_ends_by_itself(installation: Installation) -> None:
    serve = installation.serve().up()
    serve.end(signal.SIGKILL)
    wait_for(lambda: left_of(serve.data) == [], serve, 15)


@pytest.mark.parametrize("role", ["device", "operator"])
def test_a_killed_role_serves_again_and_who_waits_in_its_backlog_is_answered(serve: Serve, role: str) -> None:
    address = serve.device if role == "device" else serve.operator
    killed = serve.roles[role]
    os.kill(killed, signal.SIGSTOP)  # so that nobody accepts the ones that come now
    waiting = [_connect(address) for _ in range(5)]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    assert [_ask(connection, address, serve) for connection in waiting] == [b"HTTP/1.1 200"] * len(waiting)
    assert time.monotonic() - began < 5  # 1.2 s on an idle machine
    assert serve.roles[role] != killed


async def test_a_killed_worker_works_again(serve: Serve) -> None:
    os.kill(serve.roles["worker"], signal.SIGKILL)
    with serve.client as client:
        assert client.post("/v1/euiccs", json={"eid": EID}).status_code == 201
    connection = await asyncpg.connect(superuser(serve.data))
    began = time.monotonic()
    while not await connection.fetchval("SELECT count(*) FROM eim.packages"):
        assert time.monotonic() - began < PATIENCE_S
    await connection.close()
    assert time.monotonic() - began < 5


def test_a_killed_database_is_started_again_and_everybody_goes_on(serve: Serve) -> None:
    roles = dict(serve.roles)
    (postmaster,) = _children_of(serve.process.pid) - set(serve.roles.values())
    os.kill(postmaster, signal.SIGKILL)
    answers: list[int] = []

    def goes_on() -> bool:
        answers.append(client.get("/v1/euiccs").status_code)
        return answers[-1] == 200 and "database.restarted" in serve.said

    with serve.client as client:
        wait_for(goes_on, serve, 15)
        assert client.post("/v1/euiccs", json={"eid": OTHER}).status_code == 201
    assert set(answers) <= {200, 503}
    assert serve.roles == roles, "no role died of it"


def test_a_second_one_on_the_same_data_is_refused_in_one_sentence(serve: Serve) -> None:
    refused = run(serve.data)
    _is_one_sentence(refused, "another `eim serve` works in")
    assert get(f"{serve.device}/readyz", serve) == 200


@pytest.mark.parametrize("setting", ["device", "operator"])
def test_a_busy_port_is_refused_with_the_settings_name(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run(tmp_path / "data", **{f"EIM_{setting.upper()}_PORT": port, "EIM_DEVICE_HOST": "127.0.0.1"})
    _is_one_sentence(refused, f"{setting}.port")
    assert not (tmp_path / "data" / "postgres").exists()


def test_all_that_is_wrong_with_a_configuration_is_said_before_anything_starts(tmp_path: Path) -> None:
    wrong = {"EIM_DEVICE_PORT": "eighty", "EIM_OPERATOR_HOST": "0.0.0.0", "EIM_DEVICE_TLS_KEY": "k.pem", "EIM_X": "1"}
    refused = run(tmp_path / "data", **wrong)
    assert refused.returncode == 1
    for name in ("device.port", "operator.host", "device.tls_certificate", "EIM_X"):
        assert name in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_database_that_does_not_answer_is_said_without_its_password(tmp_path: Path) -> None:
    dsn = f"postgresql://eim:hunter2@127.0.0.1:{free_port()}/eim"
    refused = run(tmp_path / "data", EIM_DATABASE_DSN=dsn)
    assert refused.returncode == 3
    assert "can't be reached" in refused.stderr
    assert "hunter2" not in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_role_that_cannot_read_its_key_ends_the_whole_with_a_sentence(installation: Installation) -> None:
    serve = installation.serve().up()
    key = serve.data / "keys" / "default.pem"
    key.write_text("no key\n")
    os.kill(serve.roles["worker"], signal.SIGKILL)
    assert serve.process.wait(PATIENCE_S) == 78
    assert "eim worker: " in serve.said
    assert "Traceback" not in serve.said
    assert left_of(serve.data) == []


def test_a_key_that_cannot_be_read_stops_the_start(installation: Installation) -> None:
    installation.serve().up().end()
    key = installation.data / "keys" / "default.pem"
    key.write_text("no key\n")
    _is_one_sentence(run(installation.data), str(key))


async def test_with_one_url_every_role_acts_as_its_own_role_and_no_postgres_is_started(
    installation: Installation, database: Database
) -> None:
    serve = installation.serve(EIM_DATABASE_DSN=database.superuser_dsn).up()
    assert not (serve.data / "postgres").exists()
    async with database.owner().acquire() as connection:
        rows = await connection.fetch(
            "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = $1", database.name
        )
    assert {row["application_name"] for row in rows} >= {f"eim {role}" for role in ROLES}
    assert serve.end() == 0


async def test_with_four_urls_every_role_logs_in_with_its_own(installation: Installation, database: Database) -> None:
    own = {f"EIM_DATABASE_{role.upper()}_DSN": database.dsn(DbRole(role)) for role in ROLES}
    database.close()
    serve = installation.serve(EIM_DATABASE_DSN=database.dsn(DbRole.OWNER), **own).up()
    assert not (serve.data / "postgres").exists()
    assert await _logins(database.superuser_dsn) == _EACH_ITS_OWN
    device = Path(f"/proc/{serve.roles['device']}/environ").read_bytes() + (serve.data / "run/device.toml").read_bytes()
    for role in DbRole:
        assert (database.dsn(role).encode() in device) is (role is DbRole.DEVICE)
    assert serve.end() == 0


def test_the_shown_configuration_holds_no_password(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", "show", EIM_DATABASE_DSN="postgresql://eim:hunter2@db/eim?password=hunter3")
    assert shown.returncode == 0
    assert "postgresql://eim:***@db/eim" in shown.stdout
    assert "hunter" not in shown.stdout + shown.stderr


def _is_one_sentence(refused: subprocess.CompletedProcess[str], about: str) -> None:
    assert refused.returncode not in {0, -signal.SIGTERM}
    lines = refused.stderr.strip().splitlines()
    assert [line for line in lines if line.startswith("Error: ")] == lines, refused.stderr
    assert len(lines) == 1
    assert about in lines[0]


async def _logins(dsn: str) -> dict[str, set[str]]:
    """Who is logged in, by what the connection says it is for, as soon as every role is: the worker has no port that
    would tell when it has connected."""
    found: dict[str, set[str]] = {}
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not found.keys() >= _EACH_ITS_OWN.keys():
                await asyncio.sleep(0.05)
                for row in await connection.fetch(_LOGINS):
                    found.setdefault(row["application_name"], set()).add(row["usename"])
    finally:
        await connection.close()
    return found


def _children_of(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE_S)


def _ask(connection: socket.socket, address: str, serve: Serve) -> bytes:
    """The status line's beginning, on a connection that was made before."""
    with connection:
        if address.startswith("https"):
            context: ssl.SSLContext = trusting((serve.data / "tls" / "ca.pem").read_text())
            connection = context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(12)


@contextmanager
def _somebody_on_5432() -> Iterator[None]:
    """Another Postgres where the machine has one, otherwise just a listener."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if programs and os.geteuid() == 0 and shutil.which("setpriv"):
        with _system_postgres(programs[-1]):
            yield
        return
    try:
        listener = socket.create_server(("127.0.0.1", 5432))
    except OSError:
        yield  # somebody is there already
        return
    with listener:
        yield


@contextmanager
def _system_postgres(programs: Path) -> Iterator[None]:
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    shutil.chown(folder, "nobody", "nogroup")
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data = folder / "data"
    subprocess.run([*as_nobody, programs / "initdb", "-D", data, "-A", "trust", "-N"], check=True, **quiet)  # type: ignore[call-overload]
    options = ["-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1", "-c", "port=5432"]
    other = subprocess.Popen([*as_nobody, programs / "postgres", "-D", data, *options], **quiet)  # type: ignore[call-overload]
    try:
        yield
        assert other.poll() is None, "the other Postgres is not up any more"
    finally:
        other.terminate()
        other.wait(PATIENCE_S)
        shutil.rmtree(folder)

"""Several device processes on one port: each serves, tickets of one are opened by the other, nothing is dropped."""

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from eim.keys.tls import TlsFiles, make_ca_and_leaf
from eim.sim.https import trusting
from tests.database import Database
from tests.serving.conftest import Installation
from tests.serving.served import PATIENCE_S, Serve, environment, free_port, get, left_of, wait_for

pytestmark = pytest.mark.xdist_group("serving")

NAMES: Final = ("localhost", "127.0.0.1")
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_STARTED: Final = re.compile(r"role\.started\s.*number=(\d+) pid=(\d+) role=device")


class Two:
    """Guards an installation of two device processes, with a certificate that can be renewed under them."""

    def __init__(self, made: Installation) -> None:
        self.files: TlsFiles = make_ca_and_leaf(made.data / "tls", NAMES, datetime.now(UTC))
        pair = {"EIM_DEVICE_TLS_CERTIFICATE": str(self.files.certificate), "EIM_DEVICE_TLS_KEY": str(self.files.key)}
        self.serve: Serve = made.serve(EIM_DEVICE_PROCESSES="2", **pair).up()
        wait_for(lambda: len(self.pids) == 2, self.serve)
        place = urlsplit(self.serve.device)
        self.place = (str(place.hostname), int(place.port or 0))

    @property
    def pids(self) -> Sequence[int]:
        """The newest process of each number."""
        return list({number: int(pid) for number, pid in _STARTED.findall(self.serve.said)}.values())

    def context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        assert self.files.ca is not None
        context = trusting(self.files.ca.read_text())
        context.minimum_version = context.maximum_version = version
        return context

    def served_by(self) -> Sequence[int]:
        """How many sockets each process has open."""
        return [sum(1 for fd in Path(f"/proc/{pid}/fd").iterdir() if _is_socket(fd)) for pid in self.pids]

    def settled(self) -> Sequence[int]:
        """The same, once they have opened all that they open at their start."""
        before: Sequence[int] = ()
        while (now := self.served_by()) != before:
            before = now
            time.sleep(0.5)
        return now


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:
        return False  # closed meanwhile


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    made = Installation(tmp_path_factory.mktemp("processes") / "data")
    try:
        yield Two(made)
    finally:
        made.close()


class Caller(asyncio.Protocol):
    """One connection of a device that asks whether the server is well."""

    def __init__(self) -> None:
        self._got = b""
        self._answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._got.endswith(b"ok\n") and not self._answered.done():
            self._answered.set_result(self._got[:12])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed"))
            self._answered.exception()

    async def ask(self) -> bytes:
        """The status line's beginning. Raises ConnectionError when the connection has been dropped."""
        self._got, self._answered = b"", asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            raise ConnectionError("closed")
        self.transport.write(HEALTH)
        async with asyncio.timeout(PATIENCE_S):
            return await self._answered


async def opened(two: Two, many: int) -> Sequence[Caller]:
    loop, context = asyncio.get_running_loop(), two.context(ssl.TLSVersion.TLSv1_3)

    async def one() -> Caller:
        async with turn:
            _, caller = await loop.create_connection(Caller, *two.place, ssl=context, server_hostname="localhost")
            return caller

    turn = asyncio.Semaphore(50)
    return await asyncio.gather(*(one() for _ in range(many)))


def called(two: Two, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
    """A connection of its own: the session it gave, and whether it resumed `session`."""
    with (
        socket.create_connection(two.place, PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.sendall(HEALTH)
        assert connection.recv(12) == b"HTTP/1.1 200"
        return connection.session, bool(connection.session_reused)


async def test_connections_are_dealt_out_among_the_processes(two: Two) -> None:
    before = two.settled()
    callers = await opened(two, 40)
    more = [now - then for now, then in zip(two.served_by(), before, strict=True)]
    assert sum(more) == 40
    assert min(more) >= 5
    assert {await caller.ask() for caller in callers} == {b"HTTP/1.1 200"}
    for caller in callers:
        caller.transport.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_at_least_95_of_100_reconnections_resume_whichever_process_they_meet(two: Two, version: ssl.TLSVersion) -> None:
    context, resumed = two.context(version), 0
    session, _ = called(two, context, None)
    for _ in range(100):
        session, reused = called(two, context, session)
        resumed += reused
    assert resumed >= 95
    assert "tickets_not_shared" not in two.serve.said


@pytest.mark.parametrize("many", [200, pytest.param(1000, marks=pytest.mark.slow)])
async def test_a_reload_in_all_processes_drops_none_of_the_open_connections(two: Two, many: int) -> None:
    """Reliability 46."""
    callers = await opened(two, many)
    first, reloads = ssl.get_server_certificate(two.place), two.serve.said.count("tls.reloaded")
    make_ca_and_leaf(two.files.key.parent, (*NAMES, f"new-{many}.example.com"), datetime.now(UTC))
    os.kill(two.serve.process.pid, signal.SIGHUP)
    await asyncio.to_thread(wait_for, lambda: two.serve.said.count("tls.reloaded") == reloads + 2, two.serve)
    renewed = {ssl.get_server_certificate(two.place) for _ in range(20)}
    assert renewed == {two.files.certificate.read_text()} != {first}
    answers = await asyncio.gather(*(caller.ask() for caller in callers))
    assert answers == [b"HTTP/1.1 200"] * many
    for caller in callers:
        caller.transport.close()


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.slow)])
async def test_connections_that_come_and_go_leave_no_memory_behind(two: Two, rounds: int) -> None:
    """Reliability 56."""
    taken = []
    for _ in range(rounds):
        callers = await opened(two, 100)
        assert {await caller.ask() for caller in callers} == {b"HTTP/1.1 200"}
        for caller in callers:
            caller.transport.abort()
        await asyncio.sleep(0.3)
        taken.append(sum(map(_own_memory, two.pids)))
    assert taken[-1] - taken[2] < 4 << 20, taken  # five hundred connections that were kept would be 13 MiB


@pytest.mark.slow
async def test_5000_that_never_shake_hands_are_dropped_and_cost_bounded_memory(two: Two) -> None:
    """Reliability 55, 56."""
    before, began = sum(map(_own_memory, two.pids)), time.monotonic()
    slow = [await asyncio.open_connection(*two.place) for _ in range(5_000)]
    for _ in range(20):
        (healthy,) = await opened(two, 1)
        assert await healthy.ask() == b"HTTP/1.1 200"
        healthy.transport.abort()
    taken = sum(map(_own_memory, two.pids)) - before
    assert taken < 5_000 * 60 << 10
    async with asyncio.timeout(30):
        assert {await reader.read() for reader, _ in slow} == {b""}
    assert time.monotonic() - began < 40
    for _, writer in slow:
        writer.close()


def _own_memory(pid: int) -> int:
    shown = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in shown if line.startswith("Private_"))


def test_a_killed_process_is_started_again_while_the_other_one_serves(two: Two) -> None:
    killed, other = two.pids
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in two.pids, two.serve)
    assert {get(f"{two.serve.device}/healthz", two.serve) for _ in range(20)} == {200}
    assert other in two.pids


def test_tickets_outlive_the_process_that_gave_them(two: Two) -> None:
    context, before = two.context(ssl.TLSVersion.TLSv1_2), two.pids
    session, _ = called(two, context, None)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not set(before) & set(two.pids), two.serve)
    assert [called(two, context, session)[1] for _ in range(10)] == [True] * 10


def test_all_processes_end_in_order_and_nothing_is_left(installation: Installation) -> None:
    serve = installation.serve(EIM_DEVICE_PROCESSES="3").up()
    wait_for(lambda: len(_STARTED.findall(serve.said)) == 3, serve)
    assert serve.end() == 0
    assert left_of(serve.data) == []
    assert "role.killed" not in serve.said


async def test_the_device_role_alone_has_its_processes_too(installation: Installation, database: Database) -> None:
    installation.serve(EIM_DATABASE_DSN=database.superuser_dsn).up().end()  # which makes schema and identity
    port, log = free_port(), installation.data.with_name("device.log")
    settings = {
        "EIM_DATABASE_DSN": database.superuser_dsn,
        "EIM_DEVICE_PROCESSES": "2",
        "EIM_DEVICE_PORT": port,
        "EIM_DEVICE_HOST": "127.0.0.1",
    }
    process = _alone(installation.data, log, settings)
    try:
        place = ("127.0.0.1", int(port))
        began = time.monotonic()
        while len(_STARTED.findall(log.read_text())) < 2 or not _answers(place, installation.data):
            assert time.monotonic() - began < PATIENCE_S, log.read_text()
            await asyncio.sleep(0.05)
        async with database.owner().acquire() as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eim device' AND datname = $1"
            while await connection.fetchval(count, database.name) < 2:
                assert time.monotonic() - began < PATIENCE_S, log.read_text()
                await asyncio.sleep(0.05)
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert left_of(installation.data) == []


def _alone(data: Path, log: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "eim", "serve", "--role", "device"]
    with log.open("ab") as written:
        return subprocess.Popen(command, env=environment(data, **settings), stdout=written, stderr=written)


def _answers(place: tuple[str, int], data: Path) -> bool:
    context = trusting((data / "tls" / "ca.pem").read_text())
    try:
        with (
            socket.create_connection(place, 1) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(HEALTH)
            return connection.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False

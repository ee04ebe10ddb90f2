"""Polls over HTTPS: the device role and the constant server as processes, and devices that call them."""

import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench._measuring import Cpu, Done, cpu_of, name_of, tree
from eim import app, credentials, serving
from eim.config_loading import load
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.keys.tls import TlsFiles
from eim.sim import messages
from eim.sim.https import trusting
from eim.sim.pki import Pki
from eim.store.connect import DbRole
from eim.web.esipa import PATH
from tests.database import Database

_HOST: Final = "localhost"
_PATIENCE: Final = 30.0  # seconds
_LENGTH: Final = b"content-length: "


class Server(msgspec.Struct, frozen=True):
    port: int
    context: ssl.SSLContext  # the client's
    cpu: Cpu
    pid: int
    files: TlsFiles  # the server's


@contextmanager
def servers(database: Database, settings: Mapping[str, str] | None = None) -> Iterator[tuple[Server, Server]]:
    """(the eIM's device role on `database`, the constant one), each a process of its own with the same certificate."""
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as folder:
        environment = environment_of(Path(folder), database) | dict(settings or {})
        config = load(None, environment).config
        files = credentials.device_tls(config, credentials.own_identity(config), app.now())
        with (
            started(["eim", "serve", "--role", "device", "--descriptor"], environment, files) as eim,
            started(["bench._constant"], environment, files) as constant,
        ):
            yield eim, constant


class Device(asyncio.Protocol):
    """One connection. It sends a request and counts the octets of the answer, as cheaply as Python can."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if found and len(body) == _length(head) and self._answered is not None:
            self._got = bytearray()
            self._answered.set_result(bytes(head[9:12] + body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("the server closed the connection"))

    async def post(self, request: bytes) -> bytes:
        """The answer's body. Raises ConnectionError when it isn't 200."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await self._answered
        if answer[:3] != b"200":
            raise ConnectionError(f"the server answered {answer!r}")
        return answer[3:]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def kept_alive(devices: Sequence[Device], eids: Sequence[Eid]) -> Done:
    """One poll for each of `eids`, over connections that are open already."""
    requests, latencies = map(request, eids), list[float]()
    await asyncio.gather(*(_poll_on(device, requests, latencies) for device in devices))
    return Done(len(latencies), latencies)


async def newly_connected(server: Server, eids: Sequence[Eid], connections: int) -> Done:
    """One poll for each of `eids`, each over a connection of its own, TLS handshake and all; so many at a time."""
    requests, latencies = map(request, eids), list[float]()

    async def call() -> None:
        for octets in requests:
            began = time.perf_counter()
            device = await _connect(server)
            await device.post(octets)
            device.close()
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(call() for _ in range(connections)))
    return Done(len(latencies), latencies)


def request(eid: Eid) -> bytes:
    """A whole HTTP request: GetEimPackage as a v1.2 device sends it."""
    return wrapped(messages.poll(eid, Speaks.V1_2, None, None))


def wrapped(body: bytes) -> bytes:
    """A whole HTTP request around an ESipa message."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {_HOST}\r\nUser-Agent: gsma-rsp-ipad\r\nX-Admin-Protocol: gsma/rsp/v2.1.0\r\n"
        f"Content-Type: application/x-gsma-rsp-asn1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _poll_on(device: Device, requests: Iterator[bytes], latencies: list[float]) -> None:
    for octets in requests:
        began = time.perf_counter()
        await device.post(octets)
        latencies.append(time.perf_counter() - began)


@asynccontextmanager
async def opened(server: Server, connections: int) -> AsyncIterator[Sequence[Device]]:
    """`connections` to `server`, their handshakes done."""
    devices = await asyncio.gather(*(_connect(server) for _ in range(connections)))
    try:
        yield devices
    finally:
        for device in devices:
            device.close()


async def _connect(server: Server) -> Device:
    loop = asyncio.get_running_loop()
    _, device = await loop.create_connection(
        Device, "127.0.0.1", server.port, ssl=server.context, server_hostname=_HOST
    )
    return device


@contextmanager
def started(
    command: Sequence[str], environment: dict[str, str], files: TlsFiles, more: Sequence[str] = ()
) -> Iterator[Server]:
    """`python -m COMMAND DESCRIPTOR MORE` with a listening socket, until the block ends."""
    assert files.ca is not None
    context = trusting(files.ca.read_text())
    with serving.listen("127.0.0.1", 0, "device") as listener:
        descriptor = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", *command, str(descriptor), *more], env=environment, pass_fds=[descriptor]
        )
        try:
            yield Server(
                listener.getsockname()[1], context, cpu_of(lambda: _served_by(process.pid)), process.pid, files
            )
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _served_by(server: int) -> list[int]:
    """The server and the whole Postgres: while one server is measured, nobody else uses it."""
    return [server, *(pid for pid in tree(os.getpid()) if name_of(pid) == "postgres")]


def environment_of(folder: Path, database: Database) -> dict[str, str]:
    root = folder / "root.pem"
    root.write_bytes(x509.load_der_x509_certificate(Pki.new().root_der).public_bytes(Encoding.PEM))
    ours = {
        "EIM_SERVER_DATA_DIR": str(folder / "data"),
        "EIM_SERVER_LOG_LEVEL": "warning",
        "EIM_DATABASE_DEVICE_DSN": database.dsn(DbRole.DEVICE),
        "EIM_DEVICE_HOST": "127.0.0.1",
        "EIM_TRUST_ROOTS": str(root),
    }
    return {name: text for name, text in os.environ.items() if not name.startswith("EIM_")} | ours


def _length(head: bytes | bytearray) -> int:
    low = bytes(head).lower()
    start = low.index(_LENGTH) + len(_LENGTH)
    return int(low[start:].partition(b"\r\n")[0])

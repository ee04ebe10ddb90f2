"""A certificate that changes under a port that serves."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from eim.keys.renewal import Renewal
from eim.keys.tls import Suites, TlsFiles, make_ca_and_leaf, server_context

NOW = datetime.now(UTC)


class Port:
    """An echo server on our context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW - timedelta(days=398 - 59)  # so that the certificate is due for renewal today
        self.names = ("localhost",)
        files = self.files()
        self.context = server_context(files, Suites.ESIPA, ssl.TLSVersion.TLSv1_2)
        self.renewal = Renewal("device", self.context, self.files)

    def files(self) -> TlsFiles:
        return make_ca_and_leaf(self.folder, self.names, self.now)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """A new connection that trusts our CA, and the serial number of the certificate it saw."""
        client = ssl.create_default_context(cafile=self.folder / "ca.pem")
        host, port = self.server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port, ssl=client, server_hostname="localhost")
        der = writer.get_extra_info("ssl_object").getpeercert(True)
        return reader, writer, x509.load_der_x509_certificate(der).serial_number

    async def serve(self) -> None:
        self.server = await asyncio.start_server(_echo, "127.0.0.1", 0, ssl=self.context)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    made = Port(tmp_path / "tls")
    await made.serve()
    yield made
    made.server.close()


async def test_new_handshakes_see_the_new_certificate_and_open_connections_stay(port: Port) -> None:
    reader, writer, old = await port.connect()
    port.now = NOW
    port.renewal.renew()
    _, other, new = await port.connect()
    assert new != old
    writer.write(b"still here\n")
    assert await reader.readline() == b"still here\n"
    for each in (writer, other):
        each.close()


async def test_our_own_certificate_is_renewed_while_it_serves(port: Port) -> None:
    _, writer, old = await port.connect()
    port.now = NOW
    running = asyncio.create_task(port.renewal.run(0.05))
    try:
        async with asyncio.timeout(5):
            while (await port.connect())[2] == old:  # noqa: ASYNC110 - seen from outside only
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        writer.close()


@pytest.mark.parametrize("broken", ["server.pem", "server-key.pem", "ca.pem"])
async def test_broken_files_keep_the_certificate_from_before(port: Port, broken: str) -> None:
    _, _, old = await port.connect()
    ca = (port.folder / "ca.pem").read_bytes()
    (port.folder / broken).write_text("-----BEGIN NOTHING-----\n")
    with capture_logs() as logs:
        port.renewal.renew()
    assert [(line["event"], line["log_level"]) for line in logs] == [("tls.not_reloaded", "error")]
    assert str(port.folder / broken) in logs[0]["why"]
    (port.folder / "ca.pem").write_bytes(ca)
    assert (await port.connect())[2] == old


async def test_what_has_not_changed_is_not_loaded_again(port: Port) -> None:
    with capture_logs() as logs:
        port.renewal.renew()
    assert logs == []

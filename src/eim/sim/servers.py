"""The SM-DP+'s end of ES9+ on a real socket: HTTPS, as much of it as notifications need (SGP.22 sections 5.6.4, 6.5).

It judges what it is given: the form, the card's chain and signature octet by octet, and each profile's order. What is
wrong is written down in `faults`. How it behaves is said for each request, so it can be slow, refuse or break off.
"""

import asyncio
import base64
import binascii
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import msgspec

from eim.asn1 import der
from eim.asn1.sgp32 import PendingNotification, decode
from eim.errors import EimError
from eim.protocol.ecdsa import verify
from eim.protocol.trust import check_chain, load_roots
from eim.sim.pki import Pki

JSON_PATH: Final = "/gsma/rsp2/es9plus/handleNotification"
ASN1_PATH: Final = "/gsma/rsp2/asn1"
_SLOW_S: Final = 30.0
_SAID: Final = b'{"header":{"functionExecutionStatus":{"status":"%s"}}}'


class Manner(Enum):
    """How it answers."""

    TAKES = "204, as it should"
    TAKES_EMPTY = "200 without a body"
    TAKES_SAYING_SO = "200 with a header object"
    REFUSES = "200 with a header object that says Failed"
    PORTAL = "200 with a page"
    FAILS = "500"
    DISLIKES = "400"
    BUSY = "429 with Retry-After"
    REDIRECTS = "307"
    FLOODS = "200 and a body without end"
    CLOSES = "no answer, the connection ends"
    BREAKS_OFF = "half a status line"
    IS_SLOW = "nothing for half a minute"


class Given(msgspec.Struct, frozen=True):
    """One HandleNotification as it came. `octets` are the PendingNotification."""

    path: str
    headers: dict[str, str]
    octets: bytes
    read: PendingNotification


Behave = Callable[[Given], Manner]


class SmdpServer:
    """Guards the connections of one simulated SM-DP+. `given` is all that came, `taken` what it answered well."""

    def __init__(self, pki: Pki) -> None:
        self._roots = load_roots([pki.root_der])
        self.behave: Behave = lambda _: Manner.TAKES
        self.given: list[Given] = []
        self.taken: list[Given] = []
        self.faults: list[str] = []
        self.connections = 0
        self.port = 0
        self.at_once = 0  # the most requests that were under way together
        self._under_way = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def sequence(self) -> dict[bytes | None, list[int | None]]:
        """ICCID: the seqNumbers of what was taken, each the first time."""
        found: dict[bytes | None, list[int | None]] = {}
        for each in self.taken:
            numbers = found.setdefault(each.read.iccid, [])
            if each.read.seq_number not in numbers:
                numbers.append(each.read.seq_number)
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self._open.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def drop(self) -> None:
        """Break all connections."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        given = self._read(head[0], headers, body)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            return await self._answer(given, reader, writer)
        finally:
            self._under_way -= 1

    def _read(self, line: str, headers: dict[str, str], body: bytes) -> Given | None:
        method, path, _ = line.split(" ")
        try:
            octets = _pending(path, body)
            given = Given(path, headers, octets, decode(PendingNotification, octets))
        except (EimError, ValueError, msgspec.DecodeError, binascii.Error) as error:
            self.faults.append(f"{line}: {error}")
            return None
        if method != "POST" or not headers.get("x-admin-protocol", "").startswith("gsma/rsp/v"):
            self.faults.append(f"{line}: no POST with X-Admin-Protocol")
        self.given.append(given)
        return given

    async def _answer(self, given: Given | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        manner = self.behave(given) if given else Manner.DISLIKES
        match manner:
            case Manner.IS_SLOW:
                with suppress(TimeoutError):  # who has gone away is not under way any more
                    await asyncio.wait_for(reader.read(1), _SLOW_S)
                return False
            case Manner.CLOSES:
                return False
            case Manner.BREAKS_OFF:
                writer.write(b"HTTP/1.1 20")
                await writer.drain()
                return False
            case Manner.FLOODS:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(1000):
                    writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                    await writer.drain()
                return False
        if given and manner in _TAKING:
            self._take(given)
        writer.write(_WRITTEN[manner])
        await writer.drain()
        return True

    def _take(self, given: Given) -> None:
        """It has this one now, if it is the card's; a repeat is welcome, an overtaking is not."""
        read = given.read
        if fault := self._judge(read):
            self.faults.append(fault)
        before = [t.read.seq_number or 0 for t in self.taken if t.read.iccid == read.iccid and _of(t.read) == _of(read)]
        seq = read.seq_number
        if seq is not None and read.iccid and before and seq < max(before) and seq not in before:
            self.faults.append(f"notification {seq} came behind {max(before)}")
        self.taken.append(given)

    def _judge(self, read: PendingNotification) -> str | None:
        if read.kind == "profileInstallationResult":
            return None  # it brings no certificate: a real one has it from the download
        if read.kind != "otherSignedNotification":
            return f"a {read.kind} came"
        if read.euicc_certificate is None or read.eum_certificate is None:
            return "no certificates came"
        try:
            trusted = check_chain(read.euicc_certificate, read.eum_certificate, self._roots, datetime.now(UTC))
        except EimError as error:
            return str(error)
        return None if verify(trusted.public_key, read.signed, read.signature) else "the signature doesn't hold"


@asynccontextmanager
async def serving(server: SmdpServer, context: ssl.SSLContext) -> AsyncIterator[SmdpServer]:
    """Serve on a free port of 127.0.0.1 meanwhile."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        server.drop()


def _pending(path: str, body: bytes) -> bytes:
    """The PendingNotification in a request. Raises ValueError, Malformed and what decoders raise."""
    if path == JSON_PATH:
        said = msgspec.json.decode(body, type=dict[str, object])
        return base64.b64decode(str(said["pendingNotification"]), validate=True)
    if path != ASN1_PATH:
        raise ValueError("there is no such path")
    node = der.read_one(body)
    for tag in (0xA2, 0xBF3D, 0xA0):
        if node[0] != tag:
            raise ValueError(f"tag {node[0]:X} in the place of {tag:X}")
        (node,) = der.inside(body, node)
    return der.whole(body, node)


def _of(read: PendingNotification) -> bytes | None:
    """The card."""
    return read.euicc_certificate


def _http(status: str, body: bytes = b"", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


_TAKING: Final = (Manner.TAKES, Manner.TAKES_EMPTY, Manner.TAKES_SAYING_SO)
_WRITTEN: Final = {
    Manner.TAKES: b"HTTP/1.1 204 No Content\r\n\r\n",
    Manner.TAKES_EMPTY: _http("200 OK"),
    Manner.TAKES_SAYING_SO: _http("200 OK", _SAID % b"Executed-Success"),
    Manner.REFUSES: _http("200 OK", _SAID % b"Failed"),
    Manner.PORTAL: _http("200 OK", b"<html>please log in</html>"),
    Manner.FAILS: _http("500 x"),
    Manner.DISLIKES: _http("400 x"),
    Manner.BUSY: _http("429 x", more="Retry-After: 1\r\n"),
    Manner.REDIRECTS: _http("307 x", more="Location: https://127.0.0.1/\r\n"),
}

"""A small eIM over real TLS for these tests: it answers by a script and counts what it sees."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import h11
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from eim.sim.der import integer, read, tlv, whole
from eim.sim.https import Line, Server, trusting

NAME = "eim.example.com"
NOTHING = bytes.fromhex("BF4F03020101")
_NESTED = (0x30, 0xA0, 0xA2, 0xBF50, 0xBF51, 0xBF52)
_FROM, _UNTIL = datetime(2024, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)


class Mishap(Enum):
    """What the server does instead of answering; it worked on the request all the same, except when unavailable."""

    CUT = "cut"
    UNAVAILABLE = "unavailable"
    REFUSE = "refuse"  # HTTP 400


class HandServer:
    """Gives the package in `out` until its result is in, and acknowledges every sequence number it sees."""

    def __init__(self) -> None:
        self.out: list[bytes] = []  # BF51 or BF52 TLVs, the next one first
        self.polled: list[bytes] = []
        self.given: list[bytes] = []
        self.provided: list[bytes] = []  # bodies as they came
        self.notified: list[bytes] = []
        self.connections = 0
        self.mishaps: list[Mishap] = []  # used up one a request that `strikes` picks
        self.strikes: Callable[[bytes], bool] = lambda body: body[:2] == b"\xbf\x50"

    @property
    def polls(self) -> int:
        return len(self.polled)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        if body[:2] == b"\xbf\x4f":
            self.polled.append(body)
            if not self.out:
                return 200, NOTHING
            self.given.append(self.out[0])
            return 200, tlv(0xBF4F, self.out[0])
        if body[:2] == b"\xbf\x3d":
            self.notified.append(body)
            return 204, b""
        self.provided.append(body)
        if self.out and body not in self.provided[:-1]:
            self.out.pop(0)
        seqs = sorted(_seqs(whole(body, 0xBF50).raw))
        return 200, tlv(0xBF50, tlv(0xBF53, *(integer(0x80, seq) for seq in seqs)) if seqs else tlv(0x30))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        http = h11.Connection(h11.SERVER)
        try:
            while (body := await _request(http, reader)) is not None:
                struck = self.mishaps.pop(0) if self.mishaps and self.strikes(body) else None
                status, answer = (503, b"") if struck is Mishap.UNAVAILABLE else self.answer(body)
                if struck is Mishap.CUT:
                    return
                headers = [("Content-Length", str(len(answer)))]
                reply = h11.Response(status_code=400 if struck is Mishap.REFUSE else status, headers=headers)
                parts = (http.send(reply), http.send(h11.Data(data=answer)), http.send(h11.EndOfMessage()))
                writer.write(b"".join(part for part in parts if part))
                await writer.drain()
                http.start_next_cycle()
        except (OSError, h11.ProtocolError):
            return
        finally:
            writer.close()


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> bytes | None:
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            assert event.target == b"/gsma/rsp2/asn1"
            assert dict(event.headers)[b"user-agent"] == b"gsma-rsp-ipad"
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return body
        else:
            return None


def _seqs(octets: bytes) -> set[int]:
    """The sequence numbers of signed results and notifications, wherever they lie."""
    found = set[int]()
    for item in read(octets):
        if item.tag == 0xBF2F:
            found.add(int.from_bytes(next(read(item.value)).value, "big"))
        elif item.tag in _NESTED and item.value[:1] in b"\x30\xa0\xbf\x5a\x80\xa1\xa2":
            members = {member.tag: member.value for member in read(item.value)}
            if {0x80, 0x81, 0x83, 0x30} <= members.keys():
                found.add(int.from_bytes(members[0x83], "big"))
            found |= _seqs(item.value)
    return found


@asynccontextmanager
async def serving(folder: Path, server: HandServer, port: int = 0) -> AsyncIterator[Line]:
    """Serve on `port`, 0: a free one, with the certificate in `folder`; gives the line for devices to it."""
    if not (folder / "ca.pem").exists():
        _make_certificates(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "leaf.pem")
    ca = (folder / "ca.pem").read_text()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", port, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield Line(Server("127.0.0.1", port, NAME, trusting(ca)), timeout=5)
    finally:
        listener.close()


def _make_certificates(folder: Path) -> None:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of a test")])
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), 1, _FROM, _UNTIL)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(ca_key, SHA256())
    )
    leaf = (
        x509.CertificateBuilder(ca_name, x509.Name([]), key.public_key(), 2, _FROM, _UNTIL)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=True)
        .sign(ca_key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "leaf.pem").write_bytes(secret + leaf.public_bytes(Encoding.PEM))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))

"""The device's end of ESipa over HTTPS: HTTP/1.1 on asyncio streams, spoken by h11 (SGP.32 section 6.1)."""

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

import h11
import msgspec

from eim.errors import BadConfiguration

PATH: Final = "/gsma/rsp2/asn1"
MEDIA_TYPE: Final = "application/x-gsma-rsp-asn1"
_CHUNK: Final = 65_536
_LARGEST_ANSWER: Final = 1 << 20


class NoAnswer(Exception):
    """Nothing that can be understood came back; whether the server acted is unknown."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    media_type: str | None
    body: bytes


class Server(msgspec.Struct, frozen=True):
    """Where the eIM is, and how a device knows that it is the right one."""

    host: str
    port: int
    name: str  # expected in its certificate, and sent as SNI
    context: ssl.SSLContext


class Line:
    """The way to one server, shared by all devices of a process; it bounds how many connections are open."""

    def __init__(self, server: Server, connections: int = 200, timeout: float = 15.0) -> None:
        """`timeout` in seconds bounds each step: connecting, one exchange."""
        self._server = server
        self._free = asyncio.Semaphore(connections)
        self._timeout = timeout

    async def connect(self) -> "Connection":
        """A connection in its turn; close it. Raises NoAnswer when no server, or not the right one, is there."""
        await self._free.acquire()
        try:
            return await self._open(self._free)
        except BaseException:
            self._free.release()
            raise

    async def connect_extra(self) -> "Connection":
        """A second connection of a device that has one: outside the bound, or all might wait for each other."""
        return await self._open(None)

    async def _open(self, turn: asyncio.Semaphore | None) -> "Connection":
        server = self._server
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(
                    server.host, server.port, ssl=server.context, server_hostname=server.name
                )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            raise NoAnswer(f"no connection: {error!r}") from error
        return Connection(reader, writer, server.name, self._timeout, turn)


class Connection:
    """One TLS connection; requests on it follow each other."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_name: str,
        timeout: float,
        turn: asyncio.Semaphore | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._turn = turn
        self._http = h11.Connection(h11.CLIENT)
        self._headers = (
            ("Host", server_name),
            ("User-Agent", "gsma-rsp-ipad"),
            ("X-Admin-Protocol", "gsma/rsp/v2.1.0"),
            ("Content-Type", MEDIA_TYPE),
        )

    @property
    def reusable(self) -> bool:
        """Whether another request may follow; not after `Connection: close`, a fault, or `close`."""
        return self._http.our_state is h11.IDLE and not self._writer.is_closing()

    async def post(self, body: bytes) -> Answer:
        """Send `body` and wait for the whole answer. Raises NoAnswer."""
        try:
            async with asyncio.timeout(self._timeout):
                await self.send(body)
                return await self._receive()
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            raise NoAnswer(f"the exchange broke off: {error!r}") from error

    async def send(self, body: bytes) -> None:
        """Send `body` and leave it at that."""
        request = h11.Request(method="POST", target=PATH, headers=[*self._headers, ("Content-Length", str(len(body)))])
        octets = [self._http.send(request), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())]
        self._writer.write(b"".join(part for part in octets if part))
        await self._writer.drain()

    def close(self) -> None:
        """Let the connection go, once; the other side sees it close."""
        self._writer.close()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()

    async def _receive(self) -> Answer:
        status, media_type, body = 0, None, bytearray()
        while True:
            match self._http.next_event():
                case h11.Response() as response:
                    status, media_type = response.status_code, _media_type(response)
                case h11.Data() as data:
                    body += data.data
                case h11.EndOfMessage():
                    break
                case h11.ConnectionClosed():
                    raise NoAnswer("the server closed the connection")
                case h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(_CHUNK))
            if len(body) > _LARGEST_ANSWER:
                raise NoAnswer("the answer is too large for a device")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return Answer(status, media_type, bytes(body))


def server_address(url: str) -> tuple[str, int]:
    """(host, port) of an https URL; 443 when it names no port. Raises BadConfiguration."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise BadConfiguration(f"{url!r} is no https address: write https://host:port")
    return parts.hostname, parts.port or 443


def trusting(ca_pem: str) -> ssl.SSLContext:
    """A context for all devices that trusts only the certificates in `ca_pem`. Raises BadConfiguration."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca_pem)
    except ssl.SSLError as error:
        raise BadConfiguration(f"no certificate in the CA file: {error.reason}; give a PEM file") from None
    return context


def _media_type(response: h11.Response) -> str | None:
    return next((value.decode("latin-1") for name, value in response.headers if name == b"content-type"), None)

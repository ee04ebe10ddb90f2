"""A device's end of HTTPS that can also misbehave, and that shows every header of an answer."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import h11
import msgspec

PATH: Final = "/gsma/rsp2/asn1"
MEDIA_TYPE: Final = "application/x-gsma-rsp-asn1"
_PATIENCE_S: Final = 15.0


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Connection:
    """One TLS connection; requests on it follow each other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @property
    def alpn(self) -> str | None:
        found: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return found.selected_alpn_protocol()

    @property
    def usable(self) -> bool:
        return self._http.our_state is h11.IDLE

    async def post(self, body: bytes, headers: Mapping[str, str | None] | None = None) -> Reply:
        """POST to the ESipa path. A header that is None is left out of the usual ones."""
        return await self.ask("POST", PATH, body, headers or {})

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str | None] | None = None
    ) -> Reply:
        usual = {"Host": "localhost", "X-Admin-Protocol": "gsma/rsp/v2.1.0"} | (
            {"Content-Type": MEDIA_TYPE} if method == "POST" else {}
        )
        given = usual | dict(headers or {}) | {"Content-Length": str(len(body))}
        lines = [(name, value) for name, value in given.items() if value is not None]
        request = h11.Request(method=method, target=target, headers=lines)
        parts = (self._http.send(request), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage()))
        await self.write(b"".join(part for part in parts if part))
        return await self._receive()

    async def write(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """All that still comes until the server closes."""
        async with asyncio.timeout(_PATIENCE_S):
            try:
                return await self.reader.read()
            except (ssl.SSLError, ConnectionError):
                return b""

    def close(self) -> None:
        self.writer.close()

    async def _receive(self) -> Reply:
        status, headers, body = 0, dict[str, str](), bytearray()
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                match self._http.next_event():
                    case h11.Response() as response:
                        status = response.status_code
                        headers = {name.decode(): value.decode() for name, value in response.headers}
                    case h11.Data() as data:
                        body += data.data
                    case h11.EndOfMessage():
                        break
                    case h11.NEED_DATA:
                        self._http.receive_data(await self.reader.read(65536))
                    case other:
                        raise ConnectionError(f"the server went away: {other!r}")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return Reply(status, headers, bytes(body))


class Door(msgspec.Struct, frozen=True):
    """Where the server is."""

    host: str
    port: int
    ca_pem: str

    @asynccontextmanager
    async def connect(self, alpn: Sequence[str] = ()) -> AsyncIterator[Connection]:
        context = ssl.create_default_context(cadata=self.ca_pem)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context, server_hostname="localhost")
        connection = Connection(reader, writer)
        try:
            yield connection
        finally:
            connection.close()

    async def post(self, body: bytes, headers: Mapping[str, str | None] | None = None) -> Reply:
        """One request on a connection of its own."""
        async with self.connect() as connection:
            return await connection.post(body, headers)

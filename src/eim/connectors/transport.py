"""How servers are called: judged addresses only, one connection kept for the next call, bounded in time and octets.

A name is looked up once for a connection, every address that comes back is judged, and the connection goes to an
address that was judged: a name that resolves to something else a moment later changes nothing. Redirects are answers
like others and lead nowhere. Who fails time after time is left alone for a while, and nobody waits for him.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

import httpcore2
import msgspec

from eim.domain.webhook import Address, Reach, Target, literal, may_reach
from eim.errors import Refused, UntrustedCertificate
from eim.services.hearing import Hearing

_CONNECT_S: Final = 10.0
_KEEP_S: Final = 30.0  # an idle connection, and with it what its name resolved to
_MOST_CONNECTIONS: Final = 256
_LONGEST_WAIT: Final = 3600.0  # seconds that a server may ask for by Retry-After
_PAUSES: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)  # seconds, of one who fails in a row
_RETRIES_A_CALL: Final = 0.1  # the share of calls that may be made twice because their connection broke
_MOST_RETRIES: Final = 5.0  # saved up
_BUSY: Final = (408, 425, 429)
_ENDED: Final = "the connection ended before an answer"

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]  # (name, port) to addresses as text
CheckLeaf: TypeAlias = Callable[[bytes], None]  # judges the server's own certificate; raises UntrustedCertificate
# As a network backend gives them to a socket.
SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class AddressRefused(Refused):
    """The name leads to an address that is not public and not allowed."""

    code = "address-refused"


class Trusting(msgspec.Struct, frozen=True):
    """How a server is known."""

    context: ssl.SSLContext
    check: CheckLeaf | None = None  # beside what TLS itself checks


class Asked(msgspec.Struct, frozen=True):
    """One POST."""

    target: Target
    reach: Reach
    trusting: str  # the name of a Trusting
    headers: Mapping[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    """What came. `failure` is a few words without anything the server sent; with one, there is no body."""

    failure: str | None
    status: int | None = None  # None: no answer came
    body: bytes = b""
    retry_after: float | None = None  # seconds that the server asks for
    tried: bool = True  # False: it is left alone for a while, so nothing was sent


class CallRules(msgspec.Struct, frozen=True):
    """What the configuration says about calls."""

    timeout: float = 30.0  # seconds, from the look-up to the end of the answer
    parallel: int = 8  # calls to one server at once
    most: int = 64 * 1024  # octets of an answer
    pauses: tuple[float, ...] = _PAUSES


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to judged addresses only.

    allowed_by  the setting that allows others, for the error
    check       judges the certificate that the server showed, before anything is said to it
    """

    def __init__(self, reach: Reach, resolve: Resolve, allowed_by: str, check: CheckLeaf | None = None) -> None:
        self._reach = reach
        self._resolve = resolve
        self._allowed_by = allowed_by
        self._check = check
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Try the addresses of `host` in turn. Raises AddressRefused when one of them is not for us to reach."""
        addresses = await self._addresses(host, port)
        for address in addresses[:-1]:
            try:
                return self._judged(
                    await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        last = str(addresses[-1])
        return self._judged(await self._inner.connect_tcp(last, port, timeout, local_address, socket_options))

    def _judged(self, stream: httpcore2.AsyncNetworkStream) -> httpcore2.AsyncNetworkStream:
        return _Judged(stream, self._check) if self._check else stream

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        known = literal(host)
        try:
            found = [known] if known else [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError, ValueError):
            raise httpcore2.ConnectError("the name can't be resolved") from None
        if not found:
            raise httpcore2.ConnectError("the name has no address")
        if not all(may_reach(address, self._reach.networks) for address in found):
            raise AddressRefused(f"it leads to an address that is not public ({self._allowed_by})")
        return found


class _Judged(httpcore2.AsyncNetworkStream):
    """A connection whose TLS certificate is judged as soon as it is there."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, check: CheckLeaf) -> None:
        self._inner = inner
        self._check = check

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        shown = stream.get_extra_info("ssl_object")
        try:
            self._check(shown.getpeercert(True) or b"")
        except UntrustedCertificate:
            await stream.aclose()
            raise
        return stream

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Server:
    """Guards what is known of one server: whether it listens, how many calls are under way, what may be repeated."""

    def __init__(self, rules: CallRules) -> None:
        self.hearing = Hearing(rules.pauses)
        self.places = asyncio.Semaphore(rules.parallel)
        self.retries = 1.0

    def may_repeat(self) -> bool:
        if self.retries < 1:
            return False
        self.retries -= 1
        return True


class Transport:
    """Guards the connections to servers; use it as `async with`."""

    def __init__(self, trusting: Mapping[str, Trusting], rules: CallRules, resolve: Resolve | None = None) -> None:
        self._trusting = trusting
        self._rules = rules
        self._resolve = resolve or system_resolve
        self._pools: dict[tuple[str, Reach], httpcore2.AsyncConnectionPool] = {}
        self._servers: dict[str, _Server] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    def room(self, target: Target) -> int:
        """How many calls to this server make sense now: none while it is left alone, one while it is doubted."""
        hearing = self._server(target).hearing
        if hearing.left_alone:
            return 0
        return 1 if hearing.doubted else self._rules.parallel

    async def post(self, asked: Asked) -> Reply:
        """POST; every failure is a reply. What breaks before an answer is sent once more, as long as that is rare.

        So only what may be sent twice is sent this way.
        """
        server = self._server(asked.target)
        async with server.places:
            if server.hearing.left_alone:
                return Reply("it failed time after time and is left alone for a while", tried=False)
            reply = await self._bounded(asked, server)
        if reply.failure is None or _hears(reply.status):
            server.hearing.took()
        else:
            server.hearing.failed(reply.failure, reply.retry_after)
        return reply

    def _server(self, target: Target) -> _Server:
        return self._servers.setdefault(target.authority, _Server(self._rules))

    async def _bounded(self, asked: Asked, server: _Server) -> Reply:
        server.retries = min(server.retries + _RETRIES_A_CALL, _MOST_RETRIES)
        try:
            async with asyncio.timeout(self._rules.timeout):
                reply = await self._once(asked)
                if reply.failure == _ENDED and server.may_repeat():
                    reply = await self._once(asked)
                return reply
        except TimeoutError:
            return Reply("no answer in time")

    async def _once(self, asked: Asked) -> Reply:
        try:
            return await self._post(asked)
        except (AddressRefused, UntrustedCertificate) as refusal:
            return Reply(str(refusal))
        except httpcore2.TimeoutException:
            return Reply("no answer in time")
        except httpcore2.ConnectError as error:
            return Reply(connecting(error))
        except (httpcore2.NetworkError, httpcore2.ProtocolError):
            return Reply(_ENDED)

    async def _post(self, asked: Asked) -> Reply:
        target = asked.target
        url = httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        lines = {"Host": target.authority, "Content-Length": str(len(asked.body)), **asked.headers}
        fields = [(name.encode(), value.encode()) for name, value in lines.items()]
        limits = {"connect": _CONNECT_S, "read": self._rules.timeout, "write": self._rules.timeout}
        async with self._pool(asked).stream(
            "POST", url, headers=fields, content=asked.body, extensions={"timeout": limits}
        ) as response:
            body = bytearray()
            async for part in response.aiter_stream():
                body += part
                if len(body) > self._rules.most:
                    return Reply(f"its answer is longer than {self._rules.most} octets", response.status)
            return judge(response.status, response.headers, bytes(body))

    def _pool(self, asked: Asked) -> httpcore2.AsyncConnectionPool:
        place = (asked.trusting, asked.reach)
        if place not in self._pools:
            trusting = self._trusting[asked.trusting]
            self._pools[place] = httpcore2.AsyncConnectionPool(
                ssl_context=trusting.context,
                max_connections=_MOST_CONNECTIONS,
                keepalive_expiry=_KEEP_S,
                network_backend=CheckedBackend(
                    asked.reach, self._resolve, "`eim smdps change ADDRESS --network` allows one", trusting.check
                ),
            )
        return self._pools[place]


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def judge(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> Reply:
    """What an HTTP answer says: anything but 2xx is a failure."""
    if 200 <= status < 300:
        return Reply(None, status, body)
    words = f"it redirects (status {status}), which is not followed" if 300 <= status < 400 else f"status {status}"
    return Reply(words, status, b"", _retry_after(headers))


def _hears(status: int | None) -> bool:
    """Whether who answers so listens, whatever he thinks of what was said."""
    return status is not None and 400 <= status < 500 and status not in _BUSY


def connecting(error: httpcore2.ConnectError) -> str:
    """Why no connection came about, without anything the other side said."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not believed: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "no TLS connection came about"
        cause = cause.__cause__ or cause.__context__
    return str(error) if str(error).startswith("the name") else "no connection came about"


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return min(float(value), _LONGEST_WAIT)
    return None

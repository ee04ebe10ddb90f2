"""Calls to webhooks' receivers: checked addresses only, no redirects, bounded in time and in octets.

A name is looked up once for a connection, every address that comes back is judged, and the connection goes to an
address that was judged: a name that resolves to something else a moment later changes nothing.
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
from eim.errors import Refused
from eim.services.ports import Answered

_CONNECT_S: Final = 10.0
_READ_AT_MOST: Final = 16 * 1024  # octets of an answer's body, read only to keep the connection
_READ_WITHIN: Final = 1.0  # seconds
_KEEP_S: Final = 30.0  # an idle connection, and with it what its name resolved to
_MOST_CONNECTIONS: Final = 128
_LONGEST_WAIT: Final = 3600.0  # seconds that a receiver may ask for by Retry-After

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]  # (name, port) to addresses as text
# As a network backend gives them to a socket.
SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class AddressRefused(Refused):
    """The name leads to an address that is not public and not allowed by the configuration."""

    code = "address-refused"


class Outgoing(msgspec.Struct, frozen=True):
    """What the configuration says about calls to receivers."""

    reach: Reach
    context: ssl.SSLContext
    timeout: float  # seconds, from the look-up to the answer's status


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to judged addresses only."""

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach = reach
        self._resolve = resolve
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
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        known = literal(host)
        try:
            found = [known] if known else [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError, ValueError):
            raise httpcore2.ConnectError("the name can't be resolved") from None
        if not found:
            raise httpcore2.ConnectError("the name has no address")
        if not all(may_reach(address, self._reach.networks) for address in found):
            raise AddressRefused("it leads to an address that is not public (webhooks.allow_networks)")
        return found


class HttpSender:
    """Guards the connections to receivers; use it as `async with`."""

    def __init__(self, outgoing: Outgoing, resolve: Resolve | None = None) -> None:
        self._outgoing = outgoing
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=outgoing.context,
            max_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEEP_S,
            network_backend=CheckedBackend(outgoing.reach, resolve or system_resolve),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answered:
        """POST once, without following redirects; every failure is an answer."""
        if target.scheme != "https" and not self._outgoing.reach.plain:
            return Answered("plain HTTP is not allowed (webhooks.allow_http)")
        try:
            async with asyncio.timeout(self._outgoing.timeout) as deadline:
                return await self._post(target, headers, body, deadline)
        except AddressRefused as refusal:
            return Answered(str(refusal))
        except (TimeoutError, httpcore2.TimeoutException):
            return Answered("no answer in time")
        except httpcore2.ConnectError as error:
            return Answered(_connecting(error))
        except (httpcore2.NetworkError, httpcore2.ProtocolError):
            return Answered("the connection ended before an answer")

    async def _post(
        self, target: Target, headers: Mapping[str, str], body: bytes, deadline: asyncio.Timeout
    ) -> Answered:
        url = httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        lines = {"Host": target.authority, "Content-Length": str(len(body)), **headers}
        fields = [(name.encode(), value.encode()) for name, value in lines.items()]
        limits = {"connect": _CONNECT_S, "read": self._outgoing.timeout, "write": self._outgoing.timeout}
        async with self._pool.stream(
            "POST", url, headers=fields, content=body, extensions={"timeout": limits}
        ) as response:
            answered = _judge(response.status, response.headers)
            deadline.reschedule(None)  # it has answered in time, whatever becomes of the body
            await _drain(response)
        return answered


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


async def _drain(response: httpcore2.Response) -> None:
    """Read a short body, so that the connection can be used again; a longer or slower one ends with it."""
    size = 0
    try:
        async with asyncio.timeout(_READ_WITHIN):
            async for part in response.aiter_stream():
                size += len(part)
                if size > _READ_AT_MOST:
                    return
    except (TimeoutError, httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        return  # its status came, which is all that counts


def _judge(status: int, headers: Sequence[tuple[bytes, bytes]]) -> Answered:
    if 200 <= status < 300:
        return Answered(None, status)
    words = f"it redirects (status {status}), which is not followed" if 300 <= status < 400 else f"status {status}"
    return Answered(words, status, _retry_after(headers))


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return min(float(value), _LONGEST_WAIT)
    return None


def _connecting(error: httpcore2.ConnectError) -> str:
    """Why no connection came about, without anything the other side said."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not believed: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "no TLS connection came about"
        cause = cause.__cause__ or cause.__context__
    return str(error) if str(error).startswith("the name") else "no connection came about"

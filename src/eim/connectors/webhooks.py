"""Calls to webhooks' receivers: checked addresses only, no redirects, bounded in time and in octets."""

import asyncio
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import httpcore2
import msgspec

from eim.connectors.transport import (
    AddressRefused,
    CheckedBackend,
    Reply,
    Resolve,
    connecting,
    judge,
    system_resolve,
)
from eim.domain.webhook import Reach, Target
from eim.services.ports import Answered

_CONNECT_S: Final = 10.0
_READ_AT_MOST: Final = 16 * 1024  # octets of an answer's body, read only to keep the connection
_READ_WITHIN: Final = 1.0  # seconds
_KEEP_S: Final = 30.0  # an idle connection, and with it what its name resolved to
_MOST_CONNECTIONS: Final = 128


class Outgoing(msgspec.Struct, frozen=True):
    """What the configuration says about calls to receivers."""

    reach: Reach
    context: ssl.SSLContext
    timeout: float  # seconds, from the look-up to the answer's status


class HttpSender:
    """Guards the connections to receivers; use it as `async with`."""

    def __init__(self, outgoing: Outgoing, resolve: Resolve | None = None) -> None:
        self._outgoing = outgoing
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=outgoing.context,
            max_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEEP_S,
            network_backend=CheckedBackend(outgoing.reach, resolve or system_resolve, "webhooks.allow_networks"),
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
            return Answered(connecting(error))
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
            answered = _answered(judge(response.status, response.headers))
            deadline.reschedule(None)  # it has answered in time, whatever becomes of the body
            await _drain(response)
        return answered


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


def _answered(reply: Reply) -> Answered:
    return Answered(reply.failure, reply.status, reply.retry_after)

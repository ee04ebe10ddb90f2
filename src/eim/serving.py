"""Hypercorn as we use it: one app, one listening socket, our TLS context, an orderly end."""

import asyncio
import errno
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Sequence
from typing import Final, cast

import msgspec
from hypercorn.asyncio import serve
from hypercorn.config import Config as HypercornConfig
from hypercorn.typing import Framework
from starlette.applications import Starlette

from eim.errors import BadConfiguration
from eim.web.door import Door

_BACKLOG: Final = 4096  # connections that wait to be accepted: a region that comes back calls at once
_THRESHOLDS: Final = (50_000, 20, 100)  # allocations until the youngest are looked at, and how often the older ones
_TLS_GOODBYE: Final = 2.0  # seconds for the end of a TLS session


class PortInUse(BadConfiguration):
    """Somebody else listens there, perhaps only for a moment more."""

    code = "port-in-use"


class Limits(msgspec.Struct, frozen=True):
    """Seconds after which a peer that keeps us waiting is dropped."""

    handshake: float
    request: float
    keep_alive: float


class _Config(HypercornConfig):
    """Takes a TLS context that is already made: its certificate and suites are the configuration's."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._context = context

    @property
    def ssl_enabled(self) -> bool:
        return self._context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._context


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; port 0 takes any free one. `setting` is the configuration's section, for the error."""
    return listen_all(host, port, setting, 1)[0]


def listen_all(host: str, port: int, setting: str, many: int) -> Sequence[socket.socket]:
    """So many listening sockets on one port, among which the kernel deals out the connections (SO_REUSEPORT).

    The first one is bound alone: a port on which somebody listens, even one of ours, is not shared.
    """
    share = (socket.SO_REUSEPORT,) if many > 1 else ()
    first = _listening((host, port), setting, (), share)
    place = (host, first.getsockname()[1])
    return [first, *(_listening(place, setting, share, ()) for _ in range(many - 1))]


def _listening(place: tuple[str, int], setting: str, before: Sequence[int], after: Sequence[int]) -> socket.socket:
    """`before` and `after` the address is bound these options of the socket are set."""
    host, port = place
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, *before):
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        listener.bind(place)
        for option in after:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        fault = PortInUse if error.errno == errno.EADDRINUSE else BadConfiguration
        raise fault(
            f"{setting}.port: can't listen on {host} port {port} ({error.strerror}): "
            f"stop what uses it, or set {setting}.port (EIM_{setting.upper()}_PORT) to another; 0 takes any free one"
        ) from None
    listener.setblocking(False)
    return listener


async def serve_app(
    app: Starlette, listener: socket.socket, context: ssl.SSLContext | None, limits: Limits, stop: asyncio.Event
) -> None:
    """Serve `app` on `listener` until `stop`; requests under way are finished. It closes `listener` first of all."""
    config = _Config(context)
    config.bind = [f"fd://{listener.detach()}"]
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.ssl_handshake_timeout = limits.handshake
    # Between two requests a connection reads too, so this can't be below keep_alive; a body has its own deadline.
    config.read_timeout = round(max(limits.request, limits.keep_alive)) + 1
    config.keep_alive_timeout = limits.keep_alive
    config.graceful_timeout = 5.0
    await serve(cast("Framework", app), config, shutdown_trigger=stop.wait)


async def serve_door(
    door: Door, listener: socket.socket, context: ssl.SSLContext, limits: Limits, stop: asyncio.Event
) -> None:
    """Serve our own door on `listener` until `stop`; requests under way are finished."""
    server = await asyncio.get_running_loop().create_server(
        door.connect,
        sock=listener,
        backlog=_BACKLOG,
        ssl=context,
        ssl_handshake_timeout=limits.handshake,
        ssl_shutdown_timeout=_TLS_GOODBYE,
    )
    try:
        await stop.wait()
    finally:
        server.close()
        await door.drain()


def collect_rarely() -> None:
    """What is loaded by now stays, so the collector need not look at it again; and our requests leave few cycles.

    With Python's own thresholds a worker that seals spends half of its time in looking for garbage that isn't there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or ctrl-C sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop

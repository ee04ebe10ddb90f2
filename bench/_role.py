"""The device role as `eim serve` runs it, in the shape that a benchmark asks for.

    python -m bench._role DESCRIPTOR [plain] [single]

plain   over HTTP instead of HTTPS: what the door costs by itself
single  a question for each poll on eight held connections, instead of one for all that came meanwhile
"""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop
from starlette.applications import Starlette

from eim import app, logs, serving
from eim.config_loading import load
from eim.services import gathering
from eim.web.door import Door

Serve = Callable[[Starlette, socket.socket, ssl.SSLContext | None, serving.Limits, asyncio.Event], Awaitable[None]]
_SINGLE_LANES: Final = 8


async def _serve_plainly(
    door: Door, listener: socket.socket, _: ssl.SSLContext, __: serving.Limits, stop: asyncio.Event
) -> None:
    server = await asyncio.get_running_loop().create_server(door.connect, sock=listener, backlog=4096)
    await stop.wait()
    server.close()
    await door.drain()


def _without_tls(serve: Serve) -> Serve:
    async def served(
        app: Starlette, listener: socket.socket, _: ssl.SSLContext | None, limits: serving.Limits, stop: asyncio.Event
    ) -> None:
        await serve(app, listener, None, limits, stop)

    return served


async def main(descriptor: int, shape: set[str]) -> None:
    config = load(None, os.environ).config
    logs.configure(config.server.log_level, config.server.log_format, "device")
    if "plain" in shape:
        serving.serve_door = _serve_plainly  # type: ignore[assignment]
        serving.serve_app = _without_tls(serving.serve_app)  # type: ignore[assignment]
    if "single" in shape:
        gathering._MOST = 1  # type: ignore[misc]  # noqa: SLF001
        app._LANES = _SINGLE_LANES  # type: ignore[misc]  # noqa: SLF001
    serving.collect_rarely()
    await app.run_device(config, socket.socket(fileno=descriptor), serving.stop_on_signals())


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), set(sys.argv[2:])))

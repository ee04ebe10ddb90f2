"""The baseline of polls: a Starlette app that always says the same 6 octets, served and secured as the eIM is.

    python -m bench._constant DESCRIPTOR

Configured by the environment, as a role of `eim serve`.
"""

import os
import socket
import sys

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eim import app, credentials, serving
from eim.config_loading import load
from eim.protocol.esipa import NO_PACKAGE
from eim.web.esipa import PATH


async def answer(request: Request) -> Response:
    await request.body()
    return Response(NO_PACKAGE, media_type="application/x-gsma-rsp-asn1")


async def main(descriptor: int) -> None:
    config = load(None, os.environ).config
    files = credentials.device_tls(config, credentials.own_identity(config), app.now())
    limits = serving.Limits(config.device.handshake_deadline, config.device.request_deadline, config.device.keep_alive)
    await serving.serve_app(
        Starlette(routes=[Route(PATH, answer, methods=["POST"])]),
        socket.socket(fileno=descriptor),
        credentials.device_context(config, files),
        limits,
        serving.stop_on_signals(),
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

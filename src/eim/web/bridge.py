"""One request for an ASGI app, whole before it starts, and its answer, whole before it is sent."""

from collections.abc import MutableMapping, Sequence
from typing import Any

import msgspec
from starlette.types import ASGIApp


class Asked(msgspec.Struct, frozen=True):
    method: str
    target: bytes  # path and query as they came
    headers: Sequence[tuple[bytes, bytes]]  # names in lower case
    body: bytes
    peer: str


class Answered(msgspec.Struct):
    status: int = 500
    headers: list[tuple[bytes, bytes]] = []
    body: bytes = b""


async def run_app(app: ASGIApp, asked: Asked) -> Answered:
    """What `app` answers (ASGI HTTP specification, version 2.3). What the app raises goes through."""
    answered, given = Answered(), False

    async def receive() -> MutableMapping[str, Any]:  # ASGI's own message type
        nonlocal given
        if given:
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            answered.body += message.get("body", b"")

    await app(_scope(asked), receive, send)
    return answered


def _scope(asked: Asked) -> MutableMapping[str, Any]:
    path, _, query = asked.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "https",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": asked.headers,
        "client": (asked.peer, 0),
        "server": None,
    }

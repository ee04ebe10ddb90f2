"""A webhook's receiver on a real socket: it checks signatures, remembers, and misbehaves on request."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

Answer = Callable[["Post"], int | str]  # a status, or slow, close, half, drip, redirect


class Post(msgspec.Struct, frozen=True):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def ident(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    def signed_by(self, secret: str | None) -> bool:
        """By the rules of Standard Webhooks, written independently of ours."""
        assert secret is not None
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.ident}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        return fresh and any(hmac.compare_digest(expected, each) for each in self.headers["webhook-signature"].split())


class Receiver:
    """Guards a listening socket. `posts` are all requests, `taken` those that were answered 2xx."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.taken: list[Post] = []
        self.connections = 0
        self.idents: set[str] = set()  # of those taken
        self.answer: Answer = lambda _: 204
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    def subjects(self) -> dict[str, list[Any]]:
        """subject: the numbers in its events, in the order in which each was first taken."""
        found: dict[str, list[Any]] = {}
        seen = set()
        for post in self.taken:
            if post.ident not in seen:
                seen.add(post.ident)
                found.setdefault(post.event["subject"], []).append(post.event["data"].get("n", post.event["type"]))
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while (post := await _read(reader)) is not None:
                self.posts.append(post)
                if not await self._answer(post, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, post: Post, writer: asyncio.StreamWriter) -> bool:
        said = self.answer(post)
        match said:
            case "slow":
                await asyncio.sleep(5)
                return False
            case "close":
                return False
            case "half":
                writer.write(b"HTTP/1.1 20")
                await writer.drain()
                return False
            case "drip":
                self._take(post)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx")
                await writer.drain()
                await asyncio.sleep(5)
                return False
            case "flood":
                self._take(post)
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(1000):
                    writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                    await writer.drain()
                return False
            case "redirect":
                writer.write(
                    f"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:{self.port}/\r\nContent-Length: 0\r\n\r\n".encode()
                )
            case "later":
                writer.write(b"HTTP/1.1 429 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            case _:
                if isinstance(said, int) and 200 <= said < 300:
                    self._take(post)
                writer.write(f"HTTP/1.1 {said} x\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True

    def _take(self, post: Post) -> None:
        self.taken.append(post)
        self.idents.add(post.ident)

    def drop(self) -> None:
        for writer in list(self._open):
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.drop()


async def _read(reader: asyncio.StreamReader) -> Post | None:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    return Post(lines[0].split(" ")[1], headers, await reader.readexactly(int(headers["content-length"])))

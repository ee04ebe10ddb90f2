"""HTTP/1.1 requests read from octets as they come: bounded, and refused where two readers could differ (RFC 9112).

The parser (llhttp, by httptools) refuses by itself: Content-Length beside Transfer-Encoding, two lengths, folded lines,
bare line feeds and carriage returns, blanks before a colon, control characters. What it lets through and we don't:
chunk extensions, the absolute form, other codings than chunked, HTTP/0.9, no Host or several.
"""

from collections.abc import Callable
from typing import Final

import httptools
import msgspec

from eim.web.chunks import is_plain

HEAD_LIMIT: Final = 8 * 1024  # octets of a request line and its header lines
_MOST_HEADERS: Final = 64
_END_OF_HEAD: Final = b"\r\n\r\n"


class Fault(msgspec.Struct, frozen=True):
    """Why a request is refused, and its connection ended after the answer."""

    status: int
    text: str


class Head(msgspec.Struct):
    """A request's line and header lines."""

    method: str = ""
    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = msgspec.field(default_factory=list)  # names in lower case
    content_type: bytes | None = None
    admin: bytes = b""  # X-Admin-Protocol
    length: int = 0  # as announced
    keep_alive: bool = True
    expects: bool = False  # .. to be told to go on before it sends its body
    chunked: bool = False


class Request(msgspec.Struct, frozen=True):
    """A request that came in whole, or one that is refused: then nothing behind it on its connection is read."""

    head: Head
    body: bytes = b""
    fault: Fault | None = None


class Reader:
    """Guards one connection's parser. Whole requests go to `take`, in their order; `go_on` asks for a body."""

    __slots__ = (
        "_begun", "_between", "_body", "_body_limit", "_body_size", "_dead", "_go_on", "_head", "_head_size", "_parser",
        "_raw", "_segment", "_tail", "_take", "reading",
    )  # fmt: skip

    def __init__(self, take: Callable[[Request], None], go_on: Callable[[], None], body_limit: int) -> None:
        self._take = take
        self._go_on = go_on
        self._body_limit = body_limit
        self._parser: httptools.HttpRequestParser | None = None  # few need one: made when the first octets come
        self._head: Head | None = None  # there while a head is being read
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._segment = b""
        self._tail = b""  # of the segment before, while a request was being read
        self._begun = 0  # requests that began in this segment
        self._between = True  # it began between two requests
        self._raw: bytearray | None = None  # a chunked body as it comes
        self._dead = False
        self.reading = False  # part of a request has come, and not all of it

    def feed(self, segment: bytes) -> None:
        """Read on. Never raises for what a peer sends."""
        if self._dead:
            return
        self._tail = (self._tail + self._segment)[-3:] if self.reading else b""
        self._segment, self._begun, self._between = segment, 0, not self.reading
        if self._raw is not None:
            self._raw += segment
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(segment)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "this server speaks HTTP/1.1 only")
        except httptools.HttpParserCallbackError as error:  # one of ours
            raise error.__context__ or error from None
        except httptools.HttpParserError:
            self._refuse(400, "this is no HTTP/1.1 request")
        if self.reading and self._body_size == 0 and self._head is not None and not self._head.method:
            self._head_size += len(segment)
            if self._head_size > HEAD_LIMIT:
                self._refuse(431, "the request's head is too large")

    def close(self) -> None:
        """Read no more, and let go of all that holds this: none of it has to wait for the garbage collector.

        It looks rarely (`serving.collect_rarely`), and a region that calls would leave thousands of them meanwhile.
        """
        self._dead, self._parser, self._head, self._raw = True, None, None, None
        self._take, self._go_on = _ignore, _ignore

    # --- What the parser calls --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head, self._head_size, self._body, self._body_size, self._raw = Head(), 0, [], 0, None
        self.reading = True
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        if self._head is not None:
            self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None or self._dead:
            return
        self._head.headers.append((name.lower(), value))
        self._head_size += len(name) + len(value)
        if len(self._head.headers) > _MOST_HEADERS or self._head_size > HEAD_LIMIT:
            self._refuse(431, "the request's head is too large")

    def on_headers_complete(self) -> None:
        head, parser = self._head, self._parser
        if head is None or parser is None or self._dead:
            return
        head.method = parser.get_method().decode("ascii")
        head.keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            self._refuse(400, "this server speaks HTTP/1.1 only")
        elif fault := _understand(head, parser.get_http_version()):
            self._refuse(fault.status, fault.text)
        elif head.length > self._body_limit:
            self._refuse(413, "the message is too large")
        elif head.expects:
            self._go_on()
        if head.chunked and (self._begun == 0 or (self._begun == 1 and self._between)):
            _, _, body = (self._tail + self._segment).partition(_END_OF_HEAD)
            self._raw = bytearray(body)  # behind another request its place is not known: there, extensions are ignored

    def on_body(self, part: bytes) -> None:
        self._body_size += len(part)
        if self._body_size > self._body_limit:
            self._refuse(413, "the message is too large")
        elif not self._dead:
            self._body.append(part)

    def on_message_complete(self) -> None:
        head, self._head, self.reading = self._head, None, False
        raw, self._raw = self._raw, None
        if raw is not None and not is_plain(raw):
            self._refuse(400, "chunk extensions are not taken")
        if head is not None and not self._dead:
            self._take(Request(head, b"".join(self._body)))
        self._body = []

    def _refuse(self, status: int, text: str) -> None:
        if not self._dead:
            self._dead, self.reading = True, False
            self._take(Request(self._head or Head(), fault=Fault(status, text)))
            self._body, self._raw = [], None


def _ignore(*_: object) -> None:
    """Nobody waits for what was read."""


def _understand(head: Head, version: str) -> Fault | None:
    """Read what the header lines say into `head`; what can't be taken is a fault."""
    hosts = 0
    for name, value in head.headers:
        if name in _NOTED:
            if name == b"host":
                hosts += 1
            elif fault := _note(head, name, value):
                return fault
    if version not in ("1.0", "1.1") or (head.chunked and version == "1.0"):
        return Fault(400, "this server speaks HTTP/1.1 only")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return Fault(400, "a request has one Host header")
    if not head.target.startswith(b"/"):
        return Fault(400, "write the path alone")
    return None


_NOTED: Final = frozenset(
    {b"host", b"content-type", b"x-admin-protocol", b"content-length", b"expect", b"transfer-encoding"}
)


def _note(head: Head, name: bytes, value: bytes) -> Fault | None:
    match name:
        case b"content-type":
            head.content_type = value
        case b"x-admin-protocol":
            head.admin = value
        case b"content-length":
            head.length = int(value)
        case b"expect":
            head.expects = True
            return None if value.lower() == b"100-continue" else Fault(417, "nothing but 100-continue can be expected")
        case b"transfer-encoding":
            head.chunked = True
            return None if value.lower() == b"chunked" else Fault(501, "no transfer coding but chunked is known")
    return None

"""What goes back over the door's connections, octet for octet as Hypercorn would write it."""

import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final

from eim.protocol.esipa import NO_PACKAGE
from eim.web import esipa as binding
from eim.web.esipa import MEDIA_TYPE, Answer

_MOST_PROTOCOLS: Final = 64  # values of X-Admin-Protocol for which answers are kept ready
_NO_LENGTH: Final = b"content-length: 0"


class Replies:
    """Guards the Date, and what is ready of the answers that come most: both are good for a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = b""
        self._nothing: dict[bytes, bytes] = {}  # the whole answer that says so, by X-Admin-Protocol as it was asked
        self._around: dict[bytes, tuple[bytes, bytes]] = {}  # what stands before and behind a body's length

    def write(self, status: int, headers: Iterable[tuple[bytes, bytes]], end: bytes) -> bytes:
        """An answer's octets up to its body; `end` follows the Date."""
        self._look_at_the_clock()
        lines = [b"HTTP/1.1 %d \r\n" % status]
        lines += [b"%b: %b\r\n" % each for each in headers]
        return b"%bdate: %b\r\n%b\r\n" % (b"".join(lines), self._date, end)

    def message(self, admin: bytes, body: bytes) -> bytes:
        """The whole answer with an ESipa message, on a connection that is kept."""
        self._look_at_the_clock()
        before, behind = self._around.get(admin) or self._surround(admin)
        return b"%b%d%b%b" % (before, len(body), behind, body)

    def nothing(self, admin: bytes) -> bytes:
        """The whole answer to a poll that finds nothing, on a connection that is kept."""
        self._look_at_the_clock()
        octets = self._nothing.get(admin)
        if octets is None:
            octets = self.message(admin, NO_PACKAGE)
            if len(self._nothing) < _MOST_PROTOCOLS:
                self._nothing[admin] = octets
        return octets

    def _surround(self, admin: bytes) -> tuple[bytes, bytes]:
        empty = Answer(200, {"X-Admin-Protocol": admin_protocol(admin)}, b"", MEDIA_TYPE)
        before, length, behind = self.write(200, headers_of(empty), b"").partition(_NO_LENGTH)
        around = before + length[:-1], behind
        if len(self._around) < _MOST_PROTOCOLS:
            self._around[admin] = around
        return around

    def _look_at_the_clock(self) -> None:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
            self._nothing.clear()
            self._around.clear()


def admin_protocol(asked: bytes) -> str:
    """The X-Admin-Protocol to answer with."""
    return binding.admin_protocol(asked.decode("latin-1")) if asked else binding.ADMIN_PROTOCOL


def headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Its header lines, without the Date."""
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    if answer.media_type is not None:
        headers.append((b"content-length", b"%d" % len(answer.body)))
        headers.append((b"content-type", answer.media_type.encode()))
    return headers

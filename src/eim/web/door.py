"""The door of the device role: ESipa on an asyncio Protocol, without a framework in between.

It answers POST /gsma/rsp2/asn1 itself, by the functions that the Starlette route uses, and hands everything else to the
device app. The requests of a connection are answered one at a time, in the order they came; what waits is bounded in
number and octets, and so is the time for each part.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from functools import partial
from math import inf
from typing import Final

import msgspec
import structlog
from starlette.types import ASGIApp

from eim._fast.esipa import meet_posted_poll
from eim._fast.http import read_post
from eim.domain.ids import Eid
from eim.errors import EimError, Malformed
from eim.protocol.esipa import NO_PACKAGE, Poll, Provided, Received, bare_poll
from eim.services.collecting import Collecting
from eim.services.esipa import Esipa, polled_eid
from eim.services.gathering import Gathering
from eim.services.whose import Source
from eim.web import esipa as binding
from eim.web.admission import Admission
from eim.web.bridge import Asked, run_app
from eim.web.esipa import MEDIA_TYPE, PATH, Answer, plain
from eim.web.reading import Head, Reader, Request
from eim.web.replies import Replies, admin_protocol, headers_of
from eim.web.wheel import Wheel

_MOST_WAITING: Final = 16  # requests of one connection behind the one under way; beyond that, its octets wait unread
_PATH: Final = PATH.encode()
_MEDIA_TYPE: Final = MEDIA_TYPE.encode()
_DRAIN: Final = 5.0  # seconds for requests under way when the process ends
_CLOSE: Final = b"Connection: close\r\n"

_log = structlog.get_logger()


class DoorRules(msgspec.Struct, frozen=True):
    """The bounds: octets, seconds, and how many connections one process keeps."""

    body_limit: int
    request: float  # for a whole request to come in, from its first octet, and for its answer to be read
    keep_alive: float  # between two requests
    connections: int  # one more is closed at once
    under_way: int  # messages; one more is told to come again


class Door:
    """Guards what the connections of one process share."""

    def __init__(
        self, esipa: Esipa, gathering: Gathering, collecting: Collecting, app: ASGIApp, rules: DoorRules
    ) -> None:
        self.esipa = esipa
        self.gathering = gathering
        self.collecting = collecting
        self.app = app
        self.rules = rules
        self.body_limit, self.keep_alive = rules.body_limit, rules.keep_alive
        self.known, self.fresh = gathering.known, gathering.stale_after
        self.wheel = Wheel()
        self.replies = Replies()
        self.admission = Admission(rules.under_way)
        self.connections: set[Connection] = set()
        self.draining = False
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self) -> "Connection":
        """The protocol of a new connection."""
        return Connection(self)

    def spawn(self, deed: Coroutine[object, object, None]) -> None:
        """Run `deed` beside everything else; it handles its own errors."""
        task = asyncio.get_running_loop().create_task(deed)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Finish what is under way; connections that wait for their next request end now."""
        self.draining = True
        for connection in list(self.connections):
            connection.end_when_idle()
        until = time.monotonic() + _DRAIN
        while self.connections and time.monotonic() < until:  # noqa: ASYNC110 - each ends by itself
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.expire()


class Connection(asyncio.Protocol):
    """Guards one connection: what came of it and is not answered yet."""

    __slots__ = ("_busy", "_door", "_full", "_head", "_last", "_paused", "_poll", "_reader", "_transport", "_waiting",
                 "deadline", "peer", "polled", "slot", "source")  # fmt: skip

    def __init__(self, door: Door) -> None:
        self._door = door
        self._reader = Reader(self._take, self._go_on_sending, door.rules.body_limit)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Request] = deque()
        self._busy = False  # a request is being answered
        self._last = False  # nothing more is read or answered after this one
        self._paused = False  # the peer does not read what we wrote
        self._full = False  # we don't read what the peer wrote
        self._head: Head | None = None  # of the poll that is being answered; None: a bare one, kept in a shorter way
        self._poll: Poll | bytes = b""  # it, or the X-Admin-Protocol of a bare one, whose EID is `polled`
        self.source = 0
        self.polled: Eid | None = None  # the EID that last polled on this connection: an untrusted hint
        self.peer = "unknown"
        self.deadline = inf
        self.slot = 0

    # --- What asyncio calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # of uvloop, which has no common class with asyncio's
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else "unknown"
        self.source = hash(self.peer) & 0xFFFFFFFF
        if self._door.draining or len(self._door.connections) >= self._door.rules.connections:
            self.expire()
            return
        self._door.connections.add(self)
        self.deadline = time.monotonic() + self._door.rules.keep_alive
        self._door.wheel.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._reader.close()
        self._waiting.clear()
        self._door.wheel.remove(self)
        self._door.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        was_reading = self._reader.reading
        if not (self._busy or was_reading or self._waiting or self._last or self._paused):
            now = time.monotonic()
            door = self._door
            usual = meet_posted_poll(data, door.body_limit, door.known, self.source, now - door.fresh, now)
            if usual is not None:
                self._bare_poll(*usual, now)
                return
            posted = read_post(data, door.body_limit)
            if posted is not None:
                body, admin = posted
                self._begin()
                self._esipa(Request(_bare_head(admin), body))
                return
        self._reader.feed(data)
        if self._reader.reading and not was_reading:
            self.deadline = time.monotonic() + self._door.rules.request
        if len(self._waiting) > _MOST_WAITING and self._transport is not None and not self._full:
            self._full = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._paused = True
        self.deadline = time.monotonic() + self._door.rules.request

    def resume_writing(self) -> None:
        self._paused = False
        self._rest()
        self._next()

    def eof_received(self) -> bool:
        """The peer says no more; what it asked is still answered. TLS can't be half open: there it just ends."""
        if (self._busy or self._waiting) and self._transport is not None:
            self._last = True
            return self._transport.get_extra_info("ssl_object") is None
        return False

    # --- Deadlines --------------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Somebody was too slow, or the process ends. Who sent half a request is told; who doesn't read is cut off."""
        if self._transport is None:
            return
        if self._reader.reading and not self._paused and not self._last:
            head, self._last = Head(), True
            self._send(head, plain(408, "the message was not complete in time", admin_protocol(head.admin)))
        else:
            self._transport.abort()

    def end_when_idle(self) -> None:
        """The process ends: a request that has begun to come is still answered."""
        if not self._busy and not self._waiting and not self._reader.reading:
            self._close()

    def _rest(self) -> None:
        """What the peer does next has a deadline of its own."""
        rules = self._door.rules
        self.deadline = time.monotonic() + (rules.request if self._reader.reading or self._paused else rules.keep_alive)

    # --- Requests ---------------------------------------------------------------------------------------------------

    def _take(self, request: Request) -> None:
        self._waiting.append(request)
        self._next()

    def _go_on_sending(self) -> None:
        if self._transport is not None and not self._busy:
            self._transport.write(b"HTTP/1.1 100 \r\n\r\n")

    def _next(self) -> None:
        """Answer what waits first, when nothing else is under way."""
        if self._busy or self._paused or self._last or not self._waiting:
            return
        request = self._waiting.popleft()
        self._begin()
        if request.fault is not None:
            self._last = True
            fault = request.fault
            self._send(request.head, plain(fault.status, fault.text, admin_protocol(request.head.admin)))
        elif request.head.target == _PATH and request.head.method == "POST":
            self._esipa(request)
        else:
            self._door.spawn(self._hand_over(request))

    def _begin(self) -> None:
        self._busy = True
        self._door.admission.under_way += 1
        self.deadline = inf  # it is our turn now; the database has deadlines of its own

    def _esipa(self, request: Request) -> None:
        head = request.head
        if head.content_type not in (_MEDIA_TYPE, None) and not binding.is_asn1(head.content_type.decode("latin-1")):
            self._send(head, binding.wrong_media_type(admin_protocol(head.admin)))
            return
        admission = self._door.admission
        if admission.is_full and (refusal := admission.refusal(admin_protocol(head.admin))) is not None:
            self._send(head, refusal)
            return
        try:
            received = binding.read(request.body)
        except Malformed as error:
            self._send(head, binding.refusal(error, admin_protocol(head.admin)))
            return
        if (eid := polled_eid(received)) is not None:
            self.polled = eid
        match received:
            case Poll():
                self._head, self._poll = head, received
                self._door.gathering.ask(received, self)
            case Provided():
                self._door.collecting.bring(received, partial(self._respond, head, received))
            case _:
                self._door.spawn(self._answer(head, received))

    def _respond(self, head: Head, received: Received, found: bytes | EimError | None) -> None:
        if isinstance(found, bytes):
            self._say(head, found)
        elif found is None:
            self._door.spawn(self._answer(head, received))
        else:
            self._send(head, _refusal(found, admin_protocol(head.admin)))

    def _bare_poll(self, eid: bytes, admin: bytes, finds_nothing: bool, now: float) -> None:  # noqa: FBT001
        """What the general way would come to, for the request that comes most."""
        if finds_nothing and not self._door.draining and self._transport is not None:
            self.polled = Eid(eid)
            self.deadline = now + self._door.keep_alive
            self._transport.write(self._door.replies.nothing(admin))
            return
        self._begin()
        admission = self._door.admission
        if admission.is_full and (refusal := admission.refusal(admin_protocol(admin))) is not None:
            self._send(_bare_head(admin), refusal)
            return
        self.polled = Eid(eid)
        self._head, self._poll = None, admin
        self._door.gathering.ask_bare(self.polled, self)

    # --- What the gathered polls hear -------------------------------------------------------------------------------

    def nothing(self) -> None:
        """Nothing waits for who polled."""
        admin = self._poll
        if self._head is not None or not isinstance(admin, bytes):
            self.hear(NO_PACKAGE)
        elif self._last or self._paused or self._door.draining:
            self._end_with(_bare_head(admin), NO_PACKAGE)
        else:
            self._write(self._door.replies.nothing(admin))

    def hear(self, found: bytes | EimError | None) -> None:
        """The answer to who polled; None: find it by itself; or why there is none."""
        head, poll = self._head, self._poll
        if head is None or isinstance(poll, bytes):
            admin = poll if isinstance(poll, bytes) else b""
            if isinstance(found, bytes) and not self._last and not self._door.draining:
                self._write(self._door.replies.message(admin, found))
                return
            head, poll = _bare_head(admin), bare_poll(self.polled or b"")
        self._respond(head, poll, found)

    async def _answer(self, head: Head, received: Received) -> None:
        admin = admin_protocol(head.admin)
        try:
            answer = await binding.answer_to(self._door.esipa, received, Source(self.peer, self.polled), admin)
        except EimError as error:
            answer = _refusal(error, admin)
        except Exception:  # noqa: BLE001 - one message's fault is not the others'
            _log.exception("esipa.failed")
            answer = plain(500, "internal error", admin)
        self._send(head, answer)

    async def _hand_over(self, request: Request) -> None:
        head = request.head
        try:
            answered = await run_app(
                self._door.app, Asked(head.method, head.target, head.headers, request.body, self.peer)
            )
            self._put(head, answered.status, answered.headers, answered.body)
        except Exception:  # noqa: BLE001 - one request's fault is not the others'
            _log.exception("door.failed")
            self._send(head, plain(500, "internal error", admin_protocol(head.admin)))

    # --- Answers ----------------------------------------------------------------------------------------------------

    def _say(self, head: Head, message: bytes) -> None:
        """Answer with an ESipa message."""
        if self._last or not head.keep_alive or self._door.draining:
            self._end_with(head, message)
        else:
            self._write(self._door.replies.message(head.admin, message))

    def _end_with(self, head: Head, message: bytes) -> None:
        self._send(head, Answer(200, {"X-Admin-Protocol": admin_protocol(head.admin)}, message, MEDIA_TYPE))

    def _write(self, octets: bytes) -> None:
        """A whole answer, on a connection that is kept."""
        self._busy = False
        self._door.admission.under_way -= 1
        if self._transport is not None:
            self._transport.write(octets)
            self._go_on()

    def _send(self, head: Head, answer: Answer) -> None:
        self._put(head, answer.status, headers_of(answer), answer.body)

    def _put(self, head: Head, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        if self._busy:
            self._busy = False
            self._door.admission.under_way -= 1
        if self._transport is None:
            return
        kept = [each for each in headers if each[0] != b"connection"]
        last = self._last or not head.keep_alive or self._door.draining or len(kept) < len(headers)
        octets = self._door.replies.write(status, kept, _CLOSE if last else b"")
        self._transport.write(octets if head.method == "HEAD" else octets + body)
        if last:
            self._close()
            return
        self._go_on()

    def _go_on(self) -> None:
        """An answer is given; what the peer does next has a deadline, and what it asked meanwhile its turn."""
        self._rest()
        if self._full and self._transport is not None and len(self._waiting) <= _MOST_WAITING // 2:
            self._full = False
            self._transport.resume_reading()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def _close(self) -> None:
        self._last = True
        self.deadline = time.monotonic() + self._door.rules.request
        if self._transport is not None:
            self._transport.close()


def _bare_head(admin: bytes) -> Head:
    return Head("POST", _PATH, admin=admin)


def _refusal(error: EimError, admin: str) -> Answer:
    """What `error` looks like to a device; a fault of ours is logged and looks like one."""
    try:
        return binding.refusal(error, admin)
    except EimError:
        _log.exception("esipa.failed")
        return plain(500, "internal error", admin)

"""What a poll on a connection of its own costs, TLS 1.3 and 1.2, in full and resumed: beside nginx `return 200`."""

import asyncio
import itertools
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import uvloop

from bench import _nginx
from bench._estate import database, postgres, settle_in, vacuum
from bench._https import Server, request, servers, wrapped
from bench._measuring import Contender, Done, Score, Size, Work, compete, conditions, cpu_of, line, size
from bench._records import cost, record
from eim.domain.ids import Eid

_STANDARD: Final = Size(rounds=7, operations=400, euiccs=1_000)
_CALLERS: Final = 8  # threads that call at once
_PATIENCE: Final = 30.0
_NOTHING: Final = wrapped(b"")  # no ESipa message: the door says so by itself


class Way(msgspec.Struct, frozen=True):
    """How devices connect."""

    name: str
    version: ssl.TLSVersion
    resumed: bool
    cost: str | None = None  # its name for bench/capacity.py


_WAYS: Final = (
    Way("tls13_full", ssl.TLSVersion.TLSv1_3, resumed=False, cost="poll_new"),
    Way("tls13_resumed", ssl.TLSVersion.TLSv1_3, resumed=True, cost="poll_resumed13"),
    Way("tls12_full", ssl.TLSVersion.TLSv1_2, resumed=False),
    Way("tls12_resumed", ssl.TLSVersion.TLSv1_2, resumed=True, cost="poll_resumed12"),
)


class Callers:
    """Guards the clients of one server and one way; they are not measured."""

    def __init__(self, port: int, way: Way, server: Server) -> None:
        self._place = ("127.0.0.1", port)
        self._resumed = way.resumed
        self._context = ssl.create_default_context(cafile=server.files.ca)
        self._context.minimum_version = self._context.maximum_version = way.version

    async def call(self, requests: Sequence[bytes]) -> Done:
        """One connection for each request. Raises RuntimeError when one is answered otherwise than by 200."""
        await asyncio.to_thread(self._call, requests)
        return Done(len(requests))

    def _call(self, requests: Sequence[bytes]) -> None:
        waiting, failed = queue.SimpleQueue[bytes](), list[BaseException]()
        for each in requests:
            waiting.put(each)
        threads = [threading.Thread(target=self._work, args=(waiting, failed)) for _ in range(_CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise RuntimeError("a call failed") from failed[0]

    def _work(self, waiting: "queue.SimpleQueue[bytes]", failed: list[BaseException]) -> None:
        session: ssl.SSLSession | None = None
        try:
            while True:
                session = self._one(waiting.get_nowait(), session if self._resumed else None)
        except queue.Empty:
            pass
        except (OSError, RuntimeError) as error:
            failed.append(error)

    def _one(self, octets: bytes, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        with (
            _undelayed(self._place) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(octets)
            answer = connection.recv(4096)
            if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")) or (
                session is not None and not connection.session_reused
            ):
                raise RuntimeError(f"answered {answer[:40]!r}, resumed: {connection.session_reused}")
            return connection.session


def _undelayed(place: tuple[str, int]) -> socket.socket:
    """A connection. A resumed TLS 1.2 client writes twice in a row: the second would wait for an ACK."""
    plain = socket.create_connection(place, _PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


async def main(wanted: Size) -> None:
    program = _nginx.found()
    if program is None:
        line("tls_handshake", "not measured: there is no nginx, and apt gives none")
        return
    async with database() as made:
        eids = await settle_in(made, wanted.euiccs)
        await vacuum(made)
        turn: Iterator[Eid] = itertools.cycle(eids)

        def polls() -> Sequence[bytes]:
            return [request(eid) for eid in itertools.islice(turn, wanted.operations)]

        with servers(made) as (eim, _), _nginx.running(program, eim.files.certificate, eim.files.key) as nginx:
            own = cpu_of(lambda: [eim.pid])
            for way in _WAYS:
                ours, theirs = Callers(eim.port, way, eim), Callers(nginx.tls, way, eim)
                parts = {"server": own, "postgres": cpu_of(postgres)}
                contenders = [
                    Contender("connection", _calling(ours, lambda: [_NOTHING] * wanted.operations), own),
                    Contender("poll", _calling(ours, polls), eim.cpu, parts=parts),
                    Contender("nginx", _calling(theirs, polls), nginx.cpu),
                ]
                show(way, await compete(contenders, wanted.rounds), wanted)


def _calling(callers: Callers, some: Callable[[], Sequence[bytes]]) -> Work:
    return lambda: callers.call(some())


def show(way: Way, scores: Mapping[str, Score], wanted: Size) -> None:
    about = conditions(
        f"{_CALLERS} at a time", f"{wanted.euiccs:,} eUICCs", "P-256 certificate", f"{wanted.rounds} rounds"
    )
    alone, poll, nginx = scores["connection"], scores["poll"], scores["nginx"]
    line(
        way.name,
        f"nginx / ours {alone.beside(nginx):.2f} with a request that needs no database",
        f"{poll.beside(nginx):.2f} with a poll",
        f"us {alone.micros:.0f}, poll {poll.micros_of('server'):.0f} + Postgres {poll.micros_of('postgres'):.0f}, "
        f"nginx `return 200` {nginx.micros:.0f}",
        about,
    )
    if way.cost == "poll_new":
        record("poll_new", alone.micros, nginx.micros, alone.beside(nginx), f"a request that needs no database {about}")
    if way.cost is not None:
        cost(way.cost, poll.micros_of("server"), poll.micros_of("postgres"), about)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

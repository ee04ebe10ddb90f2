"""Where the time goes: a flame graph of each path, drawn while a real `eim serve` is under load.

    python -m bench.flames [--euiccs 5000]     writes docs/pictures/flame-*.svg

Needs Linux's perf and wrk. CPU time only, of the kernel too; Python 3.11 doesn't tell perf its functions' names, so
that all of the interpreter between two native functions is one box.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop

from bench import _flame, _folding
from bench._cards import issue, settle_in
from bench._estate import postgres
from bench._https import request
from bench._load import wrk
from bench._measuring import Size, line, size
from bench._paced import Requests
from bench._serving import by_process, door, logins, operator, serve
from bench.full_cycle import Bench
from eim.domain.ids import Eid
from eim.installation import Running
from eim.sim.pki import Pki
from eim.supervisor import Role

_STANDARD: Final = Size(rounds=1, operations=8, euiccs=5_000)  # operations: seconds of a picture
_PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"
_A_SECOND: Final = 250  # samples of each process
_OPENING_S: Final = 1.0  # until all connections are open
_WORDS: Final = 8  # functions that are named in the line


class Spy:
    """Draws what processes do. Guards the folder of what perf wrote."""

    def __init__(self, seconds: int, folder: Path) -> None:
        self._seconds = seconds
        self._folder = folder

    async def draw(self, name: str, title: str, of: Callable[[], Sequence[int]], load: Awaitable[object]) -> None:
        """A picture of these processes while `load` goes on, which must take longer."""
        path = self._folder / f"{name}.data"
        options = ["-q", "-e", "cpu-clock", "-F", str(_A_SECOND), "--call-graph", "dwarf,8192", "-o", str(path)]
        working = asyncio.ensure_future(load)
        await asyncio.sleep(_OPENING_S)
        recording = ["record", *options, "-p", ",".join(map(str, of())), "--", "sleep", str(self._seconds)]
        await _perf(*recording)
        await working
        told = await _perf("script", "-i", str(path), "-F", "ip,sym,dso", "--no-inline")
        root = _flame.read(_folding.fold(told))
        (_PICTURES / f"flame-{name}.svg").write_text(_flame.draw(root, title))
        widest = ", ".join(f"{function} {share:.0%}" for function, share in _flame.widest(root, _WORDS))
        line(f"flame_{name}", f"{root.samples:,} samples", widest)


async def _perf(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "perf", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, wrong = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"perf {words[0]}: {wrong.decode().strip()}")
    return said.decode(errors="replace")


async def measure(running: Running, pki: Pki, wanted: Size, folder: Path) -> None:
    cards, candidates = issue(pki, wanted.euiccs)
    await settle_in(logins(running), pki, candidates)
    seconds, server = wanted.operations, door(running)
    url = f"https://127.0.0.1:{server.port}/"
    spy, device = Spy(seconds, folder), _role(running, Role.DEVICE)
    polls = [request(Eid(card.eid)) for card in cards]
    kept, new = Requests(polls), Requests([_closing(poll) for poll in polls])
    try:
        loaded = kept.saturating(url, seconds + 3)
        await spy.draw("poll", "empty polls, TLS kept alive: the device process", device, loaded)
        loaded = new.saturating(url, seconds + 3)
        await spy.draw("connection", "a new TLS 1.3 connection each poll: the device process", device, loaded)
    finally:
        kept.close()
        new.close()
    async with operator(running) as client:
        bench = Bench(cards, client, server, by_process(running))
        for name, of in (("device", device), ("worker", _role(running, Role.WORKER)), ("postgres", postgres)):
            await spy.draw(f"cycle-{name}", f"full cycles: {name}", of, _for_so_long(bench, seconds + 3))


def _role(running: Running, role: Role) -> Callable[[], Sequence[int]]:
    pid = running.supervisor.pid(role)
    assert pid is not None, f"the {role} role is down"
    return lambda: [pid]


async def _for_so_long(bench: Bench, seconds: float) -> None:
    """Rounds of full cycles, until the time is over and the last one has ended."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        await bench.round()


def _closing(poll: bytes) -> bytes:
    head, _, body = poll.partition(b"\r\n\r\n")
    return head + b"\r\nConnection: close\r\n\r\n" + body


async def main(wanted: Size) -> None:
    if wrk() is None or shutil.which("perf") is None:
        raise SystemExit("flames: wrk and perf are needed: apt-get install wrk linux-perf")
    pki = Pki.new()
    with tempfile.TemporaryDirectory(prefix="eim-flames-") as folder:

        async def during(running: Running) -> None:
            await measure(running, pki, wanted, Path(folder))

        await serve(pki, during)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

"""What an idle TLS connection takes of a device process's memory: its resident set with none and with thousands."""

import asyncio
import itertools
import resource
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

from bench._estate import database, settle_in
from bench._https import Server, kept_alive, opened, servers
from bench._measuring import Size, conditions, line, size
from bench._records import cost, record
from eim.domain.ids import Eid

_STANDARD: Final = Size(rounds=3, operations=2_000, euiccs=100)  # operations: connections that are open at once
_KIB: Final = 1024
_GOAL: Final = 30.0  # KiB
_SETTLE: Final = 1.0  # seconds for the ends of connections to be over
_AT_ONCE: Final = 100


async def main(wanted: Size) -> None:
    many = max(_AT_ONCE, min(wanted.operations, _allowed()) // _AT_ONCE * _AT_ONCE)
    async with database() as made:
        eids = await settle_in(made, wanted.euiccs)
        with servers(made) as (eim, _):
            await _hold(eim, 50, eids)  # what is made once, at the first connections
            taken = [await _hold(eim, many, eids) for _ in range(wanted.rounds)]
    about = conditions(f"{many:,} connections", "each polled once", f"{wanted.rounds} rounds")
    first, again = taken[0], statistics.median(taken)
    line(
        "tls_memory",
        f"{first:.1f} KiB an idle connection at first",
        f"30 KiB / ours {_GOAL / first:.2f}",
        f"{again:.1f} KiB with what earlier ones left",
        about,
    )
    record("idle_connection", first, _GOAL, _GOAL / first, about)
    cost("idle_connection", first, 0.0, about)


async def _hold(server: Server, many: int, eids: Sequence[Eid]) -> float:
    """KiB of each of `many` connections that have polled once and now say nothing."""
    before = resident(server.pid)
    async with AsyncExitStack() as stack:
        for _ in range(0, many, _AT_ONCE):
            devices = await stack.enter_async_context(opened(server, _AT_ONCE))
            await kept_alive(devices, [eid for eid, _ in zip(itertools.cycle(eids), devices, strict=False)])
        await asyncio.sleep(_SETTLE)
        taken = resident(server.pid) - before
    await asyncio.sleep(_SETTLE)
    return taken / _KIB / many


def resident(pid: int) -> int:
    """Octets of a process that are in memory and its own."""
    shown = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(each.split()[1]) * _KIB for each in shown if each.startswith(("Private_Clean", "Private_Dirty")))


def _allowed() -> int:
    """How many connections this process may have open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most // 2


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

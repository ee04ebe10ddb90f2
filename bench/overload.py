"""Ten times as many devices at once as a process works on: what it still answers, and whether it recovers.

What is answered with 200 counts, by second of CPU time of the process and of Postgres. Who is refused comes again after
a second, as a device does after its Retry-After, only sooner.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from typing import Final

import msgspec
import uvloop

from bench._estate import database, settle_in, vacuum
from bench._https import Device, opened, request, servers
from bench._measuring import Contender, Done, Score, Size, compete, conditions, line, size

_STANDARD: Final = Size(rounds=5, operations=3, euiccs=2_000)  # operations: seconds a round
_UNDER_WAY: Final = 32
_TIMES: Final = 10
_AGAIN: Final = 1.0  # seconds
_AT_ONCE: Final = 32  # handshakes


class Told(msgspec.Struct):
    """What came back in all rounds."""

    good: int = 0
    refused: int = 0


async def call(devices: Sequence[Device], requests: Iterator[bytes], seconds: float, told: Told) -> Done:
    """Poll on all of `devices` for so long. Raises ConnectionError for any other answer than a package or a refusal."""
    until, before = time.monotonic() + seconds, told.good

    async def go_on(device: Device) -> None:
        while time.monotonic() < until:
            try:
                await device.post(next(requests))
            except ConnectionError as error:
                if "b'503" not in str(error):
                    raise
                told.refused += 1
                await asyncio.sleep(_AGAIN)
            else:
                told.good += 1

    await asyncio.gather(*map(go_on, devices))
    return Done(told.good - before)


async def main(wanted: Size) -> None:
    async with database() as made, AsyncExitStack() as stack:
        eids = await settle_in(made, wanted.euiccs)
        await vacuum(made)
        eim, _ = stack.enter_context(servers(made, {"EIM_DEVICE_UNDER_WAY": str(_UNDER_WAY)}))
        devices: list[Device] = []
        for _ in range(0, _UNDER_WAY * _TIMES, _AT_ONCE):
            devices += await stack.enter_async_context(opened(eim, _AT_ONCE))
        requests = cycle([request(eid) for eid in eids])
        usual, crowded, after = Told(), Told(), Told()

        def contender(name: str, many: int, told: Told) -> Contender:
            return Contender(name, lambda: call(devices[:many], requests, wanted.operations, told), eim.cpu)

        contenders = [
            contender("usual", _UNDER_WAY, usual),
            contender("crowded", _UNDER_WAY * _TIMES, crowded),
            contender("after", _UNDER_WAY, after),
        ]
        show(await compete(contenders, wanted.rounds), crowded, after, wanted)


def show(scores: dict[str, Score], crowded: Told, after: Told, wanted: Size) -> None:
    usual, refused = scores["usual"], crowded.refused / (crowded.refused + crowded.good)
    line(
        "overload",
        f"{scores['crowded'].beside(usual):.0%} of what a second of CPU time answers otherwise",
        f"{refused:.0%} refused with 503",
        f"{scores['after'].beside(usual):.0%} right after, {after.refused} refused",
        conditions(f"{_UNDER_WAY} under way, {_TIMES} times as many devices", f"{wanted.rounds} rounds"),
    )


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

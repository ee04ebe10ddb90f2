"""What the native scanner buys: polls and results read in a second, against the slow twins and asn1tools."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eim._fast import esipa, tlv
from eim.asn1 import der
from eim.protocol.esipa import receive
from tests.reference import poll as slow_poll
from tests.reference import tlv as slow_tlv
from tests.reference.compilers import own

CAPTURES: Final = Path(__file__).parents[1] / "tests" / "vectors" / "esipa-captures"
SECONDS: Final = 0.4


def capture(name: str) -> bytes:
    return bytes.fromhex((CAPTURES / f"{name}.request.hex").read_text())


def rate(call: Callable[[bytes], object], octets: bytes) -> float:
    """Calls a second, the best of three runs."""
    best = 0.0
    for _ in range(3):
        done, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            for _ in range(50):
                call(octets)
            done += 50
        best = max(best, done / spent)
    return best


def walk(octets: bytes, children: Callable[[bytes, int, int], list[tuple[int, int, int, int]]]) -> int:
    """Every TLV in `octets`, opened by `children`."""
    count, waiting = 0, [(0, len(octets))]
    while waiting:
        for tag, _, value, end in children(octets, *waiting.pop()):
            count += 1
            if der.is_constructed(tag):
                waiting.append((value, end))
    return count


def line(name: str, octets: bytes, *calls: tuple[str, Callable[[bytes], object]]) -> None:
    rates = [(label, rate(call, octets)) for label, call in calls]
    baseline = rates[-1][1]
    shown = "  ".join(f"{label} {value:,.0f}/s ({value / baseline:.1f}x)" for label, value in rates)
    print(f"{name:<14}{shown}  ({len(octets)} octets, 1 thread, Python {platform.python_version()})")


def main() -> None:
    polled, result, data = (
        capture("02-poll-nothing"),
        capture("06-psmo-listProfileInfo-result"),
        capture("41-edr-certs-result"),
    )
    referee = own()
    line(
        "poll",
        polled,
        ("read_poll", esipa.read_poll),
        ("receive", receive),
        ("twin", slow_poll.read_poll),
        ("asn1tools", lambda octets: referee.decode("GetEimPackageRequest", octets)),
    )
    for name, octets in (("check-result", result), ("check-certs", data)):
        line(
            name,
            octets,
            ("native", lambda raw: tlv.check(raw, der.DEPTH)),
            ("twin", lambda raw: slow_tlv.check(raw, der.DEPTH)),
        )
        line(
            name.replace("check", "walk"),
            octets,
            ("native", lambda raw: walk(raw, tlv.children)),
            ("twin", lambda raw: walk(raw, slow_tlv.children)),
        )
    line(
        "receive-data",
        data,
        ("receive", receive),
        ("asn1tools", lambda octets: referee.decode("ProvideEimPackageResult", octets)),
    )


if __name__ == "__main__":
    main()

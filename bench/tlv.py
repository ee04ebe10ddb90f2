"""What the native scanner buys: polls and results read in a second, against the slow twins and asn1tools."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench import _records
from bench._measuring import Size, conditions, size
from eim._fast import esipa, package, provided, tlv
from eim.asn1 import der, sgp32
from eim.asn1.esipa import read_any_provided
from eim.asn1.sgp32 import Enable, PsmoList
from eim.protocol.esipa import receive
from tests.reference import poll as slow_poll
from tests.reference import provided as slow_provided
from tests.reference import tlv as slow_tlv
from tests.reference.compilers import own

CAPTURES: Final = Path(__file__).parents[1] / "tests" / "vectors" / "esipa-captures"
SECONDS: Final = 0.2
STANDARD: Final = Size(rounds=9, operations=1_000, euiccs=0)  # operations: packages that are written in one call
OFTEN: Final = 20  # polls that we read for a package that we write: it takes so much less
SELDOM: Final = 5  # fewer of theirs


Call: TypeAlias = tuple[Callable[[], object], int]  # and how many messages it reads or writes


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


def figure(name: str, ours: Call, theirs: Call, wanted: Size) -> None:
    """Hold ours against theirs: thread CPU time, rounds in turn, the median of ratios."""
    rounds = [(micros(*ours), micros(*theirs)) for _ in range(wanted.rounds + 1)][1:]
    mine, other = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(b / a for a, b in rounds)
    about = conditions("1 thread", f"{wanted.rounds} rounds", f"{ours[1]:,} messages a round")
    print(f"{name:<14}{ratio:.1f}x less CPU than asn1tools  {mine:.3f} against {other:.2f} us  {about}")
    _records.record(name, mine, other, ratio, about)


def micros(call: Callable[[], object], messages: int) -> float:
    start = time.thread_time()
    call()
    return (time.thread_time() - start) / messages * 1e6


def often(call: Callable[[bytes], object], octets: bytes, times: int) -> Call:
    def repeat() -> None:
        for _ in range(times):
            call(octets)

    return repeat, times


def figures(referee: Any, polled: bytes, wanted: Size) -> None:
    """A poll read, and packages written, beside asn1tools doing the same."""
    many = wanted.operations
    seldom = max(many // SELDOM, 1)
    slow = often(lambda octets: referee.decode("GetEimPackageRequest", octets), polled, seldom)
    figure("tlv_decode", often(esipa.read_poll, polled, many * OFTEN), slow, wanted)
    contents, signature = sgp32.encode(PsmoList((Enable(bytes(10), True),))), bytes(64)
    items = [(bytes(16), number, bytes(16), None, contents) for number in range(many)]

    def write(some: Sequence[tuple[bytes, int, bytes, None, bytes]]) -> list[bytes]:
        return package.seal_each(lambda _: signature, b"eim.example.com", some)

    (octets,) = write(items[:1])
    value = referee.decode("EuiccPackageRequest", octets)
    assert referee.encode("EuiccPackageRequest", value) == octets
    slow = often(lambda _: referee.encode("EuiccPackageRequest", value), b"", seldom)
    figure("tlv_encode", (lambda: write(items), many), slow, wanted)


def main(wanted: Size) -> None:
    polled, result, data = (
        capture("02-poll-nothing"),
        capture("06-psmo-listProfileInfo-result"),
        capture("41-edr-certs-result"),
    )
    referee = own()
    figures(referee, polled, wanted)
    line(
        "poll",
        polled,
        ("read_poll", esipa.read_poll),
        ("receive", receive),
        ("twin", slow_poll.read_poll),
        ("asn1tools", lambda octets: referee.decode("GetEimPackageRequest", octets)),
    )
    usual = capture("08-psmo-enable-result")
    line(
        "result",
        usual,
        ("read_result", provided.read_result),
        ("receive", receive),
        ("in general", read_any_provided),
        ("twin", slow_provided.read_result),
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
    main(size(STANDARD))

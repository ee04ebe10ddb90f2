"""What assembling packages costs beside signing them: whole packages, against bare signatures over the same digests.

Both are one call of the native core for the batch. Thread CPU time, rounds in turn, medians of ratios; what the
assembly takes by itself, without hash and signature, is shown for orientation, and beside its slow twin.
"""

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench._measuring import Size, conditions, line, size
from bench._records import record
from eim._fast import ecdsa, package
from eim.asn1 import sgp32
from eim.asn1.sgp32 import ListProfileInfo, PsmoList
from tests.reference import package as twin

_STANDARD: Final = Size(rounds=15, operations=5_000, euiccs=0)
_NAMES: Final = {ecdsa.P256: "p256", ecdsa.BRAINPOOL: "brainpool"}
_SLOWER: Final = {ecdsa.P256: 1, ecdsa.BRAINPOOL: 10}
_EIM_ID: Final = "eim.example.com"
_ASKED: Final = PsmoList((ListProfileInfo(),))
_TWINS: Final = 200  # packages that the slow twin makes a round

_Item = tuple[bytes, int, bytes | None, int | None, bytes]


class Found(msgspec.Struct, frozen=True):
    """Microseconds a package, the medians."""

    whole: float
    bare: float  # signatures alone
    ratio: float  # the median of bare / whole: 1 would be an assembly that costs nothing
    assembled: float  # without hash and signature
    twin: float  # the same by the twin


class Case:
    """One curve: a key, what is to be sealed, and the digests that are signed then."""

    def __init__(self, lane: int, many: int) -> None:
        self.key = ecdsa.SigningKey(lane, bytes(31) + b"\x07")
        contents = sgp32.encode(_ASKED)
        self.items: Sequence[_Item] = [(os.urandom(16), n, os.urandom(16), n * 1000, contents) for n in range(many)]
        signed = [twin.assemble((_EIM_ID, eid, token), _ASKED, n, name) for eid, n, name, token, _ in self.items]
        self.digests = b"".join([hashlib.sha256(each.tbs).digest() for each in signed])

    def whole(self) -> None:
        package.seal_batch(self.key, _EIM_ID.encode(), self.items)

    def bare(self) -> None:
        ecdsa.sign_batch(self.key, self.digests)

    def assembled(self) -> None:
        signature = bytes(64)
        package.seal_each(lambda _: signature, _EIM_ID.encode(), self.items)

    def twins(self) -> None:
        for eid, counter, name, token, _ in self.items[:_TWINS]:
            twin.seal(twin.assemble((_EIM_ID, eid, token), _ASKED, counter, name), bytes(64))


def measure(lane: int, many: int, rounds: int) -> Found:
    """Let all compete over `many` packages a round."""
    case = Case(lane, many)
    calls = ((case.whole, many), (case.bare, many), (case.assembled, many), (case.twins, min(many, _TWINS)))
    seen = [[_micros(call, of) for call, of in calls] for _ in range(rounds + 1)][1:]
    whole, bare, assembled, twins = (statistics.median(column) for column in zip(*seen, strict=True))
    return Found(whole, bare, statistics.median(each[1] / each[0] for each in seen), assembled, twins)


def _micros(call: Callable[[], None], many: int) -> float:
    start = time.thread_time()
    call()
    return (time.thread_time() - start) / many * 1e6


def main(wanted: Size) -> None:
    if not ecdsa.available():
        raise SystemExit("no libcrypto was found: there is nothing to measure")
    for lane, name in _NAMES.items():
        many = max(wanted.operations // _SLOWER[lane], 1)
        found = measure(lane, many, wanted.rounds)
        said = conditions(f"batches of {many}", f"{wanted.rounds} rounds", "listProfileInfo")
        line(
            f"package_{name}",
            f"{1 / found.ratio:.3f}x CPU of bare signatures",
            f"{found.whole:.2f} us a package, {found.bare:.2f} us a signature",
            f"assembly alone {found.assembled * 1e3:.0f} ns, {found.twin / found.assembled:.0f}x its twin",
            said,
        )
        if lane == ecdsa.P256:
            record("assemble", found.whole, found.bare, found.ratio, said)


if __name__ == "__main__":
    main(size(_STANDARD))

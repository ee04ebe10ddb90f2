"""Captured messages with something wrong in them: read or refused as documented, each in next to no time."""

import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Final

import pytest

from eim.errors import Malformed
from eim.protocol.esipa import receive
from tests.reference.broken import flips, restructured, truncations
from tests.reference.samples import CAPTURES

SEED: Final = 20261129
LONGEST: Final = 0.05  # seconds of CPU time; a sound one takes a hundredth of a millisecond
MESSAGES: Final = sorted({bytes.fromhex(path.read_text()) for path in sorted(Path(CAPTURES).glob("*.request.hex"))})


def changes(octets: bytes) -> Iterator[bytes]:
    """Every single one."""
    return chain(truncations(octets), flips(octets), restructured(octets))


def changed_twice(draw: Random) -> Iterator[bytes]:
    """A TLV doubled, dropped, swapped or of another class, and then an octet changed or the rest cut off."""
    structures = [list(restructured(octets)) or [octets] for octets in MESSAGES]
    while True:
        octets = bytearray(draw.choice(draw.choice(structures)))
        at = draw.randrange(len(octets))
        if draw.randrange(4):
            octets[at] ^= draw.randint(1, 255)
        else:
            del octets[at:]
        yield bytes(octets)


def taken_and_refused(broken: Iterable[bytes]) -> tuple[int, int]:
    """How many of each. Anything but Malformed comes out as what it is."""
    taken = refused = 0
    for octets in broken:
        start = time.thread_time()
        try:
            receive(octets)
            taken += 1
        except Malformed:
            refused += 1
        assert time.thread_time() - start < LONGEST, octets.hex()
    return taken, refused


def test_a_share_of_all_single_changes_and_some_double_ones_are_read_or_refused() -> None:
    """Reliability 26 at smoke size, in the native core and behind it; whole messages over HTTP: tests/esipa."""
    single = chain.from_iterable(map(changes, MESSAGES))
    taken, refused = taken_and_refused(chain(islice(single, 0, None, 7), islice(changed_twice(Random(SEED)), 5_000)))
    assert taken > 1_000
    assert refused > 1_000


@pytest.mark.slow
def test_a_million_broken_messages_are_read_or_refused() -> None:
    """Reliability 26: all single changes of every captured message, and double ones up to a million."""
    single = chain.from_iterable(map(changes, MESSAGES))
    taken, refused = taken_and_refused(islice(chain(single, changed_twice(Random(SEED))), 1_000_000))
    assert taken + refused == 1_000_000

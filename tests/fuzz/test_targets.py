"""Every parser of foreign octets: what once broke it, what others sent, and a few thousand changes of these.

The search itself is `./dev fuzz TARGET`; this holds what it found, and would see a parser that breaks at once.
"""

import time
from random import Random
from typing import Final

import pytest

from tests.fuzz.corpus import FOLDER, seeds
from tests.fuzz.mutating import mutated
from tests.fuzz.targets import TARGETS

SEED: Final = 20261129
MANY: Final = 1_500
LONGEST: Final = 0.05  # seconds of CPU time for one input, where a sound one takes microseconds
KEPT: Final = [(target, name) for target in TARGETS for name in seeds(target)]


@pytest.mark.parametrize(("target", "name"), KEPT)
def test_what_is_kept_breaks_nothing(target: str, name: str) -> None:
    TARGETS[target](seeds(target)[name])


def test_each_target_has_its_corpus_and_no_other_lies_there() -> None:
    assert {folder.name for folder in FOLDER.iterdir()} == set(TARGETS)
    assert all(len(seeds(target)) >= 3 for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_few_thousand_changes_of_it_break_nothing(target: str) -> None:
    """Reliability 32 at smoke size."""
    draw, known = Random(SEED), list(seeds(target).values())
    for _ in range(MANY):
        octets = mutated(draw, known)
        try:
            TARGETS[target](octets)
        except Exception as error:  # noqa: BLE001  named with its octets, whatever it is
            pytest.fail(f"{octets.hex()}: {error!r}")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_minute_of_changes_breaks_nothing(target: str) -> None:
    """Reliability 32, without sight of the code: `./dev fuzz` is the one that has it."""
    draw, known, end = Random(), list(seeds(target).values()), time.monotonic() + 60
    while time.monotonic() < end:
        octets = mutated(draw, known)
        try:
            TARGETS[target](octets)
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{octets.hex()}: {error!r}")


@pytest.mark.timed
@pytest.mark.parametrize("target", TARGETS)
def test_no_change_takes_long(target: str) -> None:
    """Each under 50 ms of CPU time: one that takes longer by chance is asked again."""
    draw, known = Random(SEED + 1), list(seeds(target).values())
    for _ in range(500):
        octets = mutated(draw, known)
        assert spent(target, octets) < LONGEST or spent(target, octets) < LONGEST


def spent(target: str, octets: bytes) -> float:
    start = time.thread_time()
    TARGETS[target](octets)
    return time.thread_time() - start

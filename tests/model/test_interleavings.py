"""Every ordered pair of what may happen to one eUICC, interleaved at every await and SQL boundary: test 63.

A pair runs together with one round of the worker and with what a device process runs for all devices. All is drawn from
a seed, so that a failure can be repeated: its message names the seed, the pair and every step.

EIM_INTERLEAVINGS       how many different ones the slow test plays: 100,000
EIM_INTERLEAVINGS_SEED  its first seed: give two processes two, a million apart
EIM_INTERLEAVINGS_KEPT  a file in which it keeps what it has played; with the same file it goes on there
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

import pytest

from eim.services import collecting
from eim.services.collecting import Collecting
from eim.store import associations, mailbox
from tests.cluster import Cluster
from tests.database import fresh
from tests.model.actions import Action
from tests.model.loop import SteppingLoop
from tests.model.playing import PAIRS, Model, Outcome, Plan, first_fault, model
from tests.told import broken_promises

_SMOKE: Final = 2  # schedules of a pair
_FULL: Final = int(os.environ.get("EIM_INTERLEAVINGS", "100000"))
_SEED: Final = int(os.environ.get("EIM_INTERLEAVINGS_SEED", "1000000"))
_KEPT: Final = os.environ.get("EIM_INTERLEAVINGS_KEPT")
_DIGEST: Final = 8  # octets

T = TypeVar("T")


def playing(cluster: Cluster, deed: Callable[[Model], Awaitable[T]], *, only_sql: bool = False) -> T:
    """What `deed` makes of a model of its own, in an event loop of its own."""

    async def play(loop: SteppingLoop) -> T:
        async with fresh(cluster) as database:
            async with model(database, loop, only_sql=only_sql) as played:
                done = await deed(played)
            assert await broken_promises(database) == []
            return done

    loop = SteppingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play(loop))


class Played:
    """Guards what was played: of each seed, in their order, which task went on at which SQL boundary."""

    def __init__(self, first: int, path: str | None) -> None:
        kept = Path(path).read_bytes() if path and Path(path).exists() else b""
        self._file = Path(path).open("ab") if path else None  # noqa: SIM115 - closed with the process
        self._different = {kept[at : at + _DIGEST] for at in range(0, len(kept), _DIGEST)}
        self.seed = first + len(kept) // _DIGEST

    def __len__(self) -> int:
        """How many of them differ at SQL boundaries."""
        return len(self._different)

    def add(self, outcome: Outcome) -> None:
        """What the next seed came to."""
        said = f"{outcome.plan.pair} {outcome.plan.way} {[step.actor for step in outcome.steps if step.is_sql]}"
        digest = hashlib.sha256(said.encode()).digest()[:_DIGEST]
        self._different.add(digest)
        self.seed += 1
        if self._file:
            self._file.write(digest)
            self._file.flush()


def test_the_invariants_hold_after_every_pair_of_actions(postgres: Cluster) -> None:
    async def deed(played: Model) -> None:
        done = Played(0, None)
        for seed in range(_SMOKE * len(PAIRS)):
            outcome = await played.play(Plan.of(seed))
            assert outcome.faults == (), str(outcome)
            done.add(outcome)
        assert len(done) > (_SMOKE - 1) * len(PAIRS), "the schedules do not differ"

    playing(postgres, deed)


@pytest.mark.slow
def test_the_invariants_hold_after_a_hundred_thousand_interleavings(postgres: Cluster) -> None:
    """All different ones already by who went on at which SQL boundary."""

    async def deed(played: Model) -> None:
        done = Played(_SEED, _KEPT)
        began, before, steps, later = time.monotonic(), len(done), 0, 0
        while len(done) < _FULL:
            for _ in PAIRS:
                outcome = await played.play(Plan.of(done.seed))
                assert outcome.faults == (), str(outcome)
                done.add(outcome)
                steps += len(outcome.steps)
                later += outcome.unavailable > 0
            rate = (len(done) - before) / (time.monotonic() - began)
            left = (_FULL - len(done)) / rate / 60
            said = f"{steps} steps, {later} with somebody told to come later, next seed {done.seed}"
            print(f"{len(done)} of {_FULL}, {rate:.0f}/s, {left:.0f} min left, {said}")  # noqa: T201 - long work shows itself

    playing(postgres, deed)


def test_a_seed_says_every_step(postgres: Cluster) -> None:
    """Also in another process, after other interleavings, and whatever the machine does beside it."""
    seeds = range(300, 300 + len(PAIRS) // 2)

    async def deed(played: Model) -> list[list[tuple[str, str]]]:
        outcomes = [await played.play(Plan.of(seed)) for seed in seeds]
        outcomes += [await played.play(Plan.of(seed)) for seed in reversed(seeds)]
        return [[(step.actor, step.what) for step in outcome.steps] for outcome in outcomes]

    once, again = playing(postgres, deed), playing(postgres, deed)
    assert once == again
    assert once[: len(seeds)] == once[: len(seeds) - 1 : -1]


_UNDER_LOCK: Final = "FOR UPDATE OF e"
_RESULTS: Final = frozenset({Action.RESULT, Action.LATE_RESULT})
_NEVER_HANDED: Final = "AND p.state = 'head' AND m.handed_at IS NULL"


@pytest.mark.parametrize(
    ("module", "constant", "without", "instead"),
    [
        pytest.param(associations, "_LOCK", _UNDER_LOCK, "", id="nobody-locks-the-eUICC"),
        pytest.param(mailbox, "_KILL_HEAD", _NEVER_HANDED, "AND p.state = 'head'", id="what-is-out-is-unsealed"),
    ],
)
def test_a_seeded_fault_is_found(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch, module: ModuleType, constant: str, without: str, instead: str
) -> None:
    assert without in getattr(module, constant)
    monkeypatch.setattr(module, constant, getattr(module, constant).replace(without, instead))
    assert playing(postgres, lambda played: first_fault(played, range(20 * len(PAIRS)))) is not None


async def _forgetful(self: Collecting, number: int) -> None:
    """A lane that lets others come in before it takes what waits: what comes then is nobody's."""
    while True:
        await self._calls[number].wait()
        brought = self._waiting[:]
        await asyncio.sleep(0)
        self._waiting = []
        self._calls[number].clear()
        for each, answer in zip(brought, await self._answer(brought), strict=True):
            each.respond(answer)


def test_a_fault_between_two_awaits_is_found_by_switching_there_alone(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting.Collecting, "_lane", _forgetful)
    results = [seed for seed in range(30 * len(PAIRS)) if set(Plan.of(seed).pair) <= _RESULTS]
    fault = playing(postgres, lambda played: first_fault(played, results))
    assert fault is not None
    assert "can't go on" in fault.faults[0]
    assert playing(postgres, lambda played: first_fault(played, results), only_sql=True) is None

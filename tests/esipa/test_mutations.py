"""Captured messages with something wrong in them: an answer or a clean refusal, never a fault of ours."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
import structlog

from eim.keys.files import Signer, generate
from eim.protocol.ecdsa import Curve
from eim.services.seeding import Seeding
from eim.services.tokens import SETUP
from eim.store.connect import DbRole
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import FOLDER, numbered
from tests.esipa.inside import Inside, quiet
from tests.operator_side import no_roots
from tests.reference.broken import flips, restructured, truncations

SEED: Final = 20261122
SHARE: Final = 5_000  # bit flips and truncations in the default run
# The same poll was captured many times: each message once.
MESSAGES: Final = sorted(
    {captured.body(name): name for name in sorted(p.stem for p in FOLDER.glob("*.request.hex"))}.values()
)


@pytest.fixture
async def inside(database: Database) -> AsyncIterator[Inside]:
    """A device with a package out and the app that serves it."""
    signer = Signer("test", generate(Curve.P256), Curve.P256)
    await database.seed_identity(eim_id="eIM", public_key=signer.spki)
    known = captured.seed_by_key(captured.out(numbered(7, "response")))
    await Seeding(database.pool(DbRole.OWNER), no_roots).seed(SETUP, known)
    before = structlog.get_config()
    quiet()
    yield Inside(database, captured.EID)
    structlog.configure(**before)


async def faults(inside: Inside, broken: Iterator[bytes]) -> tuple[int, list[str]]:
    """How many were sent, and those that made the app fail."""
    count, found = 0, list[str]()
    for octets in broken:
        count += 1
        status, _ = await inside.post(octets)
        if not 200 <= status < 500:
            found.append(f"{status} for {octets.hex()}")
    return count, found


async def test_a_sample_of_all_truncations_and_bit_flips_never_makes_us_fail(inside: Inside) -> None:
    """Reliability 26 at smoke size; the whole set is the slow test below."""
    chance = random.Random(SEED)
    everything = [(captured.body(name), at) for name in MESSAGES for at in range(len(captured.body(name)) * 9)]
    sample = chance.sample(everything, SHARE)

    def broken() -> Iterator[bytes]:
        for octets, at in sample:
            size = len(octets)
            if at < size:
                yield octets[:at]
            else:
                changed = bytearray(octets)
                changed[(at - size) // 8] ^= 0x80 >> (at - size) % 8
                yield bytes(changed)

    assert await faults(inside, broken()) == (SHARE, [])


@pytest.mark.parametrize("number", [2, 8, 39, 45])
async def test_every_truncation_and_bit_flip_of_short_messages_never_makes_us_fail(inside: Inside, number: int) -> None:
    octets = numbered(number, "request")
    count, found = await faults(inside, iter([*truncations(octets), *flips(octets)]))
    assert (count, found) == (len(octets) * 9, [])


@pytest.mark.parametrize("number", [2, 4, 8, 32, 39, 45, 51, 52, 59, 61])
async def test_tlvs_that_are_doubled_dropped_swapped_or_of_another_class_never_make_us_fail(
    inside: Inside, number: int
) -> None:
    """Reliability 26: structure, not bits."""
    broken = list(restructured(numbered(number, "request")))
    assert len(broken) > 3
    assert await faults(inside, iter(broken)) == (len(broken), [])


@pytest.mark.slow
@pytest.mark.parametrize("name", MESSAGES)
async def test_every_truncation_and_bit_flip_of_each_captured_message_never_makes_us_fail(
    inside: Inside, name: str
) -> None:
    octets = captured.body(name)
    count, found = await faults(inside, iter([*truncations(octets), *flips(octets)]))
    assert (count, found) == (len(octets) * 9, [])


async def test_no_mutation_of_a_signed_result_ends_its_operation(inside: Inside, database: Database) -> None:
    """Only the octets that the card signed do; bits outside of them may turn, and the result is still its."""
    octets = numbered(8, "request")
    for broken in flips(octets):
        await inside.post(broken)
    ended = await database.owner().fetchval("SELECT state FROM operations")
    verified = await database.owner().fetch("SELECT octets FROM results WHERE verdict = 'verified'")
    signed = octets[octets.index(b"\x30\x22\x80") : octets.index(b"\x5f\x37") + 67]
    assert all(signed in bytes(row["octets"]) for row in verified)
    assert ended == ("done" if verified else "out")

"""Operations that can't be prepared, one of each kind, among good ones: the good ones go out, the others are parked."""

import json
from collections.abc import Mapping
from typing import Final

import pytest

from eim.domain.ids import bucket_of
from tests.database import Database
from tests.services.test_queues import Queue, full_rounds

_ZEROS: Final = "AAAAAAAAAAAAAA=="
_DATA: Final = "ipaEuiccDataRequest"


def steps(*each: Mapping[str, object]) -> str:
    return json.dumps({"steps": each})


# (kind, ICCID, details): what an older or a newer release, a restore or a slip may leave in a row.
CLASSES: Final[Mapping[str, tuple[str, bytes | None, str | None]]] = {
    "a kind of a newer release": ("paint", None, None),
    "no kind": ("", None, None),
    "an order's kind": ("check", None, None),
    "enable without a profile": ("enable", None, None),
    "disable without a profile": ("disable", None, None),
    "delete without a profile": ("delete", None, None),
    "fallback without a profile": ("setFallbackAttribute", None, None),
    "no address": ("setDefaultDpAddress", None, None),
    "no eIM to add": ("addEim", None, None),
    "no eIM to delete": ("deleteEim", None, None),
    "no steps": ("package", None, steps()),
    "details without steps": ("package", None, json.dumps({})),
    "details that are a list": ("package", None, json.dumps([1])),
    "details that are a word": ("package", None, json.dumps("steps")),
    "a step of a newer release": ("package", None, steps({"step": "paint"})),
    "a step without a name": ("package", None, steps({"iccid": _ZEROS})),
    "a step without its profile": ("enable", None, steps({"step": "enable"})),
    "an ICCID that is a number": ("enable", None, steps({"step": "enable", "iccid": 8})),
    "an eIM configuration that is none": ("addEim", None, steps({"step": "addEim", "config": "AAEC"})),
    "a question for nothing known": (
        "ipaEuiccDataRequest",
        None,
        steps({"step": "ipaEuiccDataRequest", "tags": ["x"]}),
    ),
}


@pytest.fixture
async def queue(database: Database) -> Queue:
    made = Queue(database, batch=100)
    await made.leasing.refresh()
    return made


@pytest.mark.parametrize("good", [500, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_the_good_ones_are_sealed_and_each_bad_one_is_parked_with_a_reason(queue: Queue, good: int) -> None:
    made = await queue.identity(1, good + len(CLASSES))
    bad = dict(zip(CLASSES, made[:: len(made) // len(CLASSES)], strict=False))
    for name, eid in bad.items():
        await queue.owner.execute(
            "UPDATE operations SET kind = $3, iccid = $4, details = $5::text::jsonb WHERE bucket = $1 AND eid = $2",
            bucket_of(eid),
            eid,
            *CLASSES[name],
        )
    rounds = 0
    while await queue.worker.round():
        rounds += 1
    assert await queue.sealed() == {1: good}, "whatever else is there, the good ones are sealed at once"
    again = await queue.owner.fetchval("SELECT sum(faults - 1) FROM operations WHERE faults > 0")
    assert rounds <= full_rounds(len(made) + again), "a bad one costs a place in a round, each time that it is tried"
    for _ in range(4):
        await queue.owner.execute("UPDATE operations SET not_before = now() WHERE state = 'accepted' AND held IS NULL")
        while await queue.worker.round():
            pass
    rows = await queue.owner.fetch("SELECT eid, state, held, parked, faults FROM operations WHERE state <> 'sealed'")
    stands = {row["eid"]: (row["state"], row["held"], row["faults"]) for row in rows}
    for name, eid in bad.items():
        assert stands.get(eid) == ("accepted", "operator", 5), name
    assert all(row["parked"] for row in rows)
    told = await queue.owner.fetch("SELECT eid FROM events WHERE kind = 'operation.parked'")
    assert sorted(row["eid"] for row in told) == sorted(bad.values()), "each was told once"
    counted = "SELECT max(counter) FROM euiccs WHERE eid = ANY ($1::bytea[])"
    assert await queue.owner.fetchval(counted, list(bad.values())) == 0, "no counter was spent on them"
    assert await queue.worker.round() == 0

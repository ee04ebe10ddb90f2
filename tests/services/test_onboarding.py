"""Onboarding on a real database: what the interface's tests can't see."""

import asyncio
import base64

import pytest

from eim.domain.ids import Eid
from eim.errors import Conflict, InvalidEid, InvalidLines, InvalidRequest
from eim.protocol.ecdsa import Curve, PublicKey
from eim.protocol.trust import TrustedEuicc
from eim.services.lines import OnError
from eim.services.onboarding import Candidate, CheckDigits, Onboarding, Rules
from eim.store.connect import DbRole
from tests.database import Database
from tests.operator_side import caller_of, eid_of, eid_text

KEY = PublicKey(Curve.P256, b"\x04" + bytes(64))


def judge(euicc: bytes, eum: bytes) -> TrustedEuicc:
    """Certificates of this test are the EID they prove."""
    return TrustedEuicc(Eid(euicc), KEY, b"root")


def onboarding_of(database: Database) -> Onboarding:
    return Onboarding(database.pool(DbRole.OPERATOR), judge)


def certified(number: int, of: int | None = None) -> Candidate:
    return Candidate(
        eid_text(number),
        association_token=5,
        counter=41,
        euicc_certificate=as_base64(eid_of(number if of is None else of)),
        eum_certificate=as_base64(b"eum"),
    )


def as_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


async def test_token_and_certificates_make_an_introduced_card(database: Database) -> None:
    await database.seed_identity()
    await onboarding_of(database).add(caller_of(), certified(1), Rules(), None)
    row = await database.owner().fetchrow(
        "SELECT introduced_at IS NOT NULL AS i, counter, association_token, curve, public_key, ci_key_id FROM euiccs"
    )
    assert row is not None
    assert tuple(row) == (True, 41, 5, "P-256", KEY.point, b"root")
    kinds = await database.owner().fetch("SELECT kind FROM operations ORDER BY ordinal")
    assert [r["kind"] for r in kinds] == ["ipaEuiccDataRequest", "listProfileInfo"]


async def test_a_certificate_of_another_card_is_refused(database: Database) -> None:
    await database.seed_identity()
    with pytest.raises(InvalidRequest, match=eid_text(2)):
        await onboarding_of(database).add(caller_of(), certified(1, of=2), Rules(), None)


async def test_one_that_can_not_be_onboarded_says_precisely_why(database: Database) -> None:
    onboarding = onboarding_of(database)
    with pytest.raises(Conflict, match="keys init"):
        await onboarding.add(caller_of(), Candidate(eid_text(1)), Rules(), None)
    await database.seed_identity()
    await onboarding.add(caller_of(), Candidate(eid_text(1)), Rules(), None)
    with pytest.raises(Conflict, match="known already"):
        await onboarding.add(caller_of(), Candidate(eid_text(1)), Rules(), None)
    with pytest.raises(InvalidEid):
        await onboarding.add(caller_of(), Candidate(eid_text(2)[:-2] + "00"), Rules(), None)
    with pytest.raises(InvalidRequest, match=r"eim\.example\.com"):
        await onboarding.add(caller_of(), Candidate(eid_text(2), identity="nobody"), Rules(), None)
    lax = Rules(CheckDigits.IGNORED)
    await onboarding.add(caller_of(), Candidate(eid_text(2)[:-2] + "00"), lax, None)


async def test_several_identities_have_to_be_chosen_from(database: Database) -> None:
    await database.seed_identity(eim_id="one.example.com")
    await database.seed_identity(eim_id="two.example.com")
    onboarding = onboarding_of(database)
    with pytest.raises(InvalidRequest, match="two"):
        await onboarding.add(caller_of(), Candidate(eid_text(1)), Rules(), None)
    await onboarding.add(caller_of(), Candidate(eid_text(1), identity="two.example.com"), Rules(), None)
    assert await database.owner().fetchval("SELECT identity FROM euiccs") == 2


async def test_the_same_list_twice_at_once_is_onboarded_once(database: Database) -> None:
    await database.seed_identity()
    onboarding = onboarding_of(database)
    lines = [Candidate(eid_text(n)) for n in range(200)]
    tries = (onboarding.add_many(caller_of(), order, Rules(), None) for order in (lines, lines[::-1], lines))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidLines", "InvalidLines", "Onboarded"]
    counts = "SELECT (SELECT count(*) FROM euiccs), (SELECT count(*) FROM operations), (SELECT count(*) FROM audit)"
    row = await database.owner().fetchrow(counts)
    assert row is not None
    assert tuple(row) == (200, 400, 200)


async def test_a_list_of_bad_lines_only_is_refused_even_when_they_may_be_skipped(database: Database) -> None:
    await database.seed_identity()
    with pytest.raises(InvalidLines) as refused:
        await onboarding_of(database).add_many(
            caller_of(), [Candidate("1"), Candidate("2")], Rules(on_error=OnError.SKIP), None
        )
    assert [position for position, _ in refused.value.lines] == [0, 1]


async def test_workers_are_woken_when_a_card_is_onboarded(database: Database) -> None:
    await database.seed_identity()
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with database.owner().acquire() as listener:

        def hear(*said: object) -> None:
            heard.put_nowait(str(said[-1]))

        await listener.add_listener("eim_work", hear)
        await onboarding_of(database).add(caller_of(), Candidate(eid_text(1)), Rules(), None)
        bucket = await listener.fetchval("SELECT bucket FROM euiccs")
        assert await asyncio.wait_for(heard.get(), 5) == str(bucket)
        await listener.remove_listener("eim_work", hear)

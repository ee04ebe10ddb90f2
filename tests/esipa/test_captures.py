"""Every captured request of another implementation's IPA, replayed over HTTPS against the device role."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from eim.asn1.sgp32 import ListProfileInfo, PsmoList
from eim.domain.ids import TransactionId, bucket_of
from eim.errors import Conflict
from eim.protocol import esep
from eim.services.seeding import Out, Seed
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import EID, FOLDER, numbered
from tests.esipa.server import Served, configure, logins, serving_device
from tests.reference.compilers import own, standard

NOTHING: Final = bytes.fromhex("BF4F03020101")
MISSING_EID: Final = bytes.fromhex("BF5003020104")
EMPTY: Final = bytes.fromhex("BF5003BF5300")  # what v1.0.1 and later decode; BF5000 decodes in v1.0.1 only
# The poll's number, and how the operation of its package has ended once the result came.
DONE: Final = (3, 5, 7, 9, 11, 13, 17, 19, 21, 23, 25, 27, 29, 35, 40, 42, 44, 50)
NOTIFICATIONS: Final = (37, 52, 53, 59)
DOWNLOADS: Final = {
    54: "BF3B0382010A",
    56: "BF390381017F",
    57: "BF3B0382010A",
    58: "BF3A0381015F",
    60: "BF3B0382010A",
    61: "BF4103810101",
}
HERE: Final = frozenset({*DONE, 15, 31, 33, 38, 46, 48})


def results() -> Iterator[tuple[int, str, str]]:
    yield from ((number, "done", "ok") for number in DONE)
    yield 15, "failed", "iccidOrAidNotFound"


def decodes(answer: bytes, kind: str) -> None:
    """IPAs of both versions read `answer`, says a compiler that is not ours."""
    for version in ("v1.0.1", "v1.2"):
        module = standard(version)
        if module is not None:
            assert module[kind].decode(answer) is not None
    if standard("v1.2") is None:
        own().decode(kind, answer)


async def outcome(served: Served) -> tuple[str, str]:
    (row,) = await served.rows("SELECT state, outcome FROM operations WHERE eid = $1", EID)
    return str(row["state"]), str((row["outcome"] or {}).get("reason"))  # type: ignore[attr-defined]


async def verdicts(served: Served) -> list[str]:
    return [str(row["verdict"]) for row in await served.rows("SELECT verdict FROM results ORDER BY received_at")]


async def put_out(served: Served, number: int, *, unverifiable: bool = False) -> None:
    out = captured.out(numbered(number, "response"))
    assert out is not None
    await served.seed(captured.seed(out, unverifiable=unverifiable))


def names_its_device(request: bytes) -> bool:
    """Whether a transaction id or a certificate tells whose it is."""
    return b"\x82\x10" in request[:40] or len(request) > 1000


@pytest.mark.parametrize(("number", "state", "reason"), list(results()))
async def test_a_captured_package_goes_out_as_it_was_and_its_result_ends_the_operation(
    served: Served, number: int, state: str, reason: str
) -> None:
    """Reliability 83: on any connection when the result says whose it is, otherwise on the one that polled."""
    await put_out(served, number)
    result = numbered(number + 1, "request")
    async with served.door.connect() as ipa, served.door.connect() as another:
        assert (await ipa.post(numbered(number, "request"))).body == numbered(number, "response")
        first = await another.post(result)
        if not names_its_device(result):
            assert first.body == MISSING_EID
            assert (await outcome(served))[0] == "out"
        answer = await ipa.post(result)
        assert (answer.status, (await outcome(served))) == (200, (state, reason))
        assert (await ipa.post(result)).body == answer.body
        assert (await ipa.post(numbered(number, "request"))).body == NOTHING
    assert len(answer.body) > 3
    decodes(answer.body, "ProvideEimPackageResultResponse")
    (verdict,) = await verdicts(served)
    assert verdict == ("unsigned" if number in (3, 40, 42, 44, 50) else "verified")


async def test_a_poll_of_an_unknown_eid_and_of_a_known_one_without_work_hear_the_same(served: Served) -> None:
    async with served.door.connect() as ipa:
        assert (await ipa.post(numbered(1, "request"))).body == NOTHING
        await served.seed(captured.seed())
        assert (await ipa.post(numbered(2, "request"))).body == NOTHING
    decodes(NOTHING, "GetEimPackageResponse")
    assert numbered(2, "response") == NOTHING


async def test_the_inventory_of_a_captured_list_is_known_afterwards(served: Served) -> None:
    await put_out(served, 5)
    assert (await served.door.post(numbered(6, "request"))).status == 200
    found = {row["name"]: row["state"] for row in await served.rows("SELECT name, state FROM profiles")}
    assert found == {"TS48 A": "enabled", "TS48 B": "disabled"}


async def test_what_captured_results_tell_of_the_card_is_known_afterwards(served: Served) -> None:
    """getRAT, configureAutoEnable, listEim, addEim, updateEim, deleteEim, each answered by another card."""
    told = {}
    for number in (9, 21, 23, 25, 27, 29):
        await put_out(served, number)
        assert (await served.door.post(numbered(number + 1, "request"))).status == 200
        told[number] = (await served.rows("SELECT outcome FROM operations WHERE eid = $1 ORDER BY ordinal DESC", EID))[
            0
        ]
    card = await served.row("SELECT settings, eims, orphaned_at FROM euiccs WHERE eid = $1", EID)
    settings = card["settings"]
    assert isinstance(settings, dict)
    assert settings["rat"] == told[9]["outcome"]["rat"]  # type: ignore[index]
    assert len(settings["rat"]) == 1
    assert settings["immediateEnable"]["smdpAddress"] is not None
    assert [eim["eim_id"] for eim in card["eims"]] == ["eIM"]  # type: ignore[attr-defined]
    assert list(told[25]["outcome"]["tokens"].values()) == [2]  # type: ignore[index]
    assert card["orphaned_at"] is None


async def test_34_over_the_requests_signature_passes_while_no_form_is_pinned(served: Served) -> None:
    await put_out(served, 33)
    await served.door.post(numbered(34, "request"))
    assert await verdicts(served) == ["verified"]
    card = await served.row("SELECT signature_form, speaks FROM euiccs WHERE eid = $1", EID)
    assert card == {"signature_form": "eimSignature", "speaks": "1.0.1"}


async def test_34_is_refused_once_the_token_form_is_pinned(served: Served) -> None:
    await put_out(served, 5)
    await served.door.post(numbered(6, "request"))
    card = await served.row("SELECT signature_form FROM euiccs WHERE eid = $1", EID)
    assert card["signature_form"] == "token"
    await put_out(served, 33)
    answer = await served.door.post(numbered(34, "request"))
    assert (answer.status, answer.body) == (200, EMPTY)
    assert await verdicts(served) == ["verified", "refused"]
    states = await served.rows("SELECT state FROM operations WHERE eid = $1 ORDER BY ordinal", EID)
    assert [row["state"] for row in states] == ["done", "out"]


async def test_39_an_unsigned_error_without_transaction_id_is_recorded_and_changes_nothing(served: Served) -> None:
    await put_out(served, 38)
    before = await served.row("SELECT * FROM euiccs WHERE eid = $1", EID)
    async with served.door.connect() as ipa:
        await ipa.post(numbered(38, "request"))
        answer = await ipa.post(numbered(39, "request"))
        assert (answer.status, answer.body) == (200, EMPTY)
        assert (await ipa.post(numbered(38, "request"))).body == numbered(38, "response")
    assert await verdicts(served) == ["unsigned"]
    assert (await outcome(served))[0] == "out"
    after = await served.row("SELECT * FROM euiccs WHERE eid = $1", EID)
    assert {k: v for k, v in after.items() if k != "last_seen_at"} == {
        k: v for k, v in before.items() if k != "last_seen_at"
    }
    assert await served.rows("SELECT * FROM requests") == []


async def test_32_a_signed_replay_error_makes_the_operation_doubtful(served: Served) -> None:
    await put_out(served, 31)
    await served.door.post(numbered(32, "request"))
    assert await verdicts(served) == ["verified"]
    row = await served.row("SELECT state, doubt FROM operations WHERE eid = $1", EID)
    assert row == {"state": "in_doubt", "doubt": "replay"}
    assert [row["kind"] for row in await served.rows("SELECT kind FROM requests")] == ["recover"]


@pytest.mark.parametrize("number", [46, 48])
async def test_the_placeholder_of_an_emulated_card_is_refused(served: Served, number: int) -> None:
    await put_out(served, number)
    answer = await served.door.post(numbered(number + 1, "request"))
    assert (answer.status, answer.body) == (200, EMPTY)
    assert await verdicts(served) == ["refused"]
    assert (await outcome(served))[0] == "out"


@pytest.mark.parametrize("number", [46, 48])
async def test_it_passes_for_a_card_that_an_operator_flagged(served: Served, number: int) -> None:
    await put_out(served, number, unverifiable=True)
    await served.door.post(numbered(number + 1, "request"))
    assert await verdicts(served) == ["unverifiable"]
    assert await outcome(served) == ("done", "ok")


async def test_41_brings_the_certificates_of_a_card_that_had_none(database: Database, tmp_path: Path) -> None:
    roots = {"TRUST_ROOTS": str(captured.CI)} if captured.CI.exists() else {}
    async with serving_device(configure(tmp_path, logins(database), **roots), database.owner()) as served:
        await served.seed(Seed(EID, out=captured.out(numbered(40, "response"))))
        assert (await served.door.post(numbered(41, "request"))).status == 200
        card = await served.row("SELECT public_key, introduced_at, euicc_certificate FROM euiccs WHERE eid = $1", EID)
        assert card["introduced_at"] is not None
        assert card["euicc_certificate"] == (captured.certificates()[0] if roots else None)
        refused = await served.rows("SELECT data FROM events WHERE kind = 'certificate.refused'")
        assert len(refused) == (0 if roots else 1)


async def test_62_whose_request_nobody_captured_is_stored_as_foreign_and_acknowledged(served: Served) -> None:
    await served.seed(captured.seed())
    async with served.door.connect() as ipa:
        await ipa.post(numbered(2, "request"))
        answer = await ipa.post(numbered(62, "request"))
    assert answer.status == 200
    assert await verdicts(served) == ["foreign"]
    assert await served.rows("SELECT * FROM profiles") == []


async def test_62_ends_a_package_of_its_counter_and_transaction(served: Served) -> None:
    """The package is ours, its signature made up: a card's signature in the token form doesn't cover it."""
    named = TransactionId(bytes.fromhex("721f6ce5bb69f2f6d175b082712f05e2"))
    unsealed = EID, 0x6F, named, None, esep.contents(PsmoList((ListProfileInfo(),)))
    (sealed,) = esep.seal_each("eIM", [unsealed], lambda _: bytes(64))
    await served.seed(captured.seed(Out(sealed)))
    await served.door.post(numbered(62, "request"))
    assert await outcome(served) == ("done", "ok")
    assert len(await served.rows("SELECT * FROM profiles")) == 2


async def test_notifications_are_stored_durably_and_answered_by_nothing(served: Served) -> None:
    """Reliability 84: no SM-DP+ is reachable here, and the device does not hear of it."""
    await served.seed(captured.seed())
    async with served.door.connect() as ipa:
        await ipa.post(numbered(2, "request"))
        for number in NOTIFICATIONS:
            answer = await ipa.post(numbered(number, "request"))
            assert (answer.status, answer.body) == (204, b"")
            assert "content-type" not in answer.headers
            assert (await ipa.post(numbered(number, "request"))).status == 204
    stored = {bytes(row["octets"]) for row in await served.rows("SELECT octets FROM notifications")}  # type: ignore[call-overload]
    assert stored == {bytes(numbered(n, "request")[_content_at(numbered(n, "request")) :]) for n in NOTIFICATIONS}


async def test_a_notification_of_nobody_is_kept_as_it_came(served: Served) -> None:
    answer = await served.door.post(numbered(59, "request"))  # it names no card, and nobody polled on this connection
    assert answer.status == 204
    (stray,) = await served.rows("SELECT octets FROM strays")
    assert stray["octets"] == numbered(59, "request")


@pytest.mark.parametrize("number", DOWNLOADS)
async def test_a_download_step_of_an_unknown_session_is_refused_by_the_protocols_own_words(
    served: Served, number: int
) -> None:
    answer = await served.door.post(numbered(number, "request"))
    assert (answer.status, answer.body) == (200, bytes.fromhex(DOWNLOADS[number]))
    kinds = {
        0x39: "InitiateAuthenticationResponseEsipa",
        0x3A: "GetBoundProfilePackageResponseEsipa",
        0x3B: "AuthenticateClientResponseEsipa",
        0x41: "CancelSessionResponseEsipa",
    }
    decodes(answer.body, kinds[answer.body[1]])


async def test_a_device_told_to_download_hears_that_there_is_nothing(served: Served) -> None:
    await served.seed(captured.seed())
    assert (await served.door.post(numbered(55, "request"))).body == NOTHING


async def test_a_life_of_captures_on_one_connection(served: Served) -> None:
    """All that end well, in the order they were captured: counters rise, one package is out at a time."""
    usual = sorted({*DONE, 15} - {50})
    async with served.door.connect() as ipa:
        for number in usual:
            await put_out(served, number)
            assert (await ipa.post(numbered(number, "request"))).body == numbered(number, "response")
            assert (await ipa.post(numbered(number + 1, "request"))).status == 200
        with pytest.raises(Conflict):  # 31 was sealed to be refused: its counter had been used in 05
            await put_out(served, 31)
    ended = await served.rows("SELECT state FROM operations WHERE state NOT IN ('done', 'failed')")
    assert ended == []
    counters = [row["counter"] for row in await served.rows("SELECT counter FROM packages ORDER BY number")]
    signed = [c for c in counters if c is not None]
    assert signed == sorted(set(signed))  # type: ignore[type-var]
    card = await served.row("SELECT counter, bucket FROM euiccs WHERE eid = $1", EID)
    assert card == {"counter": max(signed), "bucket": bucket_of(EID)}  # type: ignore[type-var]


def test_no_captured_request_is_left_out() -> None:
    all_numbers = {int(path.name[:2]) for path in FOLDER.glob("*.request.hex")}
    polls = {1, 2, 55, *HERE}
    answered = {number + 1 for number in HERE}
    assert all_numbers == {*polls, *answered, 62, *NOTIFICATIONS, *DOWNLOADS}


def _content_at(handled: bytes) -> int:
    """Where the PendingNotification lies in BF3D { A0 { .. } }."""
    at = 3 if handled[2] < 0x80 else 3 + handled[2] % 0x80
    return at + 2 if handled[at + 1] < 0x80 else at + 2 + handled[at + 1] % 0x80

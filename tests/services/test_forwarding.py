"""Notifications reach their SM-DP+ over real TLS: octet by octet, in order, whatever the servers do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from eim.domain.ids import Bucket, bucket_of, format_eid
from eim.domain.operation import Kind
from eim.domain.smdp import Binding
from eim.domain.step import SetDefaultDpAddress
from eim.errors import LeaseLost
from eim.services.leasing import Leasing
from eim.services.ordering import Ordering, Target, Template
from eim.services.tokens import SETUP
from eim.sim.der import tlv
from eim.sim.dp_tls import Flaw
from eim.sim.euicc import VirtualEuicc
from eim.sim.servers import Given, Manner
from tests.database import Database
from tests.services import rig as rigs
from tests.services.smdp_side import (
    SmdpSide,
    address,
    compact,
    installation,
    metadata,
    other,
    signed_by,
    smdp_side,
)

WELL: Final = (Manner.TAKES, Manner.TAKES_EMPTY, Manner.TAKES_SAYING_SO)
OTHER_ICCID: Final = bytes.fromhex("98001032547698103298")


@pytest.fixture
async def side(database: Database, tmp_path: Path) -> AsyncIterator[SmdpSide]:
    rig = await rigs.start(database, 3)
    await rig.onboard()
    async with smdp_side(rig, tmp_path) as made:
        yield made


def first(side: SmdpSide) -> VirtualEuicc:
    return side.rig.cards[0]


async def test_a_notification_arrives_octet_by_octet(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    notification = other(card, 1, "enable", address(server))
    await side.hand_in(card, notification)
    assert server.given == []  # the answer to the device waits for nobody
    await side.forward(side.forwarder())
    assert [given.octets for given in server.taken] == [notification]
    assert server.faults == []
    assert await side.states(card) == [(1, "delivered")]
    (told,) = await side.told(card, "notification.delivered")
    assert (told["event"], told["seq"], told["attempts"], told["host"]) == ("enable", 1, 1, address(server))
    given = server.given[0]
    assert given.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"
    assert given.headers["user-agent"].startswith("gsma-rsp-lpad")


async def test_the_asn1_binding_carries_it_too(side: SmdpSide) -> None:
    server, card = await side.allowed(binding=Binding.ASN1), first(side)
    notification = other(card, 1, "enable", address(server))
    await side.hand_in(card, notification)
    await side.forward(side.forwarder())
    assert [(given.path, given.octets) for given in server.taken] == [("/gsma/rsp2/asn1", notification)]
    assert server.given[0].headers["content-type"] == "application/x-gsma-rsp-asn1"


async def test_an_encoding_that_is_not_canonical_stays_as_it_is(side: SmdpSide) -> None:
    """A length in the long form, as some cards write it: a server that gets another encoding can't verify."""
    server, card = await side.allowed(), first(side)
    sound = other(card, 1, "enable", address(server))
    assert sound[:2] == b"\x30\x82"
    odd = b"\x30\x83\x00" + sound[2:]
    data = metadata(2, "enable", address(server), OTHER_ICCID).replace(b"\x81\x02\x06\x40", b"\x81\x02\x00\x40")
    certificates = card.credentials.euicc_certificate + card.credentials.eum_certificate
    odder = tlv(0x30, data, signed_by(card, data), certificates)  # no canonical BIT STRING under the signature
    await side.hand_in(card, odd)
    await side.hand_in(card, odder)
    await side.forward(side.forwarder())
    assert sorted(given.octets for given in server.taken) == sorted([odd, odder])
    assert server.faults == []


async def test_a_report_of_an_installation_goes_too(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    report = installation(card, 4, address(server))
    await side.hand_in(card, report)
    await side.forward(side.forwarder())
    assert [given.octets for given in server.taken] == [report]


async def test_the_copy_of_a_direct_download_is_not_forwarded(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    report = installation(card, 4, address(server))
    await side.rig.provide(card, b"\xbf\x54" + bytes([0x81, len(report)]) + report)
    await side.forward(side.forwarder())
    assert server.given == []
    assert await side.rig.rows("notifications", card) == []
    assert len(await side.told(card, "download.reported")) == 1
    assert any(row["kind"] == "audit" for row in await side.rig.rows("requests", card))


async def test_whatever_a_server_does_each_profiles_order_is_kept_and_nothing_is_lost(side: SmdpSide) -> None:
    """Each manner at a server of its own: 200 is taken for 204, and all else is a failure that is tried again."""
    card, servers = first(side), {}
    for number, manner in enumerate(m for m in Manner if m is not Manner.IS_SLOW):
        name = f"{manner.name.lower().replace('_', '-')}.example.com"
        server = servers[manner] = await side.allowed(name)
        server.behave = _failing_at_second(manner)
        for seq, event in ((1, "enable"), (2, "disable"), (3, "enable")):
            iccid = number.to_bytes(10, "big")
            await side.hand_in(card, other(card, 10 * number + seq, event, address(server, name), iccid))
        await side.hand_in(card, other(card, 500 + number, "enable", address(server, name), OTHER_ICCID))
    forwarder = side.forwarder(across_hosts=False)
    async with asyncio.timeout(60):
        while any(len(server.taken) < 4 for server in servers.values()):
            await forwarder.round()
            await asyncio.sleep(0.05)
    await side.forward(forwarder)
    assert {state for _, state in await side.states(card)} == {"delivered"}
    for number, (manner, server) in enumerate(servers.items()):
        assert server.faults == [], manner
        assert len(server.given) == 4 if manner in WELL else len(server.given) > 4, manner
        assert server.sequence.pop(OTHER_ICCID) == [500 + number], manner
        assert server.sequence[number.to_bytes(10, "big")] == [10 * number + seq for seq in (1, 2, 3)], manner


def _failing_at_second(manner: Manner) -> Callable[[Given], Manner]:
    left = 2

    def behave(given: Given) -> Manner:
        nonlocal left
        if left and given.read.event == "disable":
            left -= 1
            return manner
        return Manner.TAKES

    return behave


async def test_a_later_one_that_came_first_is_overtaken_by_the_one_before_it(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    for seq in (9, 7, 8):
        await side.hand_in(card, other(card, seq, "enable", address(server)))
    await side.forward(side.forwarder())
    assert list(server.sequence.values()) == [[7, 8, 9]]


async def test_a_dead_server_holds_up_no_other(side: SmdpSide) -> None:
    slow, quick = await side.allowed("slow.example.com"), await side.allowed("quick.example.com")
    slow.behave = lambda _: Manner.IS_SLOW
    card = first(side)
    for seq in range(1, 21):
        iccid = seq.to_bytes(10, "big")
        await side.hand_in(card, other(card, seq, "enable", address(slow, "slow.example.com"), iccid))
        await side.hand_in(card, other(card, 100 + seq, "enable", address(quick, "quick.example.com"), iccid[::-1]))
    forwarder = side.forwarder()
    task = asyncio.create_task(forwarder.run())
    await _until(lambda: len(quick.taken) == 20, 15)
    assert slow.taken == []
    slow.behave = lambda _: Manner.TAKES
    await _until(lambda: len(slow.taken) == 20, 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert slow.at_once <= 8


async def _until(holds: Callable[[], bool], seconds: float) -> None:
    """What sockets bring has no event of ours to wait for."""
    for _ in range(round(seconds / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it didn't come to hold")


async def test_who_fails_time_after_time_is_asked_with_one(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    server.behave = lambda _: Manner.FAILS
    for seq in range(1, 101):
        await side.hand_in(card, other(card, seq, "enable", address(server), seq.to_bytes(10, "big")))
    forwarder = side.forwarder()
    for _ in range(10):
        await forwarder.round()
    assert len(server.given) <= 20  # of a hundred that are due
    server.behave = lambda _: Manner.TAKES
    async with asyncio.timeout(40):
        while len(server.taken) < 100:
            await forwarder.round()
            await asyncio.sleep(0.02)
    assert server.faults == []


async def test_a_server_that_nobody_allowed_is_not_called_and_the_notification_waits(side: SmdpSide) -> None:
    server, card = await side.server(), first(side)
    await side.hand_in(card, other(card, 1, "enable", address(server)))
    await side.forward(side.forwarder())
    assert server.connections == 0
    assert await side.states(card) == [(1, "held")]
    (told,) = await side.told(card, "notification.held")
    assert told["reason"] == "not-allowed"


async def test_a_server_that_an_order_names_may_be_called(side: SmdpSide) -> None:
    card = first(side)
    await side.rig.visit(card)
    await side.hand_in(card, other(card, 900, "enable", "SMDP2.example.com"))
    forwarder = side.forwarder()
    await forwarder.round()
    assert (900, "held") in await side.states(card)
    step = Template(SetDefaultDpAddress("smdp2.example.com"))
    asked = Ordering(Kind.SET_DP_ADDRESS, (Target(format_eid(card.eid)),), steps=(step,))
    await side.rig.operations.place(SETUP, asked, None)
    await forwarder.round()
    assert (900, "waiting") in await side.states(card)


async def test_a_private_address_is_not_called_unless_the_entry_allows_it(side: SmdpSide) -> None:
    card = first(side)
    for seq, networks in enumerate([(), ("10.0.0.0/8",)], 1):
        server = await side.server()
        await side.allow(address(server), networks=networks)
        await side.hand_in(card, other(card, seq, "enable", address(server), bytes([seq]) * 10))
        await side.forward(side.forwarder(), 3)
        assert server.connections == 0
    rows = await side.rig.rows("notifications", card)
    assert [row["state"] for row in rows] == ["waiting", "waiting"]
    assert all("not public" in str(row["failure"]) for row in rows)


async def test_a_server_that_is_not_the_one_is_told_nothing(side: SmdpSide) -> None:
    """Test 47: none is accepted, and a sound one beside them is."""
    card, sound = first(side), await side.allowed()
    servers = {}
    for number, flaw in enumerate(Flaw, 2):
        name = f"{flaw.name.lower().replace('_', '-')}.example.com"
        servers[flaw] = await side.server(name, flaw)
        await side.allow(address(servers[flaw], name))
        await side.hand_in(card, other(card, number, "enable", address(servers[flaw], name), bytes([number]) * 10))
    await side.hand_in(card, other(card, 1, "enable", address(sound)))
    await side.forward(side.forwarder(), 3)
    assert len(sound.taken) == 1
    assert {flaw: server.given + server.faults for flaw, server in servers.items()} == {flaw: [] for flaw in Flaw}
    rows = [row for row in await side.rig.rows("notifications", card) if row["state"] == "waiting"]
    assert len(rows) == len(Flaw)
    assert all("certificate" in str(row["failure"]) or "TLS" in str(row["failure"]) for row in rows)


async def test_what_names_no_host_is_held(side: SmdpSide) -> None:
    card = first(side)
    wrong = ["not a host/path", "https://smdp.example.com", "user@smdp.example.com", "smdp.example.com:99999", "a b"]
    for seq, said in enumerate(["", *wrong], 1):
        await side.hand_in(card, other(card, seq, "enable", said))
    await side.forward(side.forwarder())
    reasons = [told["reason"] for told in await side.told(card, "notification.held")]
    assert sorted(map(str, reasons)) == ["invalid-address"] * len(wrong) + ["no-address"]


async def test_a_compact_one_is_made_whole_when_the_certificates_are_known(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    await side.hand_in(card, compact(card, 1, "enable", address(server)))
    forwarder = side.forwarder()
    await side.forward(forwarder)
    (told,) = await side.told(card, "notification.held")
    assert told["reason"] == "certificate-unknown"
    assert server.given == []
    await side.rig.visit(card)  # it shows its certificates
    await side.forward(forwarder)
    (given,) = server.taken
    assert given.read.kind == "otherSignedNotification"
    assert server.faults == []  # the chain and the signature hold
    assert await side.states(card) == [(1, "delivered")]


async def test_a_compact_one_with_a_wrong_signature_is_held(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    await side.rig.visit(card)
    forged = bytearray(compact(card, 1, "enable", address(server)))
    forged[-1] ^= 1
    await side.hand_in(card, bytes(forged))
    await side.forward(side.forwarder())
    (told,) = await side.told(card, "notification.held")
    assert told["reason"] == "signature-wrong"
    assert server.given == []


async def test_a_compact_report_of_a_download_that_nobody_knows_is_held(side: SmdpSide) -> None:
    card = first(side)
    inner = b"\xa0\x0e\x80\x01\x01\x02\x01\x05\xa2\x06\xa0\x04\x4f\x02\x00\x10"
    octets = inner + b"\x5f\x37\x40" + bytes(64)
    await side.hand_in(card, b"\xa0" + bytes([len(octets)]) + octets)
    await side.forward(side.forwarder())
    (told,) = await side.told(card, "notification.held")
    assert told["reason"] == "session-unknown"


async def test_a_forged_one_neither_goes_nor_stands_in_the_way(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    forged = bytearray(other(card, 1, "disable", address(server)))
    forged[forged.index(b"\x5f\x37\x40") + 5] ^= 1
    await side.hand_in(card, bytes(forged))
    await side.hand_in(card, other(card, 2, "enable", address(server)))
    await side.forward(side.forwarder())
    assert await side.states(card) == [(1, "held"), (2, "delivered")]
    (told,) = await side.told(card, "notification.held")
    assert told["reason"] == "signature-wrong"


async def test_only_what_is_proven_goes_where_that_is_configured(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    await side.hand_in(card, installation(card, 1, address(server)))  # before its certificate is known
    await side.hand_in(card, other(card, 2, "enable", address(server)))  # brings it
    await side.forward(side.forwarder(verified_only=True))
    assert await side.states(card) == [(1, "delivered"), (2, "delivered")]


async def test_what_is_here_for_too_long_is_an_alarm_once(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    server.behave = lambda _: Manner.FAILS
    await side.hand_in(card, other(card, 1, "enable", address(server)))
    forwarder = side.forwarder(alarm_after=timedelta(milliseconds=1))
    for _ in range(5):
        await forwarder.round()
        await asyncio.sleep(0.02)
    (told,) = await side.told(card, "notification.delayed")
    assert (told["seq"], told["host"]) == (1, address(server))
    assert await side.states(card) == [(1, "waiting")]  # it is never given up by itself


async def test_a_worker_that_dies_between_the_answer_and_its_commit_delivers_again(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    for seq in (1, 2):
        await side.hand_in(card, other(card, seq, "enable", address(server)))
    dying: list[asyncio.Task[int]] = []

    def behave(given: Given) -> Manner:
        if len(server.given) == 1:
            asyncio.get_running_loop().call_soon(dying[0].cancel)
        return Manner.TAKES

    server.behave = behave
    dying.append(asyncio.create_task(side.forwarder().round()))
    await asyncio.gather(*dying, return_exceptions=True)
    assert dying[0].cancelled()
    assert await side.states(card) == [(1, "waiting"), (2, "waiting")]
    await side.forward(side.forwarder())
    assert [given.read.seq_number for given in server.given] == [1, 1, 2]
    assert server.faults == []
    assert await side.states(card) == [(1, "delivered"), (2, "delivered")]


async def test_a_worker_without_its_lease_writes_nothing_and_another_delivers_again(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    await side.hand_in(card, other(card, 1, "enable", address(server)))
    forwarder = side.forwarder()
    await forwarder._look()
    await Leasing(side.worker, uuid4()).fence_all()
    with pytest.raises(LeaseLost):
        await forwarder.round()
    assert await side.states(card) == [(1, "waiting")]
    await side.rig.leasing.refresh()
    await side.forward(forwarder)
    assert await side.states(card) == [(1, "delivered")]
    assert len({given.octets for given in server.taken}) == 1


async def test_what_the_release_before_stored_goes_too(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    octets = other(card, 1, "enable", address(server))
    await side.rig.database.owner().execute(
        "INSERT INTO notifications (bucket, id, eid, tenant, digest, octets, seq_number, event, address, iccid) "
        "VALUES ($1, gen_random_uuid(), $2, 1, '\\x01', $3, 1, 'enable', $4, '\\x98001032547698103214')",
        bucket_of(card.eid), card.eid, octets, address(server),
    )  # fmt: skip
    await side.forward(side.forwarder())
    assert [given.octets for given in server.taken] == [octets]


async def test_a_verified_notification_changes_our_view_and_a_forged_one_does_not(side: SmdpSide) -> None:
    card = first(side)
    await side.rig.visit(card)
    before = await side.rig.enabled(card)
    unused = next(p for p in await side.rig.rows("profiles", card) if p["state"] == "disabled")
    forged = bytearray(other(card, 900, "enable", "smdp.example.com", bytes(unused["iccid"])))  # type: ignore[call-overload]
    forged[forged.index(b"\x5f\x37\x40") + 5] ^= 1
    await side.hand_in(card, bytes(forged))
    assert await side.rig.enabled(card) == before
    await side.hand_in(card, other(card, 901, "enable", "smdp.example.com", bytes(unused["iccid"])))  # type: ignore[call-overload]
    assert await side.rig.enabled(card) == unused["service_provider"]
    await side.hand_in(card, other(card, 1, "disable", "smdp.example.com", bytes(unused["iccid"])))  # type: ignore[call-overload]
    assert await side.rig.enabled(card) == unused["service_provider"]  # an older one overwrites nothing


async def test_a_card_is_known_by_the_certificate_that_its_notification_brings(side: SmdpSide) -> None:
    card = first(side)
    await side.hand_in(card, other(card, 1, "enable", "smdp.example.com"))
    row = await side.rig.database.owner().fetchrow("SELECT euicc_certificate FROM euiccs WHERE eid = $1", card.eid)
    assert row is not None
    assert row["euicc_certificate"] == card.credentials.euicc_certificate


async def test_a_worker_leaves_alone_what_another_holds(side: SmdpSide) -> None:
    server, card = await side.allowed(), first(side)
    await side.hand_in(card, other(card, 1, "enable", address(server)))
    forwarder = side.forwarder()
    held = side.rig.leasing._held
    kept = held.pop(Bucket(bucket_of(card.eid)))
    await side.forward(forwarder)
    assert server.given == []
    held[kept.bucket] = kept
    await side.forward(forwarder)
    assert len(server.taken) == 1

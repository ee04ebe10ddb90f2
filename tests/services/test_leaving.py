"""Export, wipe, import: the fleet goes on, and no card sees a counter twice."""

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from eim.domain.ids import IdentityId, format_eid
from eim.domain.operation import Kind
from eim.errors import Conflict, InvalidRequest, KeyUnusable
from eim.keys.files import KeyStore
from eim.keys.locked import locked_files, unlock_files
from eim.protocol.published_keys import Mode
from eim.services import bundle
from eim.services.arriving import Arrived, Arriving, Existing, Rules
from eim.services.bundle import Key, Writer, check, fingerprint
from eim.services.leaving import History, Leaving, header
from eim.services.moving import Associations, Move
from eim.services.onboarding import HIGHEST_COUNTER
from eim.services.tokens import SETUP
from eim.sim.fleet import Fleet, Make
from eim.sim.journal import Journal
from eim.sim.journal import check as check_journal
from eim.sim.pki import Pki
from eim.store.connect import DbRole
from tests.cluster import Cluster
from tests.database import Database, fresh
from tests.services.rig import EIM_ID, OneKey, Rig, add_initial_eim, now

PASSPHRASE = "correct horse battery"


def key_in(data: Path) -> OneKey:
    keys = OneKey()
    keys.signer = keys.signers["test"] = KeyStore(data / "keys", Mode.TEST).load("test")
    return keys


async def started(database: Database, data: Path, cards: int) -> Rig:
    """An installation whose key lies in `data`, with cards that were introduced and switched once."""
    KeyStore(data / "keys", Mode.TEST).create_identity_key("test")
    keys = key_in(data)
    await database.seed_identity(eim_id=EIM_ID, public_key=keys.signer.spki)
    fleet = Fleet(Pki.new(), cards, Journal(now), Make(cannot_attach=0, sleepers=0))
    fleet.associate(add_initial_eim(keys.signer.spki))
    rig = Rig(database, fleet, keys)
    await rig.leasing.refresh()
    await rig.onboard(tags=("meter", "north"), group="plant 1", time_zone="Europe/Berlin", label="one of ours")
    for card in rig.cards:
        await rig.visit(card)
        await rig.order(card, Kind.ENABLE, "Carrier B")
        await rig.visit(card)
        assert await rig.enabled(card) == "Carrier B"
    return rig


async def leave(rig: Rig, keys: OneKey, files: dict[str, bytes], history: History = History.LEFT) -> bytes:
    to = io.BytesIO()
    writer = Writer(to)
    parts = [Key(path, content) for path, content in files.items()]
    await Leaving(rig.database.owner()).write(writer, header(datetime.now(UTC), "test"), parts, history)
    writer.close(keys.signer.spki, keys.signer.sign)
    return to.getvalue()


async def arrive(database: Database, octets: bytes, rules: Rules | None = None) -> Arrived:
    check(io.BytesIO(octets))
    return await Arriving(database.owner()).take(SETUP, bundle.read(io.BytesIO(octets)), rules or Rules())


async def counters(database: Database) -> dict[bytes, int]:
    return {r["eid"]: r["counter"] for r in await database.owner().fetch("SELECT eid, counter FROM euiccs")}


async def test_the_fleet_goes_on_after_export_wipe_and_import(
    database: Database, postgres: Cluster, tmp_path: Path
) -> None:
    rig = await started(database, tmp_path / "old", 5)
    lost, waiting, later, *_ = rig.cards
    executed = await rig.order(lost, Kind.ENABLE, "Carrier A")
    package = await rig.poll(lost)
    assert package is not None
    rig.execute(lost, package)  # and its result never comes
    untouched = await rig.order(waiting, Kind.ENABLE, "Carrier A")
    taken = await leave(rig, key_in(tmp_path / "old"), locked_files(tmp_path / "old", PASSPHRASE))
    before = await counters(database)
    await rig.order(later, Kind.ENABLE, "Carrier A")  # the old one goes on after the export: new counters at the card
    await rig.visit(later)

    files = {line.path: line.content for line in bundle.read(io.BytesIO(taken)) if isinstance(line, Key)}
    unlock_files(tmp_path / "new", files, PASSPHRASE)
    async with fresh(postgres) as other:
        arrived = await arrive(other, taken)
        assert (arrived.added, arrived.kept, arrived.exhausted) == (5, 0, ())
        assert {eid: counter - before[eid] for eid, counter in (await counters(other)).items()} == dict.fromkeys(
            before, 1000
        )
        again = Rig(other, rig.fleet, key_in(tmp_path / "new"))
        await again.leasing.refresh()
        for card in again.cards:
            await again.visit(card)
            await again.visit(card)
        assert (await again.operation(executed))["state"] == "done"
        assert (await again.operation(untouched))["state"] == "done"
        for card in again.cards:
            await again.order(card, Kind.LIST_PROFILES)
            await again.visit(card)
            wanted = "Carrier B" if await again.enabled(card) == "Carrier A" else "Carrier A"
            ordered = await again.order(card, Kind.ENABLE, wanted)
            await again.visit(card)
            assert (await again.operation(ordered))["state"] == "done"
            assert await again.enabled(card) == wanted
        row = await other.owner().fetchrow("SELECT DISTINCT tags, group_name, time_zone, label FROM euiccs")
        assert row is not None
        assert tuple(row) == (["meter", "north"], "plant 1", "Europe/Berlin", "one of ours")
        assert await other.owner().fetchval("SELECT count(*) FROM euicc_tags") == 10
        report = check_journal(rig.journal.entries)
        assert report.sound, report


# What of a card doesn't travel as it is: the counters have their margin, traces end, a denial finds its cards again;
# alarms, an emergency call, a reported cause and tries to meet the counter begin anew.
LEFT_BEHIND = {
    *("counter", "next_counter", "counter_alarmed_at", "resyncs", "trace_left", "traced_until", "denied_by", "marks"),
    *("ecall_since", "ecall_answers", "reset_at", "reported_cause"),
}


async def test_every_column_of_a_card_travels_with_its_keys_and_denials(
    database: Database, postgres: Cluster, tmp_path: Path
) -> None:
    rig = await started(database, tmp_path / "old", 1)
    owner = database.owner()
    await rig.add_key()
    await owner.execute(
        "UPDATE euiccs SET key_number = 1, next_key = 1, next_counter = 7, association = 3, resyncs = 2, "
        "stalled = 'counter', stalled_at = now(), marks = '{cert:00}', reset_at = now(), reported_cause = 4, "
        "former_token = 9, token_on_trial = true, handed_over_at = now(), counter_alarmed_at = now()"
    )
    await owner.execute(
        "INSERT INTO denials (id, tenant, mark, reason, created_by) VALUES ($1, 1, 'ein:89', 'stolen', 'a test')",
        uuid4(),
    )
    taken = await leave(rig, key_in(tmp_path / "old"), locked_files(tmp_path / "old", PASSPHRASE))
    rows = "SELECT to_jsonb(e) - $1::text[] FROM euiccs e"
    keys = "SELECT to_jsonb(k) - 'created_at' FROM identity_keys k ORDER BY k.number"
    denials = "SELECT to_jsonb(d) FROM denials d"
    async with fresh(postgres) as other:
        await arrive(other, taken)
        there = other.owner()
        assert await there.fetchval(rows, list(LEFT_BEHIND)) == await owner.fetchval(rows, list(LEFT_BEHIND))
        assert [r[0] for r in await there.fetch(keys)] == [r[0] for r in await owner.fetch(keys)] != []
        assert [r[0] for r in await there.fetch(denials)] == [r[0] for r in await owner.fetch(denials)] != []
        await arrive(other, taken)
        assert await there.fetchval("SELECT count(*) FROM denials") == 1


async def test_a_bundle_that_was_touched_is_refused(database: Database, tmp_path: Path) -> None:
    rig = await started(database, tmp_path, 1)
    whole = await leave(rig, key_in(tmp_path), {})
    assert check(io.BytesIO(whole)).signer == fingerprint(key_in(tmp_path).signer.spki)
    lines = gzip.decompress(whole).splitlines(keepends=True)
    card = next(at for at, line in enumerate(lines) if b'"part":"euicc"' in line)
    altered = lines[card].replace(b'"counter":', b'"counter":9')
    broken = {
        "altered": [*lines[:card], altered, *lines[card + 1 :]],
        "one left out": [*lines[:card], *lines[card + 1 :]],
        "one twice": [*lines[: card + 1], *lines[card:]],
        "no end": lines[:-1],
        "more after the end": [*lines, lines[card]],
        "another version": [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]],
    }
    for parts in broken.values():
        with pytest.raises(InvalidRequest):
            check(io.BytesIO(gzip.compress(b"".join(parts))))
    for octets in (whole[:-20], b"", b"nonsense", whole[:100] + b"\x00" + whole[101:]):
        with pytest.raises(InvalidRequest):
            check(io.BytesIO(octets))
    stranger = OneKey().signer
    signed = io.BytesIO()
    writer = Writer(signed)
    writer.add(header(datetime.now(UTC), "test"))
    writer.close(key_in(tmp_path).signer.spki, stranger.sign)
    with pytest.raises(InvalidRequest, match="signature"):
        check(io.BytesIO(signed.getvalue()))


async def test_what_is_here_stays_unless_it_is_to_be_replaced_and_no_counter_falls(
    database: Database, tmp_path: Path
) -> None:
    rig = await started(database, tmp_path, 2)
    whole = await leave(rig, key_in(tmp_path), {}, History.TAKEN)
    one = rig.cards[0]
    await database.owner().execute("UPDATE euiccs SET label = 'mine', counter = 5000 WHERE eid = $1", one.eid)
    kept = await arrive(database, whole)
    assert (kept.added, kept.replaced, kept.kept) == (0, 0, 2)
    assert kept.events > 10
    events = await database.owner().fetchval("SELECT count(*) FROM events WHERE kind = 'operation.done'")
    done = await arrive(database, whole, Rules(existing=Existing.REPLACED))
    assert (done.added, done.replaced, done.kept) == (0, 2, 0)
    row = await database.owner().fetchrow("SELECT label, counter FROM euiccs WHERE eid = $1", one.eid)
    assert row is not None
    assert tuple(row) == ("one of ours", 5000)
    again = await database.owner().fetchval("SELECT count(*) FROM events WHERE kind = 'operation.done'")
    assert again == events, "what was there already was doubled"


async def test_a_counter_without_room_and_an_identity_with_another_key_are_refused(
    database: Database, postgres: Cluster, tmp_path: Path
) -> None:
    rig = await started(database, tmp_path, 2)
    full = rig.cards[0].eid
    await database.owner().execute("UPDATE euiccs SET counter = $2 WHERE eid = $1", full, HIGHEST_COUNTER - 999)
    whole = await leave(rig, key_in(tmp_path), {})
    async with fresh(postgres) as other:
        done = await arrive(other, whole)
        assert (done.added, done.exhausted) == (1, (format_eid(full),))
    async with fresh(postgres) as other:
        await other.seed_identity(eim_id=EIM_ID, public_key=OneKey().signer.spki)
        with pytest.raises(Conflict, match="another key"):
            await arrive(other, whole)


def test_keys_travel_locked_and_overwrite_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    KeyStore(old / "keys", Mode.TEST).create_identity_key("test")
    clear = (old / "keys" / "test.pem").read_bytes()
    files = locked_files(old, PASSPHRASE)
    assert clear.splitlines()[1] not in files["keys/test.pem"]
    assert b"ENCRYPTED" in files["keys/test.pem"]
    with pytest.raises(KeyUnusable, match="passphrase"):
        unlock_files(new, files, "another passphrase")
    assert not new.exists()
    unlock_files(new, files, PASSPHRASE)
    unlock_files(new, files, PASSPHRASE)
    assert (new / "keys" / "test.pem").read_bytes() == clear
    assert (new / "keys" / "test.pem").stat().st_mode & 0o777 == 0o600
    KeyStore(tmp_path / "third" / "keys", Mode.TEST).create_identity_key("test")
    with pytest.raises(KeyUnusable, match="another"):
        unlock_files(tmp_path / "third", files, PASSPHRASE)
    with pytest.raises(KeyUnusable, match="none of an installation's keys"):
        unlock_files(tmp_path / "fourth", {"../evil.pem": files["keys/test.pem"]}, PASSPHRASE)
    with pytest.raises(KeyUnusable, match="12 characters"):
        locked_files(old, "short")


async def test_a_card_on_another_key_goes_on_with_it_after_export_wipe_and_import(
    database: Database, postgres: Cluster, tmp_path: Path
) -> None:
    rig = await started(database, tmp_path / "old", 1)
    await rig.add_key()
    moving = Associations(database.pool(DbRole.OPERATOR), 10)
    await moving.move(SETUP, IdentityId(1), Move("a year"), None)
    (card,) = rig.cards
    await rig.visit(card)
    taken = await leave(rig, key_in(tmp_path / "old"), {})
    async with fresh(postgres) as other:
        await arrive(other, taken)
        again = Rig(other, rig.fleet, rig.keys)
        await again.leasing.refresh()
        order = await again.order(card, Kind.LIST_PROFILES)
        await again.visit(card)
        ended = await again.operation(order)
        assert (ended["state"], ended["doubt"]) == ("done", None)

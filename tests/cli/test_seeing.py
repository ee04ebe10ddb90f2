import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eim.domain.ids import bucket_of
from eim.services.traces import Exchange, Tracer
from eim.store.connect import DbRole
from tests.cli.conftest import Eim
from tests.database import Database
from tests.operator_side import eid_of, eid_text, onboard

EID = eid_text(1)
POLL = bytes.fromhex("BF4F125A10") + eid_of(1)
CODE = bytes.fromhex("BF4F25 BF5422 A020 801E 4C50413A3124736D64702E6578616D706C652E636F6D2453454352455431")


@pytest.fixture
async def device(eim: Eim, database: Database) -> Eim:
    await onboard(database, [1])
    return eim


async def called(database: Database) -> None:
    now = datetime.now(UTC)
    exchange = Exchange(POLL, now, CODE, now)
    await Tracer(database.pool(DbRole.DEVICE)).keep(bucket_of(eid_of(1)), eid_of(1), "192.0.2.7", exchange)


async def test_a_trace_is_switched_on_shown_decoded_and_deleted(device: Eim, database: Database) -> None:
    on = await device("devices", "trace", EID, "--minutes", "5", "--exchanges", "9")
    assert "at most 9 exchanges" in on.output
    await called(database)
    shown = (await device("devices", "trace", EID, "--show")).output
    assert "from 192.0.2.0/24: 21 octets" in shown
    assert f"5A  eidValue: {EID}" in shown
    assert "1$smdp.example.com$****" in shown
    assert "SECRET1" not in shown
    assert "forgotten" in (await device("devices", "trace", EID, "--delete")).output
    assert "nothing was kept" in (await device("devices", "trace", EID, "--show")).output


async def test_switched_off_it_keeps_what_is_there(device: Eim, database: Database) -> None:
    await device("devices", "trace", EID)
    await called(database)
    assert (await device("devices", "trace", EID, "--off")).output == "not traced any more\n"
    told = json.loads((await device("devices", "trace", EID, "--show", "--json")).output)
    assert [item["direction"] for item in told["items"]] == ["in", "out"]


async def test_a_trace_is_written_for_wireshark(device: Eim, database: Database, tmp_path: Path) -> None:
    await device("devices", "trace", EID)
    await called(database)
    file = tmp_path / "trace.pcap"
    done = await device("devices", "trace", EID, "--pcap", str(file))
    assert "2 messages" in done.output
    written = file.read_bytes()
    assert written[:4] == bytes.fromhex("D4C3B2A1")
    assert POLL in written
    assert b"SECRET1" not in written


async def test_a_file_that_can_not_be_written_is_said(device: Eim, tmp_path: Path) -> None:
    done = await device("devices", "trace", EID, "--pcap", str(tmp_path / "nowhere" / "file"))
    assert done.exit_code == 1
    assert "can't be written" in done.output


async def test_two_deeds_at_once_are_refused(device: Eim, tmp_path: Path) -> None:
    done = await device("devices", "trace", EID, "--show", "--pcap", str(tmp_path / "file"))
    assert done.exit_code == 1
    assert "one thing at a time" in done.output


async def test_the_timeline_is_read_from_the_oldest_down(device: Eim) -> None:
    await device("order", "listProfileInfo", EID)
    lines = (await device("devices", "timeline", EID)).output.splitlines()
    whats = [line.split()[2] for line in lines[:-1]]
    assert whats[0] == "euicc.onboard"
    assert "operation.accepted" in whats
    assert lines[-1] == "last call: never"


@pytest.mark.made_up_events
async def test_a_failure_is_followed_by_what_it_means_and_what_to_do(device: Eim, database: Database) -> None:
    await database.owner().execute(
        "INSERT INTO events (bucket, id, eid, tenant, kind, data) "
        "VALUES ($1, gen_random_uuid(), $2, 1, 'operation.failed', '{\"reason\": \"iccidOrAidNotFound\"}')",
        bucket_of(eid_of(1)),
        eid_of(1),
    )
    lines = [line.strip() for line in (await device("devices", "timeline", EID)).output.splitlines()]
    at = next(n for n, line in enumerate(lines) if "operation.failed" in line)
    assert lines[at + 1] == "= the card has no such profile"
    assert lines[at + 2].startswith("> compare with `eim devices show EID`")

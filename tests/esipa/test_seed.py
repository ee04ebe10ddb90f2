"""Seeding by hand: what it makes, what it refuses, and that only the owner of the database can."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner, Result

from eim.cli import main
from eim.domain.euicc import Speaks
from eim.domain.ids import DEFAULT_TENANT, Eid, TenantId, format_eid, parse_iccid
from eim.domain.operation import Kind
from eim.errors import Conflict, InvalidRequest, UntrustedCertificate
from eim.postgres import Embedded
from eim.protocol.trust import check_chain, load_roots
from eim.services.seeding import Out, Seed, Seeding
from eim.services.tokens import SETUP
from eim.sim.euicc import VirtualEuicc
from eim.store.connect import DbRole
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import EID, numbered
from tests.esipa.client import Door
from tests.esipa.server import EIM_ID
from tests.operator_side import no_roots
from tests.services import rig as rigs
from tests.services.rig import Rig, now

PACKAGE: Final = numbered(7, "response")
OTHERS: Final = TenantId(2)


@pytest.fixture
async def seeding(database: Database) -> Seeding:
    await database.seed_identity(eim_id=EIM_ID)
    return Seeding(database.owner(), no_roots)


async def card(database: Database) -> dict[str, object]:
    row = await database.owner().fetchrow("SELECT * FROM euiccs WHERE eid = $1", EID)
    assert row is not None
    return dict(row)


async def test_a_device_nobody_onboarded_is_made_and_the_deed_audited(seeding: Seeding, database: Database) -> None:
    done = await seeding.seed(SETUP, captured.seed_by_key(captured.out(PACKAGE)))
    assert done.new
    made = await card(database)
    assert (made["tenant"], made["association_token"], made["speaks"], made["counter"]) == (1, 1, "1.0.1", 3)
    assert made["introduced_at"] is not None
    audited = await database.owner().fetch("SELECT action, subject, actor FROM audit ORDER BY action")
    assert [(r["action"], r["subject"]) for r in audited] == [
        ("euicc.seeded", format_eid(EID)),
        ("package.seeded", str(done.operation)),
    ]
    (head,) = await database.owner().fetch("SELECT operation, counter, sealed, handed_at, deliveries FROM mailbox")
    assert (head["operation"], head["counter"], head["deliveries"]) == (done.operation, 3, 1)
    assert head["handed_at"] is not None
    assert PACKAGE.endswith(head["sealed"])
    foreign = await database.owner().fetchval("SELECT count(*) FROM foreign_transactions WHERE eid = $1", EID)
    assert foreign == 1


async def test_the_same_seed_again_changes_nothing(seeding: Seeding, database: Database) -> None:
    seed = captured.seed_by_key(captured.out(PACKAGE))
    first = await seeding.seed(SETUP, seed)
    second = await seeding.seed(SETUP, seed)
    assert (first.operation, first.new, second.new) == (second.operation, True, False)
    assert await database.owner().fetchval("SELECT count(*) FROM packages") == 1


async def test_what_is_left_out_stays_as_it_is(seeding: Seeding, database: Database) -> None:
    await seeding.seed(SETUP, captured.seed_by_key())
    before = await card(database)
    await seeding.seed(SETUP, Seed(EID))
    assert await card(database) == before


async def test_one_package_is_out_at_a_time(seeding: Seeding) -> None:
    await seeding.seed(SETUP, captured.seed_by_key(captured.out(PACKAGE)))
    with pytest.raises(Conflict, match="out with it already"):
        await seeding.seed(SETUP, captured.seed_by_key(captured.out(numbered(5, "response"))))


async def test_counters_never_fall(seeding: Seeding) -> None:
    await seeding.seed(SETUP, Seed(EID, counter=100))
    with pytest.raises(Conflict, match="counters never fall"):
        await seeding.seed(SETUP, Seed(EID, counter=99))
    for outside in (-1, 8_388_608):
        with pytest.raises(InvalidRequest):
            await seeding.seed(SETUP, Seed(EID, counter=outside))


async def test_another_token_ends_what_the_former_one_proved(seeding: Seeding, database: Database) -> None:
    await seeding.seed(SETUP, Seed(EID, association_token=1))
    await database.owner().execute("UPDATE euiccs SET token_proven = true, signature_form = 'token'")
    await seeding.seed(SETUP, Seed(EID, association_token=1))
    assert (await card(database))["signature_form"] == "token"
    await seeding.seed(SETUP, Seed(EID, association_token=2))
    after = await card(database)
    assert (after["signature_form"], after["token_proven"], after["association_token"]) == (None, False, 2)
    await seeding.seed(SETUP, Seed(EID, association_token=None))
    assert (await card(database))["association_token"] is None


async def test_an_eid_of_another_tenant_is_refused(seeding: Seeding, database: Database) -> None:
    await database.owner().execute("INSERT INTO tenants (id, name) VALUES ($1, 'others')", OTHERS)
    await database.seed_identity(eim_id="theirs", tenant=OTHERS)
    theirs = msgspec.structs.replace(SETUP, tenant=OTHERS)
    await seeding.seed(theirs, Seed(EID, counter=7))
    with pytest.raises(Conflict, match="another tenant's"):
        await seeding.seed(SETUP, captured.seed_by_key(captured.out(PACKAGE)))
    made = await card(database)
    assert (made["tenant"], made["public_key"], made["counter"]) == (OTHERS, None, 7)
    assert DEFAULT_TENANT != OTHERS


async def test_the_identity_is_the_packages(seeding: Seeding, database: Database) -> None:
    await database.seed_identity(eim_id="second.example.com")
    await seeding.seed(SETUP, captured.seed_by_key(captured.out(PACKAGE)))
    assert (await card(database))["identity"] == 1
    with pytest.raises(InvalidRequest, match="which identity"):
        await seeding.seed(SETUP, Seed(EID))
    with pytest.raises(Conflict, match="associated with eimId eIM"):
        await seeding.seed(SETUP, Seed(EID, identity="second.example.com"))


async def test_a_package_of_no_identity_of_ours_is_refused(database: Database) -> None:
    await database.seed_identity(eim_id="second.example.com")
    with pytest.raises(InvalidRequest, match="eIM is none of ours"):
        await Seeding(database.owner(), no_roots).seed(SETUP, captured.seed_by_key(captured.out(PACKAGE)))


@pytest.mark.parametrize(
    ("out", "why"),
    [
        (Out(b""), "no package"),
        (Out(PACKAGE[:-1]), "no package"),
        (Out(bytes.fromhex("BF4F03020101")), "no package|is no package"),
        (Out(numbered(55, "response")), "BF54 is no package"),
        (Out(numbered(9, "response"), Kind.ENABLE), "needs an ICCID"),
        (Out(PACKAGE, Kind.DATA_REQUEST), "is no ipaEuiccDataRequest"),
        (Out(numbered(3, "response"), Kind.ENABLE), "no package for this operation"),
    ],
)
async def test_what_is_no_package_for_the_operation_is_refused(seeding: Seeding, out: Out, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        await seeding.seed(SETUP, captured.seed_by_key(out))


async def test_a_package_for_another_eid_is_refused(seeding: Seeding) -> None:
    other = msgspec.structs.replace(captured.seed_by_key(captured.out(PACKAGE)), eid=Eid(bytes(16)))
    with pytest.raises(InvalidRequest, match="is for EID 8904"):
        await seeding.seed(SETUP, other)


async def test_a_known_key_is_not_replaced_and_an_unknown_root_not_believed(seeding: Seeding) -> None:
    await seeding.seed(SETUP, captured.seed_by_key())
    key = captured.seed_by_key().public_key
    assert key is not None
    other = msgspec.structs.replace(key, point=key.point[:-1] + bytes([key.point[-1] ^ 1]))
    with pytest.raises(Conflict, match="another key"):
        await seeding.seed(SETUP, Seed(EID, public_key=other))
    with pytest.raises(UntrustedCertificate):
        await seeding.seed(SETUP, Seed(EID, certificates=captured.certificates()))


@pytest.mark.parametrize("role", [DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER])
async def test_no_role_of_the_server_can(seeding: Seeding, database: Database, role: DbRole) -> None:
    await seeding.seed(SETUP, Seed(EID))
    with pytest.raises((asyncpg.InsufficientPrivilegeError, InvalidRequest)):
        await Seeding(database.pool(role), no_roots).seed(SETUP, captured.seed_by_key(captured.out(PACKAGE)))
    assert (await card(database))["public_key"] is None


@pytest.fixture
async def rig(database: Database) -> Rig:
    return await rigs.start(database)


def ahead(eim: VirtualEuicc, counter: int) -> None:
    """The card's eIM, another installation with our key, has used this counter."""
    (known,) = eim.associations.entries
    eim.associations = eim.associations.put(msgspec.structs.replace(known, highest=counter))


async def test_a_device_of_another_installation_is_adopted(rig: Rig, database: Database) -> None:
    """Certificates, token and counter are given: its first signed package is obeyed, and nothing is asked before."""
    adopted = rig.cards[0]
    ahead(adopted, 500)
    roots = load_roots([rig.fleet.pki.root_der])
    seeding = Seeding(database.owner(), lambda euicc, eum: check_chain(euicc, eum, roots, now()))
    chain = (adopted.credentials.euicc_certificate, adopted.credentials.eum_certificate)
    await seeding.seed(
        SETUP, Seed(adopted.eid, certificates=chain, association_token=1, counter=500, speaks=Speaks.V1_2)
    )
    await rig.order(adopted, Kind.LIST_PROFILES)
    assert await rig.visit(adopted) == 1
    assert await rig.enabled(adopted) == "Carrier A"
    (row,) = await rig.rows("euiccs", adopted)
    assert (row["counter"], row["token_proven"]) == (501, True)


async def test_what_was_sealed_and_not_handed_out_goes_out_behind_the_seed(rig: Rig, database: Database) -> None:
    victim = rig.cards[0]
    await rig.onboard()
    await rig.visit(victim)
    await rig.order(victim, Kind.ENABLE, "Carrier B")
    await rig.work()
    waiting = (await rig.rows("mailbox", victim))[0]
    assert waiting["sealed"] is not None
    request = bytes.fromhex("BF52045C02BF22")
    await Seeding(database.owner(), no_roots).seed(SETUP, Seed(victim.eid, out=Out(request)))
    assert await rig.poll(victim) == request
    await rig.provide(victim, bytes.fromhex("BF5202A000"))
    assert await rig.visit(victim) == 1
    assert await rig.enabled(victim) == "Carrier B"


def invoke(folder: Path, *arguments: str, **settings: str) -> Result:
    environment = {"EIM_SERVER_DATA_DIR": str(folder), "EIM_CONFIG": ""} | settings
    return CliRunner().invoke(main, ["seed", *arguments], env=environment)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--eid", "89049032123451234512345678901236"], "check digits"),
        (["--eid", format_eid(EID), "--public-key", "04" * 65], "no CI vouches for"),
        (["--eid", format_eid(EID), "--operation", "enable"], "give one"),
        (["--eid", format_eid(EID), "--association-token", "x"], "is a number"),
        (["--eid", format_eid(EID), "--package", "no/such/file"], "there is no file"),
        (["--eid", format_eid(EID)], "start `eim serve`"),
    ],
)
def test_the_command_says_what_is_missing_and_makes_nothing(tmp_path: Path, arguments: list[str], why: str) -> None:
    result = invoke(tmp_path / "data", *arguments)
    assert result.exit_code == 1
    assert why in result.output
    assert not (tmp_path / "data").exists()


async def test_the_command_seeds_a_configured_database(database: Database, tmp_path: Path) -> None:
    await database.seed_identity(eim_id=EIM_ID)
    file = tmp_path / "package.hex"
    file.write_text(PACKAGE.hex())
    key = captured.seed_by_key().public_key
    assert key is not None
    arguments = ["--public-key", key.point.hex(), "--association-token", "none", "--package", str(file)]
    arguments += ["--counter", "2", "--speaks", "1.0.1", "--unverifiable"]
    arguments += ["--operation", "enable", "--iccid", "8949449999999990031"]
    settings = {
        "EIM_SERVER_DATA_DIR": str(tmp_path / "data"),
        "EIM_SERVER_TEST_MODE": "true",
        "EIM_DATABASE_DSN": database.dsn(DbRole.OWNER),
    }
    code, told = await eim(settings, "seed", "--eid", format_eid(EID), *arguments)
    assert code == 0, told
    assert told.startswith(f"eid: {format_eid(EID)} (new)\noperation: ")
    made = await card(database)
    assert (made["public_key"], made["association_token"], made["unverifiable"]) == (key.point, None, True)
    operation = await database.owner().fetchrow("SELECT kind, iccid, state FROM operations")
    assert operation is not None
    assert tuple(operation) == ("enable", parse_iccid("8949449999999990031"), "out")


async def eim(settings: Mapping[str, str], *arguments: str) -> tuple[int | None, str]:
    """The exit code of a command, and what it printed."""
    out = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "eim", *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | dict(settings), stdout=out, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return process.returncode, told.decode()


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Mapping[str, str]]:
    """`eim serve` as people start it, with its embedded database and the identity of the captures."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "EIM_SERVER_DATA_DIR": str(tmp_path / "data"),
        "EIM_SERVER_TEST_MODE": "true",
        "EIM_DEVICE_HOST": "127.0.0.1",
        "EIM_DEVICE_PORT": str(port),
        "EIM_OPERATOR_PORT": "0",
    }
    named = ("--eim-id", EIM_ID, "--eim-id-type", "proprietary", "--fqdn", "localhost")
    assert (await eim(settings, "keys", "init", *named))[0] == 0
    with (tmp_path / "serve.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "eim", "serve"), env=os.environ | settings, stdout=log, stderr=log
        )
        try:
            yield settings
        finally:
            server.terminate()
            await asyncio.wait_for(server.wait(), 30)
            await Embedded(tmp_path / "data" / "postgres").remove()  # root's lies outside of the test's folder


async def test_a_running_installation_is_seeded_and_a_capture_replayed(
    installation: Mapping[str, str], tmp_path: Path
) -> None:
    """The three processes, the embedded database and the command, as docs/replay.md tells it."""
    key = captured.seed_by_key().public_key
    assert key is not None
    known = ("--public-key", key.point.hex(), "--association-token", "1", "--package", PACKAGE.hex())
    async with asyncio.timeout(60):
        door = await opened(tmp_path / "data/tls/ca.pem", int(installation["EIM_DEVICE_PORT"]))
        code, told = await eim(installation, "seed", "--eid", format_eid(EID), *known)
        assert code == 0, told
        assert "operation: " in told
        assert (await door.post(numbered(7, "request"))).body == PACKAGE
        acknowledged = await door.post(numbered(8, "request"))
    assert acknowledged.body == bytes.fromhex("BF5006BF5303800102")


async def opened(ca: Path, port: int) -> Door:
    """The way to the device role, as soon as it serves."""
    while True:
        try:
            door = Door("127.0.0.1", port, ca.read_text())
            await door.post(numbered(7, "request"))
        except OSError:
            await asyncio.sleep(0.3)
        else:
            return door

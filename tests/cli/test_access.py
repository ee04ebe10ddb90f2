"""Tenants, identities, tokens, audit and orders for many, by command."""

import asyncio
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner

from eim import serving
from eim.cli import main
from eim.keys.tls import Suites, make_ca_and_leaf, server_context
from eim.services.tokens import SETUP, NewToken, Scope
from eim.web.operator import operator_app
from tests.cli.conftest import Eim
from tests.database import Database
from tests.operator_side import eid_text, give_profiles, onboard, services_of


async def test_a_tenant_is_made_limited_and_given_a_token(eim: Eim) -> None:
    made = json.loads((await eim("tenants", "create", "acme", "--euiccs", "5", "--json")).output)
    token = (await eim("tenants", "token", str(made["id"]), "first", "--scope", "euiccs:write")).output.strip()
    assert (await eim("devices", "add", eid_text(1), "--token", token)).exit_code == 0
    assert (await eim("tenants", "limit", str(made["id"]), "--euiccs", "1")).exit_code == 0
    full = await eim("devices", "add", eid_text(2), "--token", token)
    assert (full.exit_code, "may have 1 eUICCs" in full.output) == (1, True)
    assert "acme" in (await eim("tenants", "list")).output


async def test_an_identity_is_shown_and_its_last_one_kept(eim: Eim) -> None:
    listed = json.loads((await eim("identities", "list", "--json")).output)
    ident = str(listed[0]["id"])
    assert "eim.example.com" in (await eim("identities", "show", ident)).output
    refused = await eim("identities", "retire", ident, "--reason", "old key")
    assert (refused.exit_code, "last identity" in refused.output) == (1, True)


async def test_a_token_is_rotated(eim: Eim) -> None:
    made = json.loads((await eim("token", "create", "script", "--scope", "euiccs:read", "--json")).output)
    new = (await eim("token", "rotate", made["id"])).output.strip()
    assert (await eim("devices", "list", "--token", new)).exit_code == 0
    assert (await eim("devices", "list", "--token", made["token"])).exit_code == 1


async def test_the_audit_is_searched(eim: Eim, database: Database) -> None:
    await onboard(database, [1])
    found = await eim("audit", "search", "--action", "euicc.", "--subject", eid_text(1), "--json")
    assert [e["action"] for e in json.loads(found.output)] == ["euicc.onboard"]
    assert "euicc.onboard" in (await eim("audit", "search", "--actor", "token:test")).output


async def test_an_order_for_many_is_previewed_and_confirmed(eim: Eim, database: Database) -> None:
    await onboard(database, range(101))
    await give_profiles(database, 1)
    looked = await eim("order", "list-profiles", "--all", "--preview")
    assert "101 operations for 101 lines" in looked.output
    assert "now on Carrier A: 1" in looked.output
    asked = await eim("order", "list-profiles", "--all")
    assert (asked.exit_code, "--confirm 101" in asked.output) == (1, True)
    assert (await eim("order", "list-profiles", "--all", "--confirm", "100")).exit_code == 1
    assert (await eim("order", "list-profiles", "--all", "--confirm", "101")).exit_code == 0
    assert await database.owner().fetchval("SELECT count(*) FROM orders") == 1


async def test_a_device_is_edited_and_offboarded(eim: Eim, database: Database) -> None:
    await onboard(database, [1])
    assert "pump" in (await eim("devices", "edit", eid_text(1), "--label", "pump", "--tag", "x")).output
    assert "label None" in (await eim("devices", "edit", eid_text(1), "--label", "")).output
    assert (await eim("devices", "offboard", eid_text(1))).exit_code == 2
    assert "is out" in (await eim("devices", "offboard", eid_text(1), "--reason", "sold")).output
    assert (await eim("devices", "show", eid_text(1))).exit_code == 1


async def test_a_ca_of_ones_own_is_taken_and_one_that_is_none_refused(eim: Eim, tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    refused = await eim("devices", "list", "--ca", str(broken))
    assert (refused.exit_code, "--ca" in refused.output) == (1, True)
    assert (await eim("devices", "list", "--ca", str(tmp_path / "missing"))).exit_code == 2


async def test_a_server_with_a_ca_of_its_own_is_reached_by_naming_it(database: Database, tmp_path: Path) -> None:
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("cli", frozenset(Scope)))
    files = make_ca_and_leaf(tmp_path / "tls", ["127.0.0.1", "localhost"], datetime.now(UTC))
    assert files.ca is not None
    listener, stop = serving.listen("127.0.0.1", 0, "operator"), asyncio.Event()
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    context = server_context(files, Suites.OPERATOR, ssl.TLSVersion.TLSv1_2)
    limits = serving.Limits(handshake=5, request=5, keep_alive=5)
    running = asyncio.create_task(serving.serve_app(operator_app(services), listener, context, limits, stop))
    words = ["token", "list", "--server", address, "--token", made.secret]
    without, named = [
        await asyncio.to_thread(CliRunner().invoke, main, [*words, *more]) for more in ([], ["--ca", str(files.ca)])
    ]
    stop.set()
    await running
    assert (without.exit_code, "--ca" in without.output) == (3, True), without.output
    assert (named.exit_code, "cli" in named.output) == (0, True), named.output

"""`eim order`, `eim orders`, `eim operations` and `eim token` against a real server."""

import asyncio
import json
from pathlib import Path

from eim.asn1 import sgp32
from eim.asn1.sgp32 import AddInitialEimRequest
from tests.cli.conftest import Eim
from tests.database import Database
from tests.domain.steps import CONFIG
from tests.operator_side import A, B, eid_text, give_profiles, onboard


async def test_a_switch_is_ordered_for_all_by_service_provider(eim: Eim, database: Database) -> None:
    await onboard(database, [1, 2])
    for number in (1, 2):
        await give_profiles(database, number)
    done = await eim("order", "enable", "--service-provider", "Carrier B", "--all")
    assert done.exit_code == 0, done.output
    assert "2 accepted" in done.output
    rows = await database.owner().fetch("SELECT rollback, priority FROM operations WHERE kind = 'enable'")
    assert [tuple(row) for row in rows] == [(True, 100)] * 2


async def test_the_options_of_an_order_reach_the_server(eim: Eim, database: Database) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    placed = await eim("order", "enable", "--eid", eid_text(1), "--iccid", B, "--no-rollback", "--urgent", "--json")
    operation = json.loads(placed.output)["operations"][0]["operation"]
    shown = json.loads((await eim("operations", "show", operation, "--json")).output)
    assert (shown["rollback"], shown["priority"], shown["state"]) == (False, 50, "accepted")
    guarded = await eim("order", "delete", "--eid", eid_text(1), "--iccid", A)
    assert (guarded.exit_code, "is enabled" in guarded.output) == (1, True)
    assert (await eim("order", "delete", "--eid", eid_text(1), "--iccid", A, "--force", "scrapped")).exit_code == 0
    for command in ("list-profiles", "data"):
        assert (await eim("order", command, "--all")).exit_code == 0
    assert (await eim("order", "disable", "--all")).exit_code == 1


async def test_a_chain_and_what_comes_after_are_ordered_by_command(eim: Eim, database: Database) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    steps = ("enable Carrier B", f"delete {A} after contact", "list-profiles")
    done = await eim(
        "order", "chain", "--eid", eid_text(1), *(word for step in steps for word in ("--step", step)), "--json"
    )
    assert done.exit_code == 0, done.output
    placed = [step["operations"][0]["operation"] for step in json.loads(done.output)["steps"]]
    shown = [json.loads((await eim("operations", "show", each, "--json")).output) for each in placed]
    assert [each["after"] for each in shown] == [None, *placed[:2]]
    assert [each["waits_for"] for each in shown] == [None, "operation", "operation"]
    assert [each["after_event"] for each in shown] == [None, "contact", None]
    behind = await eim("order", "data", "--eid", eid_text(1), "--after", placed[2], "--json")
    assert behind.exit_code == 0, behind.output
    for wrong in (("data", "--all", "--after", placed[2]), ("chain", "--eid", eid_text(1), "--step", "paint")):
        assert (await eim("order", *wrong)).exit_code == 1


async def test_a_file_names_the_cards_and_their_profiles(eim: Eim, database: Database, tmp_path: Path) -> None:
    await onboard(database, [1, 2])
    file = tmp_path / "cards.csv"
    file.write_text(f"eid,iccid\n{eid_text(1)},{A}\n{eid_text(2)},{B}\n", encoding="utf-8")
    done = await eim("order", "enable", "--file", str(file), "--json")
    assert json.loads(done.output)["accepted"] == 2
    file.write_text(f"{eid_text(1)}\n89\n", encoding="utf-8")
    refused = await eim("order", "list-profiles", "--file", str(file))
    assert (refused.exit_code, "line 2:" in refused.output) == (1, True)
    file.write_text(f"{eid_text(1)},{A}\n{eid_text(2)}\n", encoding="utf-8")
    assert (await eim("order", "enable", "--file", str(file))).exit_code == 1


async def test_waiting_ends_when_every_operation_has_and_its_code_says_how(eim: Eim, database: Database) -> None:
    await onboard(database, [1])

    async def end(state: str) -> None:
        change = "UPDATE operations SET state = $1 WHERE order_id IS NOT NULL AND state = 'accepted'"
        async with asyncio.timeout(20):
            while await database.owner().execute(change, state) == "UPDATE 0":  # noqa: ASYNC110 - the server is another
                await asyncio.sleep(0.1)

    for state, code in (("done", 0), ("failed", 1)):
        ending = asyncio.create_task(end(state))
        waited = await eim("order", "list-profiles", "--all", "--wait", "--json")
        await ending
        assert (waited.exit_code, json.loads(waited.output)["states"][state]) == (code, 1)


async def test_orders_and_operations_are_shown_and_taken_back(eim: Eim, database: Database) -> None:
    await onboard(database, [1])
    placed = json.loads((await eim("order", "list-profiles", "--all", "--json")).output)
    operation = placed["operations"][0]["operation"]
    assert operation in (await eim("operations", "list", "--eid", eid_text(1), "--state", "accepted")).output
    assert "withdrawn" in (await eim("operations", "withdraw", operation)).output
    watched = await eim("orders", "show", placed["order"], "--watch")
    assert (watched.exit_code, "withdrawn" in watched.output) == (0, True)
    assert (await eim("operations", "withdraw", placed["order"])).exit_code == 1
    assert (await eim("operations", "show", "nonsense")).exit_code == 2


async def test_tokens_are_made_listed_and_revoked(eim: Eim) -> None:
    made = (await eim("token", "create", "script", "--scope", "euiccs:read")).output.strip()
    assert (await eim("devices", "list", "--token", made)).exit_code == 0
    forbidden = await eim("devices", "add", eid_text(1), "--token", made)
    assert (forbidden.exit_code, "euiccs:write" in forbidden.output) == (1, True)
    tokens = json.loads((await eim("token", "list", "--json")).output)
    ident = next(token["id"] for token in tokens if token["name"] == "script")
    assert (await eim("token", "revoke", ident)).exit_code == 0
    assert (await eim("devices", "list", "--token", made)).exit_code == 1


async def test_every_step_has_its_own_words(eim: Eim, database: Database, tmp_path: Path) -> None:
    await onboard(database, [1])
    await give_profiles(database, 1)
    config = tmp_path / "eim.der"
    config.write_bytes(sgp32.encode(CONFIG))
    as_json, as_text = tmp_path / "eim.json", tmp_path / "eim.hex"
    as_json.write_text(json.dumps({"configuration": sgp32.encode(CONFIG).hex()}), encoding="ascii")
    as_text.write_text(sgp32.encode(AddInitialEimRequest((CONFIG,))).hex(), encoding="ascii")
    steps = tmp_path / "steps.json"
    steps.write_text('[{"step": "getRAT"}, {"step": "listProfileInfo"}]', encoding="ascii")
    for words, kind in (
        (("rules",), "getRAT"),
        (("list-profiles", "--class", "operational", "--tags", "5A,9F70"), "listProfileInfo"),
        (("data", "--what", "associationToken", "--what", "deviceInfo"), "ipaEuiccDataRequest"),
        (("set-fallback", "--iccid", B), "setFallbackAttribute"),
        (("unset-fallback",), "unsetFallbackAttribute"),
        (("immediate-enable", "--on", "--smdp-address", "smdp.example.com"), "configureImmediateEnable"),
        (("default-smdp", "smdp.example.com"), "setDefaultDpAddress"),
        (("list-eims",), "listEim"),
        (("add-eim", "--configuration", str(config)), "addEim"),
        (("update-eim", "--configuration", str(as_json)), "updateEim"),
        (("update-eim", "--configuration", str(as_text)), "updateEim"),
        (("delete-eim", "other.example.com"), "deleteEim"),
        (("package", str(steps)), "package"),
    ):
        done = await eim("order", *words, "--eid", eid_text(1), "--json")
        assert done.exit_code == 0, (words, done.output)
        shown = await eim("operations", "show", json.loads(done.output)["operations"][0]["operation"], "--json")
        assert json.loads(shown.output)["operation"] == kind
    assert json.loads((await eim("order", "check", "--all", "--json")).output)["accepted"] == 3
    for wrong in (("data", "--what", "all"), ("package", str(config)), ("add-eim", "--configuration", str(steps))):
        assert (await eim("order", *wrong, "--eid", eid_text(1))).exit_code != 0


async def test_a_whole_order_is_taken_back_by_command(eim: Eim, database: Database) -> None:
    await onboard(database, [1, 2])
    placed = json.loads((await eim("order", "list-profiles", "--all", "--json")).output)
    back = await eim("orders", "withdraw", placed["order"])
    assert (back.exit_code, "withdrawn" in back.output) == (0, True), back.output
    assert (await eim("orders", "stop", placed["order"])).exit_code == 0  # there is nothing to stop: nothing happens
    assert (await eim("orders", "withdraw", placed["operations"][0]["operation"])).exit_code == 1

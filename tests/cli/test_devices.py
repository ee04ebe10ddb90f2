"""`eim devices` against a real server."""

import json
from pathlib import Path

from eim.store.connect import DbRole, transaction
from eim.store.unknown import Noted, note
from tests.cli.conftest import Eim
from tests.database import Database
from tests.operator_side import eid_of, eid_text, give_profiles


async def test_eids_are_added_listed_and_shown(eim: Eim, database: Database) -> None:
    added = await eim("devices", "add", eid_text(1), eid_text(2), "--tag", "street", "--label", "lamp")
    assert added.exit_code == 0, added.output
    assert "2 onboarded" in added.output
    await give_profiles(database, 1)
    listed = await eim("devices", "list", "--tag", "street")
    assert eid_text(1) in listed.output
    assert "Carrier A" in listed.output
    entries = json.loads((await eim("devices", "list", "--service-provider", "Carrier A", "--json")).output)
    assert [entry["eid"] for entry in entries] == [eid_text(1)]
    shown = await eim("devices", "show", eid_text(1))
    assert "Carrier B" in shown.output
    assert "euicc.onboarded" in shown.output


async def test_what_others_wrote_is_printed_as_it_is(eim: Eim) -> None:
    await eim("devices", "add", eid_text(1), "--label", "[red]x[/] [link=http://evil]")
    assert "[red]x[/] [link=http://evil]" in (await eim("devices", "list")).output


async def test_a_csv_file_is_imported_and_every_bad_line_is_named(eim: Eim, tmp_path: Path, database: Database) -> None:
    file = tmp_path / "cards.csv"
    lines = ["eid,label,tags,counter", f"{eid_text(1)},lamp 1,street;north,7", "89,,,", f"{eid_text(1)},,,"]
    file.write_text("\n".join(lines), encoding="utf-8")
    some = await eim(
        "devices", "import", str(file), "--problems", str(tmp_path / "bad.ndjson"), "--counter-margin", "5"
    )
    assert some.exit_code == 1
    assert "1 onboarded, 2 lines passed over" in some.output
    assert "line 3:" in some.output
    assert "line 4:" in some.output
    bad = [json.loads(line) for line in (tmp_path / "bad.ndjson").read_text().splitlines()]
    assert [(each["line"], each["code"]) for each in bad] == [(3, "invalid-eid"), (4, "invalid-request")]
    row = await database.owner().fetchrow("SELECT label, tags, counter FROM euiccs")
    assert row is not None
    assert tuple(row) == ("lamp 1", ["street", "north"], 12)


async def test_a_file_of_json_lines_is_imported(eim: Eim, tmp_path: Path) -> None:
    file = tmp_path / "cards.ndjson"
    file.write_text(f'{{"eid": "{eid_text(1)}"}}\n\n{{"eid": "{eid_text(2)}", "tags": ["a"]}}\n', encoding="utf-8")
    done = json.loads((await eim("devices", "import", str(file), "--json")).output)
    assert (done["accepted"], done["refused"]) == (2, 0)
    file.write_text('{"eid": "1", "colour": "red"}\nnonsense\n', encoding="utf-8")
    refused = await eim("devices", "import", str(file))
    assert refused.exit_code == 1
    assert "line 1:" in refused.output
    assert "line 2:" in refused.output


async def test_another_eims_export_becomes_lines_and_a_mapping_says_where_its_fields_are(
    eim: Eim, tmp_path: Path, database: Database
) -> None:
    entry = {"eid": eid_text(1), "name": "pump", "association": {"associationToken": "0x10", "counterValue": 4000}}
    bundle, lines, mapping = (tmp_path / name for name in ("export.json", "lines.ndjson", "map.toml"))
    bundle.write_text(json.dumps({"devices": [entry]}), encoding="utf-8")
    done = await eim("devices", "convert", "--from", "openiotrsp", str(bundle), "--out", str(lines))
    assert done.exit_code == 0, done.output
    assert (await eim("devices", "import", str(lines))).exit_code == 0
    row = await database.owner().fetchrow("SELECT label, counter, association_token FROM euiccs")
    assert row is not None
    assert tuple(row) == ("pump", 5000, 16)
    bundle.write_text(json.dumps({"fleet": {"cards": [{"card": {"id": eid_text(2)}}]}}), encoding="utf-8")
    mapping.write_text('devices = "fleet.cards"\n[columns]\neid = "card.id"\n', encoding="utf-8")
    words = ("devices", "convert", "--from", "openiotrsp", str(bundle))
    assert "--mapping" in (await eim(*words)).output
    assert eid_text(2) in (await eim(*words, "--mapping", str(mapping))).output


async def test_who_calls_and_is_unknown_is_listed_and_adopted(eim: Eim, database: Database) -> None:
    heard = [Noted(eid_of(number), "192.0.2.0/24", number) for number in range(1, 6)]
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await note(db, heard)
    listed = json.loads((await eim("devices", "unknown", "--json")).output)
    assert [(each["eid"], each["polls"]) for each in listed] == [(eid_text(n), n) for n in (5, 4, 3, 2, 1)]
    assert (await eim("devices", "unknown", "--adopt", eid_text(3), "--tag", "found")).exit_code == 0
    assert (await eim("devices", "unknown", "--adopt", eid_text(9))).exit_code == 1
    wrong = await eim("devices", "unknown", "--adopt-all", "--confirm", "3")
    assert (wrong.exit_code, "4 EIDs" in wrong.output) == (1, True)
    assert "4 onboarded" in (await eim("devices", "unknown", "--adopt-all", "--confirm", "4")).output
    assert json.loads((await eim("devices", "unknown", "--json")).output) == []
    assert await database.owner().fetchval("SELECT count(*) FROM euiccs") == 5


async def test_a_file_without_the_column_is_refused(eim: Eim, tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text("serial\n1\n", encoding="utf-8")
    refused = await eim("devices", "import", str(file))
    assert (refused.exit_code, "no column 'eid'" in refused.output) == (1, True)
    file.write_bytes(b"\xff\xfe\x00eid")
    assert (await eim("devices", "import", str(file))).exit_code == 1


async def test_a_mistyped_eid_is_refused_with_its_line(eim: Eim) -> None:
    refused = await eim("devices", "add", eid_text(1), eid_text(2)[:-2] + "00")
    assert refused.exit_code == 1
    assert "line 2:" in refused.output
    assert "mistyped" in refused.output


async def test_exit_codes_tell_refused_usage_and_unavailable_apart(eim: Eim) -> None:
    assert (await eim("devices", "show", "89")).exit_code == 1
    assert (await eim("devices", "add")).exit_code == 2
    assert (await eim("devices", "list", "--server", "127.0.0.1")).exit_code == 1
    assert (await eim("devices", "list", "--server", "http://a:99999x")).exit_code == 1
    assert (await eim("devices", "list", "--token", "a\nb")).exit_code == 1
    nobody = await eim("devices", "list", "--server", "http://127.0.0.1:1")
    assert (nobody.exit_code, "is it running" in nobody.output) == (3, True)


async def test_the_token_comes_from_the_option_the_environment_or_the_data_directory(eim: Eim, tmp_path: Path) -> None:
    wrong = await eim("devices", "list", "--token", "eim_wrong")
    assert (wrong.exit_code, "valid token" in wrong.output) == (1, True)
    assert "eim_wrong" not in wrong.output
    assert (await eim("devices", "list", EIM_TOKEN="eim_wrong")).exit_code == 1
    assert (await eim("devices", "list")).exit_code == 0
    (tmp_path / "operator.token").unlink()
    missing = await eim("devices", "list")
    assert (missing.exit_code, "EIM_TOKEN" in missing.output) == (1, True)

"""`eim deny` and `eim devices barred | quarantine | release` against a real server."""

import hashlib
import json
from pathlib import Path

from tests.cli.conftest import Eim
from tests.operator_side import eid_text
from tests.protocol.chain import recipes


async def test_a_device_is_quarantined_listed_shown_and_released(eim: Eim) -> None:
    await eim("devices", "add", eid_text(1))
    done = await eim("devices", "quarantine", eid_text(1), "--reason", "two devices call")
    assert done.exit_code == 0, done.output
    for words in (("devices", "barred"), ("devices", "show", eid_text(1))):
        assert "in quarantine" in (await eim(*words)).output
    assert "is released" in (await eim("devices", "release", eid_text(1), "--reason", "it was one")).output
    assert "quarantine" not in (await eim("devices", "barred")).output
    again = await eim("devices", "release", eid_text(1), "--reason", "it was one")
    assert again.exit_code == 1
    assert "neither in quarantine nor an orphan" in again.output


async def test_a_denial_is_added_listed_and_lifted(eim: Eim, tmp_path: Path) -> None:
    certificate = recipes().ci.made()
    file = tmp_path / "card.der"
    file.write_bytes(certificate.der)
    made = await eim("deny", "add", "--certificate", str(file), "--reason", "its key leaked", "--json")
    denial = json.loads(made.output)
    assert denial["mark"] == "cert:" + hashlib.sha256(certificate.der).hexdigest()
    await eim("deny", "add", "--eid", eid_text(1), "--reason", "stolen")
    listed = json.loads((await eim("deny", "list", "--json")).output)
    assert [each["reason"] for each in listed] == ["its key leaked", "stolen"]
    assert "is lifted" in (await eim("deny", "lift", denial["id"], "--reason", "it did not")).output
    assert len(json.loads((await eim("deny", "list", "--json")).output)) == 1
    assert len(json.loads((await eim("deny", "list", "--ended", "--json")).output)) == 2


async def test_a_denial_names_exactly_one_thing_in_the_right_form(eim: Eim, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\n")
    for words, said in (
        ((), "exactly one"),
        (("--ein", "89049032", "--eid", eid_text(1)), "exactly one"),
        (("--serial", "12"), "exactly one"),
        (("--fingerprint", "00112233"), "64 hex digits"),
        (("--eum-key-id", "0:0:0:0:0:"), "two digits an octet"),
        (("--certificate", str(nonsense)), "no certificate"),
    ):
        refused = await eim("deny", "add", *words, "--reason", "stolen")
        assert refused.exit_code in (1, 2)
        assert said in refused.output
    colons = await eim("deny", "add", "--serial", "0A:0b", "--issuer-key-id", "AB" * 20, "--reason", "leaked", "--json")
    assert json.loads(colons.output)["mark"] == "serial:a0b@" + "ab" * 20

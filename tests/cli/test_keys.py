import base64
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eim.asn1 import sgp32
from eim.asn1.sgp32 import AddInitialEimRequest, EimConfigurationData
from eim.cli.keys import keys
from eim.errors import BadConfiguration, KeyUnusable


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(keys, arguments, env={"EIM_SERVER_DATA_DIR": str(data), "EIM_CONFIG": ""})


def printed(data: Path, *arguments: str) -> str:
    result = run(data, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_identity_is_made_shown_and_exported_without_any_database(data: Path) -> None:
    made = printed(data, "init", "--fqdn", "eim.example.com:8443")
    assert "eim.example.com:8443" in made
    assert printed(data, "show") == made
    request = bytes.fromhex(printed(data, "export"))
    (told,) = sgp32.decode(AddInitialEimRequest, request).configs
    assert (told.eim_id, told.id_type, told.association_token) == ("eim.example.com", 2, -1)


def test_all_forms_of_the_export_hold_the_same_octets(data: Path, tmp_path: Path) -> None:
    printed(data, "init", "--eim-id", "1.3.6.1.4.1.99999.1", "--eim-id-type", "oid", "--fqdn", "eim.example.com")
    as_hex = bytes.fromhex(printed(data, "export", "--format", "hex"))
    as_base64 = base64.b64decode(printed(data, "export", "--format", "base64").strip(), validate=True)
    printed(data, "export", "--format", "file", "--output", str(tmp_path / "eim.bin"))
    assert as_hex == as_base64 == (tmp_path / "eim.bin").read_bytes()
    bare = bytes.fromhex(printed(data, "export", "--content", "configuration"))
    assert sgp32.decode(EimConfigurationData, bare).eim_id == "1.3.6.1.4.1.99999.1"
    assert as_hex.endswith(bare)


def test_octets_are_not_printed_as_text(data: Path) -> None:
    printed(data, "init", "--fqdn", "eim.example.com")
    assert run(data, "export", "--format", "file").exit_code == 2


def test_pinning_the_leaf_warns_beside_the_octets(data: Path) -> None:
    printed(data, "init", "--fqdn", "eim.example.com")
    result = run(data, "export", "--tls-trust", "leaf")
    assert result.stderr.startswith("warning: ")
    assert bytes.fromhex(result.stdout).startswith(b"\xbf\x57")


def test_what_is_not_there_or_there_already_is_said_in_words(data: Path) -> None:
    missing = run(data, "export")
    assert isinstance(missing.exception, KeyUnusable)
    assert "eim keys init" in str(missing.exception)
    printed(data, "init")
    assert isinstance(run(data, "init").exception, KeyUnusable)


def test_an_identity_that_can_not_be_is_refused(data: Path) -> None:
    refused = run(data, "init", "--eim-id", "no oid", "--eim-id-type", "oid")
    assert isinstance(refused.exception, BadConfiguration)
    assert not data.exists()


def test_nothing_that_is_printed_holds_the_private_key(data: Path) -> None:
    everything = printed(data, "init", "--fqdn", "eim.example.com") + printed(data, "show") + printed(data, "export")
    pem = (data / "keys" / "default.pem").read_text().splitlines()[1:-1]
    scalar = base64.b64decode("".join(pem))[36:68]
    assert scalar.hex() not in everything.lower()
    assert not any(line in everything for line in pem)

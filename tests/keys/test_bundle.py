"""All keys in one encrypted file."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eim.cli.keys import keys
from eim.errors import KeyUnusable
from eim.keys.bundle import seal, unseal

PASSPHRASE = "correct horse battery"


def run(data: Path, *arguments: str, said: str = "") -> Result:
    environment = {"EIM_SERVER_DATA_DIR": str(data), "EIM_CONFIG": ""}
    return CliRunner().invoke(keys, arguments, env=environment, input=said)


def test_keys_go_into_one_encrypted_file_and_come_back(tmp_path: Path) -> None:
    data, safe, again = tmp_path / "data", tmp_path / "safe.keys", tmp_path / "again"
    run(data, "init", "--fqdn", "eim.example.com")
    made = run(data, "backup", str(safe), said=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.exit_code == 0, made.output
    assert "keys/default.pem" in made.stdout
    content = safe.read_bytes()
    assert safe.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in content
    assert b"eim.example.com" not in content
    brought = run(again, "restore", str(safe), said=f"{PASSPHRASE}\n")
    assert brought.exit_code == 0, brought.output
    for name in ("identity.toml", "keys/default.pem"):
        assert (again / name).read_bytes() == (data / name).read_bytes()
        assert (again / name).stat().st_mode & 0o777 == 0o600


def test_another_passphrase_and_a_changed_octet_open_nothing(tmp_path: Path) -> None:
    data, safe = tmp_path / "data", tmp_path / "safe.keys"
    run(data, "init")
    seal(data, safe, PASSPHRASE)
    with pytest.raises(KeyUnusable, match="another passphrase"):
        unseal(safe, tmp_path / "again", PASSPHRASE + "!")
    octets = bytearray(safe.read_bytes())
    octets[-20] ^= 1
    safe.write_bytes(octets)
    with pytest.raises(KeyUnusable, match="was changed"):
        unseal(safe, tmp_path / "again", PASSPHRASE)
    assert not (tmp_path / "again").exists()


def test_nothing_is_overwritten_and_a_short_passphrase_refused(tmp_path: Path) -> None:
    data, safe = tmp_path / "data", tmp_path / "safe.keys"
    run(data, "init")
    with pytest.raises(KeyUnusable, match="too short"):
        seal(data, safe, "short")
    seal(data, safe, PASSPHRASE)
    with pytest.raises(KeyUnusable, match="not overwritten"):
        seal(data, safe, PASSPHRASE)
    with pytest.raises(KeyUnusable, match="not overwritten"):
        unseal(safe, data, PASSPHRASE)

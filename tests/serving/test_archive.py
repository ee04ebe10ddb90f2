"""`eim backup` of an installation that serves, and `eim restore` into a new folder."""

from pathlib import Path

import pytest

from eim.postgres.tools import _split
from eim.sim.pki import EIN, eids
from tests.serving.conftest import Installation
from tests.serving.served import passwords, run

pytestmark = pytest.mark.xdist_group("serving")

EID = next(iter(eids(EIN, 1))).hex().upper()


@pytest.mark.slow
def test_a_backup_of_a_served_installation_comes_back_with_its_keys_above_its_counters(
    installation: Installation, tmp_path: Path
) -> None:
    served, target = installation.serve().up(), tmp_path / "backup"
    with served.client as client:
        client.post("/v1/euiccs", json={"eid": EID}).raise_for_status()
    made = run(installation.data, "backup", str(target))
    assert made.returncode == 0, made.stderr
    served.end()
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o600}
    assert target.stat().st_mode & 0o777 == 0o700
    refused = run(installation.data, "restore", str(target))
    assert refused.returncode == 1
    assert "has an installation already" in refused.stderr

    again = Installation(tmp_path / "again")
    try:
        restored = run(again.data, "restore", str(target), "--margin", "2000")
        assert restored.returncode == 0, restored.stderr
        assert "the counters of 1 eUICCs were raised by 2000" in restored.stdout
        served = again.serve().up()
        with served.client as client:
            assert client.get(f"/v1/euiccs/{EID}").status_code == 200
            assert client.get("/v1/euiccs/" + EID).json()["association"]["counter"] == 2000
        judged = run(again.data, "doctor")
        assert judged.returncode == 0, judged.stdout
        for name in ("identity.toml", "keys/default.pem", "tls/ca.pem"):
            assert (again.data / name).read_bytes() == (installation.data / name).read_bytes()
        assert passwords(again.data) != passwords(installation.data)
    finally:
        again.close()


@pytest.mark.slow
def test_a_restore_that_was_killed_half_way_is_never_served(installation: Installation, tmp_path: Path) -> None:
    installation.serve().up().end()
    target = tmp_path / "backup"
    made = run(installation.data, "backup", str(target))  # nobody serves: the database is started for it
    assert made.returncode == 0, made.stderr
    (target / "database.dump").write_bytes(b"PGDMP but no more")
    again = Installation(tmp_path / "again")
    try:
        broken = run(again.data, "restore", str(target))
        assert broken.returncode == 1
        assert "pg_restore failed" in broken.stderr
        assert not (again.data / "identity.toml").exists()
        assert run(again.data).returncode == 1, "half an installation was served"
    finally:
        again.close()


def test_a_password_is_not_in_the_command_line() -> None:
    place, password = _split("postgresql://eim:p%40ss@db.example:5433/eim?sslmode=require")
    assert (place, password) == ("postgresql://eim@db.example:5433/eim?sslmode=require", "p@ss")
    place, password = _split("postgresql://eim@/eim?host=%2Frun&password=word")
    assert (place, password) == ("postgresql://eim@/eim?host=%2Frun", "word")

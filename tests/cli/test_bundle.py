"""`eim export` and `eim import` by command: a data folder and a database, gone and back."""

import asyncio
from pathlib import Path

from click.testing import CliRunner, Result

from eim.cli import main
from eim.store.connect import DbRole
from tests.cluster import Cluster
from tests.database import Database, fresh
from tests.operator_side import eid_text, onboard


async def eim(database: Database, data: Path, *words: str) -> Result:
    environment = {
        "EIM_DATABASE_DSN": database.dsn(DbRole.OWNER),
        "EIM_SERVER_DATA_DIR": str(data),
        "EIM_SERVER_TEST_MODE": "true",
    }
    return await asyncio.to_thread(CliRunner().invoke, main, list(words), env=environment)


async def test_an_installation_leaves_with_its_keys_and_arrives_elsewhere(
    database: Database, postgres: Cluster, tmp_path: Path
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "all.eim"
    secret, other_secret = tmp_path / "passphrase", tmp_path / "other"
    secret.write_text("correct horse battery\n", encoding="utf-8")
    other_secret.write_text("no\n", encoding="utf-8")
    known = ("--passphrase-file", str(secret))
    assert (await eim(database, old, "migrate")).exit_code == 0
    await onboard(database, [1, 2, 3])
    left = await eim(database, old, "export", str(file), "--with-keys", "--with-history", *known)
    assert left.exit_code == 0, left.output
    assert "3 eUICCs" in left.output
    assert file.stat().st_mode & 0o777 == 0o600
    signer = left.output.split("signed by ")[1].split(":")[0]
    async with fresh(postgres) as other:
        unsure = await eim(other, new, "import", str(file), *known)
        assert (unsure.exit_code, signer in unsure.output) == (1, True)
        wrong = await eim(other, new, "import", str(file), "--signer", signer, "--passphrase-file", str(other_secret))
        assert (wrong.exit_code, "passphrase" in wrong.output) == (1, True)
        assert await other.owner().fetchval("SELECT count(*) FROM euiccs") == 0
        done = await eim(other, new, "import", str(file), "--signer", signer, *known)
        assert done.exit_code == 0, done.output
        assert "3 eUICCs added" in done.output
        assert (new / "identity.toml").read_bytes() == (old / "identity.toml").read_bytes()
        again = await eim(other, new, "import", str(file), "--replace", *known)  # its own key by now
        assert "0 eUICCs added, 3 replaced" in again.output
        assert (await eim(other, new, "migrate")).exit_code == 0
        eids = [row["eid"].hex() for row in await other.owner().fetch("SELECT eid FROM euiccs ORDER BY eid")]
    assert eids == [eid_text(number) for number in (1, 2, 3)]


async def test_a_broken_bundle_and_a_folder_without_identity_are_refused(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "all.eim"
    nobody = await eim(database, tmp_path / "empty", "export", str(file))
    assert (nobody.exit_code, "no identity" in nobody.output, file.exists()) == (1, True, False)
    file.write_bytes(b"nonsense")
    broken = await eim(database, tmp_path / "empty", "import", str(file))
    assert (broken.exit_code, "no whole bundle" in broken.output) == (1, True)

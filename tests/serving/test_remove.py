"""`eim remove`, and a database whose installation was deleted under it."""

import shutil
from pathlib import Path

from eim.postgres import cluster_of
from tests.serving.conftest import Installation
from tests.serving.served import run


def test_a_database_without_its_keys_is_told_apart_and_can_be_given_up(installation: Installation) -> None:
    installation.serve().up().end()
    for path in installation.data.iterdir():
        if path.name != "postgres":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused = run(installation.data)
    assert refused.returncode == 1
    assert "has no identity any more" in refused.stderr
    assert f"eim remove --data-dir {installation.data}" in refused.stderr
    assert not (installation.data / "identity.toml").exists(), "a refused start made a new identity"
    removed = run(installation.data, "remove", "--data-dir", str(installation.data), "--yes")
    assert removed.returncode == 0, removed.stderr
    assert cluster_of(installation.data / "postgres") is None
    installation.serve().up().end()


def test_an_installation_is_removed_with_nothing_of_anybody_else(installation: Installation) -> None:
    installation.serve().up().end()
    (installation.data / "notes.txt").write_text("mine")
    removed = run(installation.data, "remove", "--data-dir", str(installation.data), "--yes")
    assert removed.returncode == 0, removed.stderr
    assert "eim-" in removed.stderr, "it doesn't say whose keys it deletes"
    assert [path.name for path in installation.data.iterdir()] == ["notes.txt"]
    assert cluster_of(installation.data / "postgres") is None


def test_nothing_is_removed_that_is_served_or_was_not_confirmed(installation: Installation) -> None:
    served = installation.serve().up()
    refused = run(installation.data, "remove", "--data-dir", str(installation.data), "--yes")
    assert refused.returncode == 1
    assert "another `eim serve` works in" in refused.stderr
    served.end()
    unsaid = run(installation.data, "remove", "--data-dir", str(installation.data))
    assert unsaid.returncode == 1
    assert (installation.data / "identity.toml").exists()


def test_a_folder_without_an_installation_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = run(tmp_path / "data", "remove", "--data-dir", str(tmp_path), "--yes")
    assert refused.returncode == 1
    assert "there is no installation" in refused.stderr
    assert (tmp_path / "notes.txt").exists()


def test_roots_are_judged_before_anything_is_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    refused = run(data, EIM_TRUST_ROOTS=str(tmp_path / "none.pem"))
    assert refused.returncode == 1
    assert "trust.roots" in refused.stderr
    assert not (data / "identity.toml").exists()
    assert cluster_of(data / "postgres") is None

"""The data key: what it seals only it opens, and only for what it was sealed for."""

from pathlib import Path

import pytest

from eim.errors import KeyUnusable
from eim.keys.data_key import DataKey


@pytest.fixture
def key(tmp_path: Path) -> DataKey:
    made = DataKey(tmp_path / "keys")
    made.ensure()
    return made


def test_what_is_sealed_opens_again_and_shows_nothing(key: DataKey) -> None:
    sealed = key.seal(b"whsec_secret", b"row")
    assert b"secret" not in sealed
    assert key.open(sealed, b"row") == b"whsec_secret"
    assert key.seal(b"whsec_secret", b"row") != sealed


def test_octets_of_another_row_or_changed_ones_are_refused(key: DataKey) -> None:
    sealed = key.seal(b"x", b"row")
    for wrong, about in ((sealed, b"other"), (sealed[:-1] + b"\x00", b"row"), (sealed[:10], b"row"), (b"", b"row")):
        with pytest.raises(KeyUnusable):
            key.open(wrong, about)


def test_another_key_does_not_open_it_and_the_file_is_named(key: DataKey, tmp_path: Path) -> None:
    other = DataKey(tmp_path / "other")
    other.ensure()
    with pytest.raises(KeyUnusable, match=r"data\.key is not the data key"):
        other.open(key.seal(b"x", b"row"), b"row")


def test_the_file_is_private_and_made_once(key: DataKey, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "data.key"
    before = path.read_bytes()
    key.ensure()
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [None, b"", b"zz", b"00" * 31])
def test_a_missing_or_broken_file_is_said(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "data.key").write_bytes(content)
    with pytest.raises(KeyUnusable, match="data key"):
        DataKey(tmp_path).seal(b"x", b"")

from pathlib import Path

import pytest

from eim.errors import BadConfiguration
from eim.sim.pki_file import load_or_make


def test_the_same_file_gives_the_same_root_and_is_the_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "pki.pem"
    made, again = load_or_make(path), load_or_make(path)
    assert made.root_der == again.root_der
    assert made.maker_der == again.maker_der
    assert made.ci_key_id == again.ci_key_id
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_with_something_else_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pki.pem"
    path.write_text("something else")
    with pytest.raises(BadConfiguration, match=r"pki\.pem is no simulated PKI"):
        load_or_make(path)

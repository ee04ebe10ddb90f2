from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from eim.errors import BadConfiguration
from eim.keys.roots import read_roots
from eim.protocol.published_keys import Mode
from tests.protocol.chain import recipes

SGP26 = Path(__file__).resolve().parents[3] / "shared" / "data" / "sgp26"


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def test_roots_come_as_der_or_as_pem_with_several(tmp_path: Path) -> None:
    first, second, third = (recipes().ci.made().der for _ in range(3))
    (tmp_path / "one.der").write_bytes(first)
    (tmp_path / "two.pem").write_bytes(b"# two roots\n" + pem(second) + pem(third))
    roots = read_roots([tmp_path / "one.der", tmp_path / "two.pem"], Mode.PRODUCTION)
    assert [root.der for root in roots.certificates] == [first, second, third]


def test_all_files_that_can_not_serve_are_listed_at_once(tmp_path: Path) -> None:
    these = recipes()
    (tmp_path / "eum.der").write_bytes(these.eum.made(these.ci.made()).der)
    (tmp_path / "text.pem").write_bytes(b"-----BEGIN nonsense")
    with pytest.raises(BadConfiguration) as refused:
        read_roots([tmp_path / name for name in ("eum.der", "text.pem", "none.pem")], Mode.PRODUCTION)
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 3
    for line, (name, hint) in zip(
        lines,
        (("eum.der", "2.23.146.1.2.1.0"), ("text.pem", "DER or PEM"), ("none.pem", "there is no file")),
        strict=True,
    ):
        assert line.startswith(f"  trust.roots: {tmp_path / name}: ")
        assert hint in line


@pytest.mark.skipif(not SGP26.is_dir(), reason="the SGP.26 certificates are not beside this checkout")
@pytest.mark.parametrize(
    "path", ["v1.5-nist/CERT_CI_ECDSA_NIST", "v3-variant-o-nist/CERT_CI_SIG_NIST", "v1.5-brp/CERT_CI_ECDSA_BRP"]
)
def test_a_test_root_serves_in_test_mode_only(path: str) -> None:
    file = SGP26 / f"{path}.der"
    with pytest.raises(BadConfiguration, match="published test root"):
        read_roots([file], Mode.PRODUCTION)
    assert len(read_roots([file], Mode.TEST).certificates) == 1

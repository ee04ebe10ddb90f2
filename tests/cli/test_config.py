from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eim.cli.config import config
from eim.config_reference import reference
from eim.domain.identity import IdentityWish
from eim.errors import BadConfiguration
from eim.keys.files import KeyStore
from eim.keys.identity import init_identity
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import Mode


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "eim.toml"
    path.write_text('[server]\ndata_dir = "data"\n[database]\ndsn = "postgresql://eim:hunter2@db/eim"\n')
    return path


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(config, arguments, env=variables)


def test_what_holds_is_shown_with_its_sources_and_without_passwords(file: Path) -> None:
    shown = run("show", "--config", str(file), "--sources", EIM_DEVICE_PORT="1234").stdout
    assert "port = 1234  # environment EIM_DEVICE_PORT" in shown
    assert f'dsn = "postgresql://eim:***@db/eim"  # file {file}' in shown
    assert "hunter2" not in shown


def test_a_sound_configuration_passes_and_nothing_is_made(file: Path) -> None:
    assert run("check", "--config", str(file)).stdout == "the configuration can be used\n"
    assert not (file.parent / "data").exists()


def test_a_check_reads_the_files_that_are_named_and_lists_all_their_problems(file: Path) -> None:
    data = file.parent / "data"
    init_identity(data, KeyStore(data / "keys", Mode.PRODUCTION), IdentityWish(), "localhost", Curve.P256)
    (data / "keys" / "default.pem").write_text("spoiled")
    file.write_text(
        file.read_text()
        + '[trust]\nroots = ["no-ca.pem"]\n[device]\ntls_certificate = "no.pem"\ntls_key = "no-key.pem"\n'
    )
    refused = run("check", "--config", str(file))
    assert isinstance(refused.exception, BadConfiguration)
    for name in ("no-ca.pem", "no.pem", "the key default is no private key"):
        assert name in str(refused.exception)


def test_the_reference_is_the_page() -> None:
    assert run("reference").stdout == reference()

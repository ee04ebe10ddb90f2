"""What the command line and the server know of keys and certificates from the configuration."""

import os
from datetime import UTC, datetime
from pathlib import Path

from eim import credentials
from eim.config_loading import load
from eim.domain.ids import IdentityId
from eim.store.identities import Listed


def test_identities_are_known_while_the_device_certificate_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "device.pem"
    broken.write_text("no certificate")
    environment = {
        "EIM_SERVER_DATA_DIR": str(tmp_path),
        "EIM_DEVICE_TLS_CERTIFICATE": str(broken),
        "EIM_DEVICE_TLS_KEY": str(broken),
    }
    config = load(None, os.environ | environment).config
    made = datetime.now(UTC)
    listed = Listed(IdentityId(1), "eim.example.com", 2, "eim.example.com", "secp256r1", b"", 0, made, None)
    blobs = credentials.exported(config, listed)
    assert (blobs.request, blobs.configuration) == (None, None)
    assert str(broken) in blobs.warnings[0]

"""A renewed certificate is served after SIGHUP, without a restart; and a second identity beside the first."""

import os
import signal
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from eim.keys.tls import make_ca_and_leaf
from tests.serving.conftest import Installation
from tests.serving.served import Serve, run, wait_for

pytestmark = pytest.mark.xdist_group("serving")

NAMES = ("localhost", "127.0.0.1")


def certificate(serve: Serve) -> str:
    place = urlsplit(serve.device)
    return ssl.get_server_certificate((str(place.hostname), int(place.port or 0)))


def test_hangup_serves_the_new_certificate_and_keeps_the_old_one_when_it_is_broken(installation: Installation) -> None:
    tls = installation.data / "tls"
    files = make_ca_and_leaf(tls, NAMES, datetime.now(UTC))
    pair = {"EIM_DEVICE_TLS_CERTIFICATE": str(files.certificate), "EIM_DEVICE_TLS_KEY": str(files.key)}
    serve = installation.serve(**pair).up()
    roles, first = serve.roles, certificate(serve)
    assert first.strip() == files.certificate.read_text().strip()
    make_ca_and_leaf(tls, (*NAMES, "new.example.com"), datetime.now(UTC))
    os.kill(serve.process.pid, signal.SIGHUP)
    wait_for(lambda: "tls.reloaded" in serve.said, serve)
    second = certificate(serve)
    assert second != first
    files.certificate.write_text("no certificate")
    os.kill(serve.process.pid, signal.SIGHUP)
    wait_for(lambda: "tls.not_reloaded" in serve.said, serve)
    assert certificate(serve) == second
    assert serve.roles == roles, "a role was started again"
    files.certificate.write_text(second)
    added = run(installation.data, "keys", "add", "--eim-id", "second.example.com", "--key-name", "second")
    assert added.returncode == 0, added.stderr
    with serve.client as client:
        known = client.get("/v1/identities").raise_for_status().json()
    assert "second.example.com" in str(known)
    assert (installation.data / "keys" / "second.pem").stat().st_mode & 0o777 == 0o600

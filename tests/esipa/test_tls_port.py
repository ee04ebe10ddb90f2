"""What the device port speaks, asked of it as a scanner would."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.esipa.server import Served

OPENSSL: Final = shutil.which("openssl")
TESTSSL: Final = shutil.which("testssl") or shutil.which("testssl.sh")
SUITES: Final = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"}
_WEAK: Final = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
_PATIENCE: Final = 20.0


def _context(served: Served, version: ssl.TLSVersion, ciphers: str = _WEAK) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=served.door.ca_pem)
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    return context


def _agreed(served: Served, context: ssl.SSLContext) -> tuple[str, object] | None:
    """The suite and the compression that were agreed on; None when the server refused."""
    with socket.create_connection((served.door.host, served.door.port), _PATIENCE) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                cipher = connection.cipher()
                return (cipher[0], connection.compression()) if cipher else None
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_versions_before_1_2_are_refused(served: Served, version: ssl.TLSVersion) -> None:
    assert await asyncio.to_thread(_agreed, served, _context(served, version)) is None


async def test_of_all_suites_of_tls_1_2_two_are_spoken_and_nothing_is_compressed(served: Served) -> None:
    """Reliability 46."""
    every = _context(served, ssl.TLSVersion.TLSv1_2)
    names = [cipher["name"] for cipher in every.get_ciphers() if not cipher["name"].startswith("TLS_")]
    assert len(names) > 50

    def ask() -> dict[str, object]:
        found = (_agreed(served, _context(served, ssl.TLSVersion.TLSv1_2, f"{name}:@SECLEVEL=0")) for name in names)
        return dict(each for each in found if each is not None)

    assert await asyncio.to_thread(ask) == dict.fromkeys(SUITES)


def _openssl(served: Served, words: str, *options: str) -> str:
    """What `openssl s_client` shows of a connection into which it writes `words`."""
    command = [str(OPENSSL), "s_client", "-connect", f"{served.door.host}:{served.door.port}", *options]
    done = subprocess.run(command, input=words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    return done.stdout + done.stderr


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
async def test_a_client_cannot_renegotiate(served: Served) -> None:
    """Reliability 46."""
    shown = await asyncio.to_thread(_openssl, served, "R\n", "-tls1_2")
    assert "RENEGOTIATING" in shown
    assert "no renegotiation" in shown
    assert (await served.door.post(b"")).status == 400


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
async def test_a_handshake_of_tls_1_3_brings_one_ticket(served: Served) -> None:
    request = "GET /healthz HTTP/1.1\nHost: localhost\nConnection: close\n\n"
    shown = await asyncio.to_thread(_openssl, served, request, "-tls1_3", "-msg", "-ign_eof", "-crlf")
    assert "HTTP/1.1 200" in shown
    assert shown.count("NewSessionTicket") == 1


@pytest.mark.slow
@pytest.mark.skipif(TESTSSL is None, reason="testssl.sh is not installed")
async def test_testssl_finds_nothing_of_weight(served: Served, tmp_path: Path) -> None:
    """Reliability 46."""
    report, place = tmp_path / "report.json", f"{served.door.host}:{served.door.port}"
    command = [str(TESTSSL), "--quiet", "--color", "0", "--fast", "-p", "-U", "-f", "--jsonfile", str(report), place]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    async with asyncio.timeout(600):
        await process.wait()
    found = {each["id"]: (each["severity"], each["finding"]) for each in json.loads(report.read_text())}
    assert {"SSLv3", "TLS1", "TLS1_1", "TLS1_2", "secure_renego", "CRIME_TLS", "ROBOT", "heartbleed"} <= set(found)
    assert {name: said for name, said in found.items() if said[0] in {"MEDIUM", "HIGH", "CRITICAL"}} == {}

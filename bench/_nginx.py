"""The baseline of polls: nginx that returns as many constant octets as an empty poll has, with the eIM's certificate.

Where there is no nginx its package is fetched by apt and unpacked below .dev: nothing is installed and no service
starts. Where that can't be done, `found` gives None and a benchmark says that it has no baseline.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench._measuring import Cpu, cpu_of, tree
from eim.protocol.esipa import NO_PACKAGE

_UNPACKED: Final = Path(__file__).parents[1] / ".dev" / "nginx"
_PATIENCE: Final = 10.0  # seconds
_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 127.0.0.1:{http} reuseport backlog=4096;
        listen 127.0.0.1:{tls} ssl reuseport backlog=4096;
        location / {{ default_type application/x-gsma-rsp-asn1; return 200 "{answer}"; }}
    }}
}}
"""


class Nginx(msgspec.Struct, frozen=True):
    """One that runs: two ports on 127.0.0.1, one worker process."""

    http: int
    tls: int
    cpu: Cpu


def found() -> str | None:
    """The nginx to start: the machine's, or one unpacked below .dev. None when there is neither."""
    ours = _UNPACKED / "usr" / "sbin" / "nginx"
    present = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if present or ours.exists() or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return present or (str(ours) if ours.exists() else None)
    return str(ours) if _unpack() and ours.exists() else None


@contextmanager
def running(program: str, chain: Path, key: Path) -> Iterator[Nginx]:
    """`program` with this certificate chain and key (PEM), until the block ends."""
    with tempfile.TemporaryDirectory(prefix="eim-nginx-") as name:
        folder, (http, tls) = Path(name), _free_ports()
        file = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        answer = "x" * len(NO_PACKAGE)
        file.write_text(
            _CONFIGURATION.format(folder=folder, user=user, chain=chain, key=key, http=http, tls=tls, answer=answer)
        )
        process = subprocess.Popen([program, "-e", "stderr", "-p", name, "-c", str(file)])
        try:
            _wait_for(http, process)
            yield Nginx(http, tls, cpu_of(lambda: tree(process.pid)))
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _unpack() -> bool:
    """Fetch Debian's package and lay its files below .dev. False when apt or the net says no."""
    _UNPACKED.mkdir(parents=True, exist_ok=True)
    steps = [["apt-get", "-qq", "download", "nginx"]]
    if os.geteuid() == 0:
        steps.insert(0, ["apt-get", "-qq", "update"])
    for step in steps:
        if subprocess.run(step, cwd=_UNPACKED, capture_output=True, check=False).returncode:
            return False
    package = next(_UNPACKED.glob("nginx_*.deb"))
    return subprocess.run(["dpkg-deb", "-x", package, _UNPACKED], capture_output=True, check=False).returncode == 0


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("nginx did not start: what it said is above")

"""`eim serve` as somebody would start it: real processes, found again by the folder they work in."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx2
import msgspec

from eim.postgres import home as homes
from eim.postgres.processes import living_in
from eim.sim.https import trusting
from eim.store.roles import DATABASE

PATIENCE_S: Final = 30.0
_SERVING: Final = re.compile(r"serving\s.*esipa=(https://\S+?)/gsma\S* operator=(\S+?)/ ")
_STARTED: Final = re.compile(r"role\.started\s.*pid=(\d+) role=(\w+)")


class Serve:
    """Guards one `eim serve` on `data`."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self._log = data.with_name(f"{data.name}.log")
        self._from = self._log.stat().st_size if self._log.exists() else 0
        command = [sys.executable, "-m", "eim", "serve"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment(data, **settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def said(self) -> str:
        """What it and its roles wrote."""
        with self._log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode()

    def up(self) -> "Serve":
        """Wait until both ports are ready."""
        wait_for(lambda: _SERVING.search(self.said) is not None or self.process.poll() is not None, self)
        assert self.process.poll() is None, self.said
        for port in (self.device, self.operator):
            wait_for(lambda port=port: get(f"{port}/readyz", self) == 200, self)  # type: ignore[misc]
        return self

    @property
    def device(self) -> str:
        return self._address(1)

    @property
    def operator(self) -> str:
        return self._address(2)

    def _address(self, group: int) -> str:
        found = _SERVING.search(self.said)
        assert found is not None, self.said
        return found.group(group)

    @property
    def roles(self) -> Mapping[str, int]:
        """The pid of each role's newest process."""
        return {role: int(pid) for pid, role in _STARTED.findall(self.said)}

    @property
    def client(self) -> httpx2.Client:
        """The operator, with the token of the first start."""
        token = (self.data / "operator.token").read_text().strip()
        return httpx2.Client(
            base_url=self.operator, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S, trust_env=False
        )

    def end(self, way: signal.Signals = signal.SIGTERM) -> int:
        """Send `way` and wait for the end; the exit code."""
        self.process.send_signal(way)
        return self.process.wait(PATIENCE_S)


def run(data: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`eim serve` (or another command) that is expected to end by itself."""
    command = [sys.executable, "-m", "eim", *(words or ("serve",))]
    return subprocess.run(
        command, env=environment(data, **settings), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def environment(data: Path, **settings: str) -> dict[str, str]:
    """Nothing configured but the folder, and ports that nobody else has."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("EIM_")}
    ours = {"EIM_SERVER_DATA_DIR": str(data), "EIM_DEVICE_PORT": "0", "EIM_OPERATOR_PORT": "0"}
    return {**inherited, **ours, **settings}


def get(address: str, serve: Serve, timeout: float = PATIENCE_S) -> int:
    """The status of a GET, with our own CA trusted; 0 when nothing answers."""
    try:
        verify = trusting((serve.data / "tls" / "ca.pem").read_text()) if address.startswith("https") else True
        return httpx2.get(address, verify=verify, timeout=timeout, trust_env=False).status_code
    except httpx2.TransportError:
        return 0


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def left_of(data: Path) -> list[str]:
    """What still runs for `data`: roles, supervisor, Postgres."""
    found = [f"postgres {pid}" for pid in living_in(homes.prepare(data / "postgres").data)]
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        if os.fsencode(data / "run") in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def superuser(data: Path) -> str:
    """A DSN into the embedded database of `data`."""
    home = homes.prepare(data / "postgres")
    password = quote(homes.passwords(home)["superuser"], safe="")
    return f"postgresql://eim_superuser:{password}@/{DATABASE}?host={quote(str(home.socket), safe='')}&port=5432"


def passwords(data: Path) -> Mapping[str, str]:
    content = (homes.prepare(data / "postgres").path / "passwords.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, str])


def wait_for(happened: Callable[[], bool], serve: Serve, seconds: float = PATIENCE_S) -> float:
    """Wait until it has; the seconds that took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, serve.said
        time.sleep(0.02)
    return time.monotonic() - began

"""A real `eim serve` to measure: supervisor, three roles, an embedded Postgres. This process is the client."""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench._estate import postgres
from bench._https import Server
from bench._measuring import Cpu, cpu_of, tree
from eim import app, credentials, installation, logs
from eim.client import Client
from eim.config import Config, LogFormat, LogLevel
from eim.config_loading import load
from eim.installation import Running
from eim.postgres import Embedded
from eim.sim.https import trusting
from eim.sim.pki import Pki
from eim.store.connect import DbRole
from eim.supervisor import Role


async def serve(pki: Pki, during: Callable[[Running], Awaitable[None]]) -> None:
    """Bring an installation up that trusts cards of `pki`, run `during`, and leave nothing behind."""
    logs.configure(LogLevel.WARNING, LogFormat.TEXT, "bench")
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as name:
        config = _configure(Path(name), pki)
        try:
            await installation.run(config, during)
        finally:
            await Embedded(config.server.data_dir / installation.POSTGRES).remove()


def logins(running: Running) -> tuple[str, str, str]:
    """Of the operator role, of the tables' owner and of the superuser."""
    embedded = running.embedded
    assert embedded is not None
    return embedded.dsn(DbRole.OPERATOR), embedded.dsn(DbRole.OWNER), embedded.superuser_dsn("eim")


def operator(running: Running) -> Client:
    """The REST client of who may do everything; use it as a context."""
    host, port = running.operator
    return Client(f"http://{host}:{port}", running.token_file.read_text().strip())


def door(running: Running) -> Server:
    """Where devices call."""
    config = running.config
    files = credentials.device_tls(config, credentials.own_identity(config), app.now())
    assert files.ca is not None
    pid = running.supervisor.pid(Role.DEVICE)
    assert pid is not None, "the device role is down"
    return Server(running.device[1], trusting(files.ca.read_text()), by_process(running)["device"], pid, files)


def by_process(running: Running) -> Mapping[str, Cpu]:
    """The CPU time of each role with all its processes, and of Postgres."""

    def of(role: Role) -> Cpu:
        pid = running.supervisor.pid(role)
        assert pid is not None, f"the {role} role is down"
        return cpu_of(lambda: tree(pid))

    return {role.value: of(role) for role in Role} | {"postgres": cpu_of(postgres)}


def _configure(folder: Path, pki: Pki) -> Config:
    root = folder / "root.pem"
    root.write_bytes(pki.root_pem)
    ours = {
        "EIM_SERVER_DATA_DIR": str(folder / "data"),
        "EIM_SERVER_LOG_LEVEL": "warning",
        "EIM_DEVICE_HOST": "127.0.0.1",
        "EIM_DEVICE_PORT": "0",
        "EIM_OPERATOR_PORT": "0",
        "EIM_TRUST_ROOTS": str(root),
    }
    return load(None, ours).config

"""A whole installation on one machine: database, set-up, first token, and the three roles under a supervisor."""

import asyncio
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from eim import app, credentials, serving
from eim.config import Config, Device, Dsn, Operator
from eim.config_loading import written
from eim.errors import BadConfiguration, Unauthenticated
from eim.keys.disk import make_private_folder, read, write_over
from eim.keys.identity import read_identity
from eim.keys.tickets import Secret
from eim.postgres import Embedded, cluster_of, dsn_of_running
from eim.services.tokens import SETUP, NewToken, Scope, Tokens
from eim.store.connect import DbRole, open_pool
from eim.supervisor import Role, Start, Supervisor

EMBEDDED: Final = "EIM_EMBEDDED"  # set for a worker whose database is ours alone
TOKEN_FILE: Final = "operator.token"
POSTGRES: Final = "postgres"  # the folder of the embedded database
RUN: Final = "run"  # the folder of what holds for one run: the lock, and each role's configuration
_LET_GO_S: Final = 3.0

_log = structlog.get_logger()


class Running(msgspec.Struct, frozen=True):
    """Where a started installation can be reached."""

    device: tuple[str, int]
    operator: tuple[str, int]
    token_file: Path
    supervisor: Supervisor
    config: Config
    embedded: Embedded | None  # None: the database is another's to keep up


async def serve_all(config: Config) -> int:
    """Serve until a signal; the exit code."""
    stop = serving.stop_on_signals()

    async def until_stopped(running: Running) -> None:
        _log.info(
            "serving",
            esipa=f"https://{_place(running.device)}/gsma/rsp2/asn1",
            operator=f"http{'s' if config.operator.tls_certificate else ''}://{_place(running.operator)}/",
            token=str(running.token_file),
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.supervisor.reload)
        await stop.wait()

    return await run(config, until_stopped)


async def run(config: Config, during: Callable[[Running], Awaitable[None]], log: Path | None = None) -> int:
    """Bring all up, run `during`, take all down in order; the exit code of the roles (0: all went well).

    log  where the roles write their logs; None: on our standard error

    Raises BadConfiguration, KeyUnusable or DatabaseUnavailable before anything is served.
    """
    make_private_folder(config.server.data_dir)
    async with AsyncExitStack() as stack:
        stack.callback(os.close, _claim(config.server.data_dir))
        device, operator = config.device, config.operator
        listeners = {
            Role.DEVICE: await _listen(device, Role.DEVICE, device.processes, stack),
            Role.OPERATOR: await _listen(operator, Role.OPERATOR, 1, stack),
        }
        secret = _check(config)
        embedded = await _embedded(config, stack)
        dsns = _logins(config, embedded)
        await app.set_up(config, dsns[DbRole.OWNER])
        token_file = await _first_token(config, dsns[DbRole.OPERATOR])
        supervisor = Supervisor(_starts(config, dsns, listeners, secret.pack), log)
        reached = [_name(listeners[role][0]) for role in (Role.DEVICE, Role.OPERATOR)]
        running = Running(reached[0], reached[1], token_file, supervisor, config, embedded)
        beside = [during(running), secret.run(), *([embedded.keep_up()] if embedded else ())]
        await _supervise(supervisor, beside)
        return supervisor.code


async def serve_devices(config: Config, file: Path | None) -> int:
    """The device role alone, in `device.processes` processes, until a signal; the exit code."""
    stop = serving.stop_on_signals()
    files = credentials.device_tls(config, credentials.own_identity(config), app.now())
    credentials.device_context(config, files)  # what several processes would make at once is made here
    secret = credentials.ticket_secret(config)
    words = ["--config", str(file)] if file else []
    async with AsyncExitStack() as stack:
        listeners = await _listen(config.device, Role.DEVICE, config.device.processes, stack)
        supervisor = Supervisor(_port_starts(Role.DEVICE, words, listeners, os.environ, secret.pack))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.reload)
        await _supervise(supervisor, [stop.wait(), secret.run()])
    return supervisor.code


async def _supervise(supervisor: Supervisor, beside: Sequence[Awaitable[object]]) -> None:
    """Until one of `beside` is over, or the supervisor gave up; what one of them raises is raised in the end."""
    roles = asyncio.ensure_future(supervisor.run())
    others = [asyncio.ensure_future(each) for each in beside]
    try:
        await asyncio.wait({roles, *others}, return_when=asyncio.FIRST_COMPLETED)
        for each in others:
            if each.done():
                each.result()
    finally:
        for each in others:
            each.cancel()
        supervisor.end()
        await roles
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Nobody serves from this folder meanwhile. Raises BadConfiguration while somebody does."""
    descriptor = _claim(data_dir)
    try:
        yield
    finally:
        os.close(descriptor)


def _claim(data_dir: Path) -> int:
    """A lock on the folder for as long as the descriptor is open, however its process ends."""
    make_private_folder(data_dir / RUN)
    descriptor = os.open(data_dir / RUN / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BadConfiguration(
            f"server.data_dir: another `eim serve` works in {data_dir}: "
            "stop it, or give this one a folder of its own (EIM_SERVER_DATA_DIR)"
        ) from None
    return descriptor


async def _listen(section: Device | Operator, role: Role, many: int, stack: AsyncExitStack) -> Sequence[socket.socket]:
    """The listening sockets; roles whose supervisor was just killed have a moment to let go of the port."""
    until = time.monotonic() + _LET_GO_S
    while True:
        try:
            listeners = serving.listen_all(section.host, section.port, role.value, many)
        except serving.PortInUse:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)
        else:
            return [stack.enter_context(listener) for listener in listeners]


async def _embedded(config: Config, stack: AsyncExitStack) -> Embedded | None:
    """The database that lives as long as `stack`; None when one is configured."""
    database = config.database
    if database.dsn is not None:
        return None
    if database.device_dsn or database.operator_dsn or database.worker_dsn:
        raise BadConfiguration("database.dsn: the roles have their URLs but the owner has none: write it to migrate")
    return await stack.enter_async_context(Embedded(config.server.data_dir / POSTGRES))


def _logins(config: Config, embedded: Embedded | None) -> Mapping[DbRole, str]:
    """Where each role logs in."""
    if embedded is not None:
        return {role: embedded.dsn(role) for role in DbRole}
    database = config.database
    owner = database.dsn
    if owner is None:
        raise BadConfiguration("database.dsn: there is no database to log in to")
    own = {
        DbRole.DEVICE: database.device_dsn,
        DbRole.OPERATOR: database.operator_dsn,
        DbRole.WORKER: database.worker_dsn,
    }
    return {DbRole.OWNER: owner.text} | {role: (dsn or owner).text for role, dsn in own.items()}


def login(config: Config, role: DbRole) -> str:
    """Where `role` logs in: as configured, or at the embedded database while it runs. Raises BadConfiguration."""
    database = config.database
    own = {
        DbRole.DEVICE: database.device_dsn,
        DbRole.OPERATOR: database.operator_dsn,
        DbRole.WORKER: database.worker_dsn,
    }.get(role)
    found = own or database.dsn
    return found.text if found else dsn_of_running(config.server.data_dir / POSTGRES, role)


def _check(config: Config) -> Secret:
    """All keys, certificates and roots that would stop a role, judged before anything is started or migrated.

    What the keys of session tickets come from is given back.
    """
    credentials.roots(config)
    _check_belongings(config)
    identity = credentials.own_identity(config)
    credentials.key_store(config).load(identity.key_name)
    credentials.device_context(config, credentials.device_tls(config, identity, app.now()))
    credentials.operator_context(config, app.now())
    return credentials.ticket_secret(config)


def _check_belongings(config: Config) -> None:
    """A database that was left behind by an installation whose keys are gone is not taken over by new keys."""
    data = config.server.data_dir
    left = cluster_of(data / POSTGRES) if config.database.dsn is None else None
    if left is not None and read_identity(data) is None:
        raise BadConfiguration(
            f"server.data_dir: {data} has no identity any more, but the database of the eIM that lived there is still "
            f"in {left}: restore the folder from your backup, or give that eIM up with `eim remove --data-dir {data}`"
        )


async def _first_token(config: Config, dsn: str) -> Path:
    """The token of whoever runs the server, in a file only they can read; made at the first start."""
    path = config.server.data_dir / TOKEN_FILE
    pool = await open_pool(dsn, DbRole.OPERATOR, config.database.schema, 1)
    try:
        tokens = Tokens(pool)
        if not (path.exists() and await _is_known(tokens, read(path, "the operator's token").decode().strip())):
            created = await tokens.create(SETUP, NewToken("bootstrap", frozenset(Scope)))
            write_over(path, created.secret.encode() + b"\n")
    finally:
        await pool.close()
    return path


async def _is_known(tokens: Tokens, secret: str) -> bool:
    """Whether this database knows the token: the file may be older than it."""
    try:
        await tokens.verify(secret)
    except Unauthenticated:
        return False
    return True


def _starts(
    config: Config,
    dsns: Mapping[DbRole, str],
    listeners: Mapping[Role, Sequence[socket.socket]],
    secret: Callable[[], bytes],
) -> Sequence[Start]:
    """The roles with what each may know: its own file, and nothing of our configuration in its environment."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("EIM_")}
    alone = {EMBEDDED: "1"} if config.database.dsn is None else {}
    starts: list[Start] = []
    for role in Role:
        file = config.server.data_dir.absolute() / RUN / f"{role.value}.toml"
        write_over(file, written(_of_role(config, role, dsns)).encode())
        words = ["--config", str(file)]
        if role in listeners:
            told = secret if role is Role.DEVICE else None
            starts += _port_starts(role, words, listeners[role], inherited, told)
        else:
            starts.append(Start(role, _command(role, words), {**inherited, **alone}))
    return starts


def _port_starts(
    role: Role,
    words: Sequence[str],
    listeners: Sequence[socket.socket],
    environment: Mapping[str, str],
    secret: Callable[[], bytes] | None,
) -> Sequence[Start]:
    """A process for each of `listeners`."""
    starts = []
    for number, listener in enumerate(listeners, 1):
        command = _command(role, [*words, "--descriptor", str(listener.fileno()), *(["--tickets"] if secret else ())])
        starts.append(Start(role, command, environment, [listener.fileno()], number, secret))
    return starts


def _command(role: Role, words: Sequence[str]) -> Sequence[str]:
    return [sys.executable, "-m", "eim", "serve", "--role", role.value, *words]


def _of_role(config: Config, role: Role, dsns: Mapping[DbRole, str]) -> Config:
    """The configuration with this role's login to the database and no other."""
    own = Dsn(dsns[DbRole(role.value)])
    database = msgspec.structs.replace(
        config.database,
        dsn=None,
        device_dsn=own if role is Role.DEVICE else None,
        operator_dsn=own if role is Role.OPERATOR else None,
        worker_dsn=own if role is Role.WORKER else None,
    )
    return msgspec.structs.replace(config, database=database)


def _name(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return str(host), int(port)


def _place(at: tuple[str, int]) -> str:
    host, port = at
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"

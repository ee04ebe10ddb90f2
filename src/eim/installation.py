"""A whole installation on one machine: database, set-up, first token, and the three roles under a supervisor."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec
import structlog

from eim import app, credentials, serving
from eim.config import Config, Dsn
from eim.config_settings import sections
from eim.errors import BadConfiguration, Unauthenticated
from eim.keys.disk import make_private_folder, read, write_over
from eim.postgres import Embedded
from eim.services.tokens import SETUP, NewToken, Scope, Tokens
from eim.store.connect import DbRole, open_pool
from eim.supervisor import Role, Start, Supervisor

EMBEDDED: Final = "EIM_EMBEDDED"  # set for a worker whose database is ours alone
TOKEN_FILE: Final = "operator.token"

_log = structlog.get_logger()


class Running(msgspec.Struct, frozen=True):
    """Where a started installation can be reached."""

    device: tuple[str, int]
    operator: tuple[str, int]
    token_file: Path
    supervisor: Supervisor
    config: Config


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
        await stop.wait()

    return await run(config, until_stopped)


async def run(config: Config, during: Callable[[Running], Awaitable[None]], log: Path | None = None) -> int:
    """Bring all up, run `during`, take all down in order; the exit code of the roles (0: all went well).

    log  where the roles write their logs; None: on our standard error

    Raises BadConfiguration, KeyUnusable or DatabaseUnavailable before anything is served.
    """
    async with AsyncExitStack() as stack:
        listeners = {
            Role.DEVICE: stack.enter_context(serving.listen(config.device.host, config.device.port, "device")),
            Role.OPERATOR: stack.enter_context(serving.listen(config.operator.host, config.operator.port, "operator")),
        }
        make_private_folder(config.server.data_dir)
        dsns = await _database(config, stack)
        await _check(config, dsns)
        token_file = await _first_token(config, dsns[DbRole.OPERATOR])
        supervisor = Supervisor(_starts(config, dsns, listeners), log)
        device, operator = _name(listeners[Role.DEVICE]), _name(listeners[Role.OPERATOR])
        running = Running(device, operator, token_file, supervisor, config)
        await _supervise(supervisor, during(running))
        return supervisor.code


async def _supervise(supervisor: Supervisor, during: Awaitable[None]) -> None:
    """Until `during` is over, or the supervisor gave up."""
    roles = asyncio.ensure_future(supervisor.run())
    work = asyncio.ensure_future(during)
    try:
        await asyncio.wait({roles, work}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        supervisor.end()
        await roles


async def _database(config: Config, stack: AsyncExitStack) -> Mapping[DbRole, str]:
    """Where each role logs in: the configured database, or an embedded one that lives as long as `stack`."""
    database = config.database
    if database.dsn is not None:
        own = {
            DbRole.DEVICE: database.device_dsn,
            DbRole.OPERATOR: database.operator_dsn,
            DbRole.WORKER: database.worker_dsn,
        }
        return {DbRole.OWNER: database.dsn.text} | {role: (dsn or database.dsn).text for role, dsn in own.items()}
    if database.device_dsn or database.operator_dsn or database.worker_dsn:
        raise BadConfiguration("database.dsn: the roles have their URLs but the owner has none: write it to migrate")
    embedded = await stack.enter_async_context(Embedded(config.server.data_dir / "postgres"))
    return {role: embedded.dsn(role) for role in DbRole}


async def _check(config: Config, dsns: Mapping[DbRole, str]) -> None:
    """All that would stop a role, found before one is started."""
    identity = await app.set_up(config, dsns[DbRole.OWNER])
    credentials.roots(config)
    credentials.device_context(config, credentials.device_tls(config, identity, app.now()))
    credentials.operator_context(config, app.now())


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


def _starts(config: Config, dsns: Mapping[DbRole, str], listeners: Mapping[Role, socket.socket]) -> Sequence[Start]:
    embedded = {EMBEDDED: "1"} if config.database.dsn is None else {}
    common = {name: text for name, text in os.environ.items() if not name.startswith("EIM_")} | _as_environment(config)
    starts = []
    for role in Role:
        command = [sys.executable, "-m", "eim", "serve", "--role", role.value]
        own = {f"EIM_DATABASE_{role.value.upper()}_DSN": dsns[DbRole(role.value)]}
        descriptors = []
        if role in listeners:
            descriptors = [listeners[role].fileno()]
            command += ["--descriptor", str(descriptors[0])]
        starts.append(Start(role, command, {**common, **own, **(embedded if role is Role.WORKER else {})}, descriptors))
    return starts


def _as_environment(config: Config) -> dict[str, str]:
    """The whole configuration as the roles read it: what was given to us as values reaches them too."""
    given: dict[str, str] = {}
    for section in sections():
        part = getattr(config, section.name)
        for setting in section.settings:
            value = getattr(part, setting.name)
            if value is not None and value != ():
                given[setting.variable] = _text(value)
    return given


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(_text(each) for each in value)
        case Path():
            return str(value.absolute())
        case Dsn():
            return value.text
        case Enum():
            return str(value.value)
        case _:
            return str(value)


def _name(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return str(host), int(port)


def _place(at: tuple[str, int]) -> str:
    host, port = at
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"

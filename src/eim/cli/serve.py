"""`eim serve`: all roles under one supervisor, or one role alone; `eim migrate`."""

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path

import click
import msgspec
import uvloop

from eim import app, installation, logs, serving, supervisor
from eim.cli.config import config_option, read
from eim.config import Config, Device, Operator
from eim.errors import BadConfiguration, KeyUnusable, Unavailable
from eim.keys.tickets import PACKED
from eim.supervisor import EX_CONFIG, Role


class Inherited(msgspec.Struct, frozen=True):
    """What a supervisor passes on to one of its processes."""

    descriptor: int | None
    tickets: bytes | None

    def __repr__(self) -> str:
        return f"Inherited(descriptor={self.descriptor!r})"

    def listener(self, section: Device | Operator, role: Role) -> socket.socket:
        if self.descriptor is not None:
            return socket.socket(fileno=self.descriptor)
        return serving.listen(section.host, section.port, role.value)


@click.command()
@config_option
@click.option("--role", type=click.Choice([role.value for role in Role]), help="Only this role, in this process.")
@click.option("--descriptor", type=int, hidden=True, help="The listening socket that a supervisor passes on.")
@click.option("--tickets", type=int, hidden=True, help="The pipe with what TLS tickets are sealed by.")
def serve(file: Path | None, role: str | None, descriptor: int | None, tickets: int | None) -> None:
    """Serve devices, operators and the work in between; without a database configured, on an embedded one."""
    supervisor.die_with_supervisor()
    alone = os.environ.pop(installation.EMBEDDED, None) is not None
    config = read(file).config
    logs.configure(config.server.log_level, config.server.log_format, role or "supervisor")
    if role is None:
        sys.exit(_run(installation.serve_all(config)))
    if Role(role) is Role.DEVICE and descriptor is None and config.device.processes > 1:
        sys.exit(_run(installation.serve_devices(config, file)))
    inherited = Inherited(descriptor, _octets_of(tickets))
    sys.exit(_run(_serve_one(config, Role(role), inherited, alone=alone)))


@click.command()
@config_option
def migrate(file: Path | None) -> None:
    """Bring the schema of the configured database up to date and register the identity."""
    config = read(file).config
    if config.database.dsn is None:
        raise BadConfiguration("database.dsn: nothing to migrate; the embedded database is migrated by `eim serve`")
    _run(app.set_up(config, config.database.dsn.text))
    click.echo("the schema is up to date")


async def _serve_one(config: Config, role: Role, inherited: Inherited, *, alone: bool) -> int:
    stop = serving.stop_on_signals()
    serving.collect_rarely()
    try:
        if role is Role.WORKER:
            await app.run_worker(config, stop, alone=alone)
        elif role is Role.DEVICE:
            await app.run_device(config, inherited.listener(config.device, role), stop, inherited.tickets)
        else:
            await app.run_operator(config, inherited.listener(config.operator, role), stop)
    except (BadConfiguration, KeyUnusable) as error:
        click.echo(f"eim {role.value}: {error}", err=True)
        return EX_CONFIG
    except Unavailable as error:
        click.echo(f"eim {role.value}: {error}", err=True)
        return 3
    return 0


def _octets_of(pipe: int | None) -> bytes | None:
    """What a supervisor put into the pipe, which is closed."""
    if pipe is None:
        return None
    try:
        return os.read(pipe, PACKED)
    finally:
        os.close(pipe)


def _run(main: Coroutine[object, object, object]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(main)
    return code if isinstance(code, int) else 0

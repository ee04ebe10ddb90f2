"""`eim serve`: all roles under one supervisor, or one role alone; `eim migrate`."""

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path

import click
import uvloop

from eim import app, installation, logs, serving, supervisor
from eim.cli.config import config_option, read
from eim.config import Config
from eim.errors import BadConfiguration, KeyUnusable, Unavailable
from eim.supervisor import EX_CONFIG, Role


@click.command()
@config_option
@click.option("--role", type=click.Choice([role.value for role in Role]), help="Only this role, in this process.")
@click.option("--descriptor", type=int, hidden=True, help="The listening socket that a supervisor passes on.")
def serve(file: Path | None, role: str | None, descriptor: int | None) -> None:
    """Serve devices, operators and the work in between; without a database configured, on an embedded one."""
    supervisor.die_with_supervisor()
    alone = os.environ.pop(installation.EMBEDDED, None) is not None
    config = read(file).config
    logs.configure(config.server.log_level, config.server.log_format, role or "supervisor")
    if role is None:
        sys.exit(_run(installation.serve_all(config)))
    sys.exit(_run(_serve_one(config, Role(role), descriptor, alone=alone)))


@click.command()
@config_option
def migrate(file: Path | None) -> None:
    """Bring the schema of the configured database up to date and register the identity."""
    config = read(file).config
    if config.database.dsn is None:
        raise BadConfiguration("database.dsn: nothing to migrate; the embedded database is migrated by `eim serve`")
    _run(app.set_up(config, config.database.dsn.text))
    click.echo("the schema is up to date")


async def _serve_one(config: Config, role: Role, descriptor: int | None, *, alone: bool) -> int:
    stop = serving.stop_on_signals()
    try:
        if role is Role.WORKER:
            await app.run_worker(config, stop, alone=alone)
        else:
            section = config.device if role is Role.DEVICE else config.operator
            listener = _inherited(descriptor) or serving.listen(section.host, section.port, role.value)
            await (app.run_device if role is Role.DEVICE else app.run_operator)(config, listener, stop)
    except (BadConfiguration, KeyUnusable) as error:
        click.echo(f"eim {role.value}: {error}", err=True)
        return EX_CONFIG
    except Unavailable as error:
        click.echo(f"eim {role.value}: {error}", err=True)
        return 3
    return 0


def _inherited(descriptor: int | None) -> socket.socket | None:
    return socket.socket(fileno=descriptor) if descriptor is not None else None


def _run(main: Coroutine[object, object, object]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(main)
    return code if isinstance(code, int) else 0

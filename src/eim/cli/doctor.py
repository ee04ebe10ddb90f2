"""`eim doctor`: whether all is well, and what to do where it isn't."""

import asyncio
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from eim.cli.config import config_option, read
from eim.cli.server import table
from eim.doctor import State, examine

_WIDE = 10_000
_SIGNS = {State.OK: "ok", State.WARNING: "warning", State.FAULT: "FAULT"}


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of a table.")
def doctor(file: Path | None, *, as_json: bool) -> None:
    """Examine the installation: configuration, keys, certificates, database, workers, what waits.

    Nothing is changed. Exit code 1 when there is a fault; warnings are for working hours.
    """
    checks = asyncio.run(examine(read(file).config))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(checks), indent=2).decode())
    else:
        rows = [(check.name, _SIGNS[check.state], check.found, check.todo or "") for check in checks]
        Console(width=_WIDE).print(table(("check", "", "found", "what to do"), rows), markup=False, highlight=False)
    if any(check.state is State.FAULT for check in checks):
        sys.exit(1)

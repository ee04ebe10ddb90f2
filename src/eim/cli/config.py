"""`eim config`: what holds, whether it can be used, and what there is to set."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from eim import credentials
from eim.config import Config
from eim.config_loading import Loaded, load, shown
from eim.config_reference import reference
from eim.errors import BadConfiguration, EimError
from eim.keys.identity import read_identity
from eim.keys.tls import configured_pair

config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The TOML file. Default: the one that EIM_CONFIG names, or none.",
)


def read(file: Path | None) -> Loaded:
    """The configuration that a command works with. Raises BadConfiguration."""
    return load(file, os.environ)


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command()
@config_option
@click.option("--sources", is_flag=True, help="Also say where each setting comes from.")
def show(file: Path | None, *, sources: bool) -> None:
    """Print the configuration that holds, passwords masked."""
    loaded = read(file)
    click.echo("\n".join(shown(loaded.config, loaded.sources if sources else None)).rstrip())


@config.command()
@config_option
def check(file: Path | None) -> None:
    """Judge the configuration, and the keys, roots and certificates it names, without changing anything."""
    loaded = read(file)
    problems = _problems(loaded.config)
    if problems:
        raise BadConfiguration("\n".join(problems))
    click.echo("the configuration can be used")


@config.command("reference")
def print_reference() -> None:
    """Print all settings with their meaning (docs/configuration.md)."""
    click.echo(reference(), nl=False)


def _problems(config: Config) -> list[str]:
    now = datetime.now(UTC)
    found: list[str] = []
    try:
        credentials.roots(config)
    except EimError as error:
        found.append(str(error))
    for port in (config.device, config.operator):
        try:
            if port.tls_certificate and port.tls_key:
                configured_pair(port.tls_certificate, port.tls_key, now, config.server.mode)
        except EimError as error:
            found.append(str(error))
    try:
        if identity := read_identity(config.server.data_dir):
            credentials.key_store(config).load(identity.key_name)
    except EimError as error:
        found.append(str(error))
    return found

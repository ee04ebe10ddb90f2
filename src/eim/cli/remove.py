"""`eim remove`: one installation, its keys and its embedded database, deleted for good."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from eim import installation
from eim.errors import BadConfiguration
from eim.keys.identity import read_identity
from eim.postgres import cluster_of, delete

# What `eim serve` and `eim keys` make in a data folder. Nothing else in it is touched.
_OURS: Final = (
    *("identity.toml", "keys", "tls", installation.RUN),
    *("audit-head.json", installation.TOKEN_FILE, installation.POSTGRES),
)


@click.command()
@click.option(
    "--data-dir",
    "data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder of the installation (server.data_dir).",
)
@click.option("--yes", is_flag=True, help="Don't ask.")
def remove(data: Path, *, yes: bool) -> None:
    """Delete an installation for good: keys, certificates, tokens and the embedded database.

    Cards that obey its key obey nobody afterwards. A database of your own (database.dsn) is not touched, and neither
    is any other file in the folder.
    """
    data = data.absolute()
    found = list(_found(data))
    if not found:
        raise BadConfiguration(f"there is no installation in {data}, and no database that belongs to that folder")
    with installation.claimed(data):
        click.echo(f"This deletes for good, with the keys of {_name(data)}:", err=True)
        for path in found:
            click.echo(f"  {path}", err=True)
        if not yes:
            click.confirm("Delete all of it?", abort=True, err=True)
        delete(data / installation.POSTGRES)
        for name in _OURS:
            _delete(data / name)
    _delete_if_empty(data)
    click.echo(f"the installation in {data} is deleted")


def _found(data: Path) -> Iterator[Path]:
    if (cluster := cluster_of(data / installation.POSTGRES)) and not cluster.is_relative_to(data):
        yield cluster.parent
    for name in _OURS:
        if (data / name).exists():
            yield data / name


def _name(data: Path) -> str:
    identity = read_identity(data)
    return f"the eIM {identity.eim_id}" if identity else "an eIM that has lost its identity"


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _delete_if_empty(data: Path) -> None:
    try:
        data.rmdir()
    except OSError:
        if data.exists():
            click.echo(f"{data} stays: other files are in it", err=True)

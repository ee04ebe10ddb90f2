"""`eim purge`: what the worker forgets by and by, now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import click

from eim import app
from eim.cli.config import config_option, read
from eim.config import Config
from eim.installation import login
from eim.services.retention import Retention
from eim.store.connect import DbRole, open_pool
from eim.store.retention import Aging


@click.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def purge(file: Path | None, *, dry_run: bool) -> None:
    """Purge what is older than [retention] says: the worker does so by itself, this does it now.

    Nothing goes that is open or still needed (docs/retention.md); audit records stay.
    """
    config = read(file).config
    ages = app.ages(config)
    found = asyncio.run(_purged(config, Retention.count if dry_run else Retention.purge_all))
    for kind, rows in found.items():
        what = "octets of packages" if kind.value == "packages" else kind.value
        click.echo(f"{rows:>10} {what} {'would go' if dry_run else 'went'}, older than {ages.kept[kind].days} days")


async def _purged(config: Config, deed: Callable[[Retention], Awaitable[Mapping[Aging, int]]]) -> Mapping[Aging, int]:
    pool = await open_pool(login(config, DbRole.WORKER), DbRole.WORKER, config.database.schema, 1)
    try:
        return await deed(Retention(pool, app.ages(config)))
    finally:
        await pool.close()

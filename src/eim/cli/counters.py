"""`eim backup`, `eim restore`, `eim counters`: who comes back goes on above what the cards have accepted."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import click

from eim import archive
from eim.cli.config import config_option, read
from eim.config import Config
from eim.domain.ids import BUCKETS
from eim.installation import login
from eim.services.jumping import MARGIN, Jumping
from eim.store.connect import DbRole, open_pool

A = TypeVar("A")

_margin_option: Final = click.option(
    "--margin",
    type=click.IntRange(1, 1_000_000),
    default=MARGIN,
    show_default=True,
    help="How far: more than the packages that one card can have got since the backup.",
)


@click.group()
def counters() -> None:
    """The counters that cards judge packages by."""


@counters.command()
@config_option
@_margin_option
@click.option("--yes", is_flag=True, help="Don't ask.")
def jump(file: Path | None, margin: int, *, yes: bool) -> None:
    """Raise the counter of every eUICC, after the database was restored from a backup.

    Cards have accepted counters that an older database does not know of, and refuse what is not above. What is sealed
    but was not handed out is taken back and sealed again above. A jump that was interrupted goes on where it ended;
    gaps are harmless, the ceiling of 8,388,607 is kept. `eim restore` does this by itself.
    """
    config = read(file).config

    async def deed(jumping: Jumping) -> int:
        begun = await jumping.unfinished()
        if begun is not None:
            click.echo(f"going on with the jump by {begun.margin} of {begun.started_at:%Y-%m-%d %H:%M}", err=True)
        elif not yes:
            click.confirm(f"Raise the counters of {await jumping.count()} eUICCs by {margin}?", abort=True, err=True)
        with _progress() as progress:
            return await jumping.run(margin, progress)

    raised = asyncio.run(_with_worker(config, deed))
    click.echo(f"the counters of {raised} eUICCs were raised")


@click.command()
@config_option
@click.argument("target", type=click.Path(path_type=Path))
def backup(file: Path | None, target: Path) -> None:
    """Write a backup of the database and all keys into the new folder TARGET, while everything runs.

    The folder holds every key: keep it where nobody else reads. `eim restore TARGET` brings it back.
    """
    made = asyncio.run(archive.back_up(read(file).config, target.absolute()))
    click.echo(f"{made.eim_id}, schema {made.schema_version}, is backed up in {target}")


@click.command()
@config_option
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_margin_option
def restore(file: Path | None, source: Path, margin: int) -> None:
    """Bring a backup back into an empty data folder (server.data_dir), and jump all counters.

    Nothing of it can be served before it is whole. With a database of your own, its schema must not exist yet.
    """
    label = archive.label_of(source)
    click.echo(f"restoring {label.eim_id} as it was on {label.made_at:%Y-%m-%d %H:%M} UTC", err=True)
    with _progress() as progress:
        raised = asyncio.run(archive.bring_back(read(file).config, source, margin, progress))
    click.echo(f"{label.eim_id} is restored, the counters of {raised} eUICCs were raised by {margin}")
    click.echo("Next: `eim serve`. What was ordered, and what cards did, after the backup is not known.", err=True)


async def _with_worker(config: Config, deed: Callable[[Jumping], Awaitable[A]]) -> A:
    pool = await open_pool(login(config, DbRole.WORKER), DbRole.WORKER, config.database.schema, 1)
    try:
        return await deed(Jumping(pool, "setup"))
    finally:
        await pool.close()


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A bar of the buckets that are done."""
    with click.progressbar(length=BUCKETS, label="buckets", file=sys.stderr) as bar:
        before = 0

        def told(done: int) -> None:
            nonlocal before
            bar.update(done - before)
            before = done

        yield told

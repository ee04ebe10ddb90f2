"""`eim export` and `eim import`: everything of ours in one signed file, and back in."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final

import click

from eim import credentials
from eim.cli.config import config_option, read
from eim.config import Config
from eim.domain.identity import Identity
from eim.errors import BadConfiguration, InvalidRequest, KeyUnusable
from eim.keys.identity import read_identity
from eim.keys.locked import locked_files, unlock_files
from eim.postgres import Embedded, dsn_of_running
from eim.services import bundle
from eim.services.arriving import Arrived, Arriving, Existing, Rules
from eim.services.bundle import Checked, Key, Writer, fingerprint
from eim.services.leaving import History, Leaving, header
from eim.services.tokens import SETUP
from eim.store.connect import DbRole, Pool, open_pool
from eim.store.migrate import migrate

_EXISTING: Final = {True: Existing.REPLACED, False: Existing.KEPT}  # by --replace
_HISTORY: Final = {True: History.TAKEN, False: History.LEFT}  # by --with-history


_passphrase_option: Final = click.option(
    "--passphrase-file",
    "passphrase",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file whose first line is the passphrase of the keys. Default: it is asked for.",
)


@click.command("export")
@config_option
@click.argument("to", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--with-keys", is_flag=True, help="Also the private keys, encrypted with a passphrase.")
@_passphrase_option
@click.option("--with-history", is_flag=True, help="Also the events of each eUICC.")
def export_file(file: Path | None, to: Path, passphrase: Path | None, *, with_keys: bool, with_history: bool) -> None:
    """Write everything of ours to FILE, signed with the identity's key: freedom to leave (docs/onboarding.md)."""
    config = read(file).config
    identity = _identity(config)
    signer = credentials.key_store(config).load(identity.key_name)
    keys = _keys(config, _told(passphrase, confirm=True)) if with_keys else ()
    partial = to.with_name(f".{to.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        writer = Writer(opened)
        written = asyncio.run(_export(config, writer, keys, _HISTORY[with_history]))
        writer.close(signer.spki, signer.sign)
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(to)
    click.echo(f"{written} eUICCs in {to}")
    click.echo(f"signed by {fingerprint(signer.spki)}: whoever imports it gives this as --signer")


@click.command("import")
@config_option
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--signer", metavar="SHA256", help="Who must have signed it, as `eim export` said. Default: our own key.")
@click.option("--counter-margin", type=click.IntRange(0, 8_388_607), default=1000, show_default=True, metavar="N")
@click.option("--replace", is_flag=True, help="Replace eUICCs that are here already; no counter falls.")
@_passphrase_option
def import_bundle(  # noqa: PLR0913 - one parameter an option
    file: Path | None, source: Path, signer: str | None, counter_margin: int, passphrase: Path | None, *, replace: bool
) -> None:
    """Take in what `eim export` wrote: here, where nothing is yet, or beside what is here.

    A bundle that is broken, or signed by somebody else, is refused whole. Its keys are put into an empty data folder
    before the first `eim serve`. Counters get a margin, since the fleet may have gone on after the export.
    """
    config = read(file).config
    with source.open("rb") as opened:
        checked = bundle.check(opened)
        _believe(config, checked, signer)
        if "key" in checked.parts:
            _unlock(config, opened, passphrase)
        done = asyncio.run(_import(config, opened, Rules(counter_margin, _EXISTING[replace])))
    click.echo(f"{done.added} eUICCs added, {done.replaced} replaced, {done.kept} kept as they were here")
    for eid in done.exhausted:
        click.echo(f"not imported, its counter has no room for the margin: {eid}", err=True)


async def _export(config: Config, writer: Writer, keys: tuple[Key, ...], history: History) -> int:
    async with _owner(config) as pool:
        return await Leaving(pool).write(writer, header(datetime.now(UTC), version("eim")), keys, history)


async def _import(config: Config, opened: BinaryIO, rules: Rules) -> Arrived:
    opened.seek(0)
    async with _owner(config) as pool:
        return await Arriving(pool).take(SETUP, bundle.read(opened), rules)


@asynccontextmanager
async def _owner(config: Config) -> AsyncIterator[Pool]:
    """The owner's connections: to the configured database, the embedded one that runs, or one started for this."""
    if config.database.dsn is not None:
        async with _migrated(config, config.database.dsn.text) as pool:
            yield pool
        return
    folder = config.server.data_dir / "postgres"
    try:
        dsn = dsn_of_running(folder, DbRole.OWNER)
    except BadConfiguration:
        async with Embedded(folder) as embedded, _migrated(config, embedded.dsn(DbRole.OWNER)) as pool:
            yield pool
        return
    async with _migrated(config, dsn) as pool:
        yield pool


@asynccontextmanager
async def _migrated(config: Config, dsn: str) -> AsyncIterator[Pool]:
    await migrate(dsn, config.database.schema)
    pool = await open_pool(dsn, DbRole.OWNER, config.database.schema, 2)
    try:
        yield pool
    finally:
        await pool.close()


def _identity(config: Config) -> Identity:
    found = read_identity(config.server.data_dir)
    if found is None:
        raise KeyUnusable(f"there is no identity in {config.server.data_dir}: nothing could sign the bundle")
    return found


def _keys(config: Config, passphrase: str) -> tuple[Key, ...]:
    return tuple(Key(path, content) for path, content in locked_files(config.server.data_dir, passphrase).items())


def _unlock(config: Config, opened: BinaryIO, passphrase: Path | None) -> None:
    opened.seek(0)
    files = {line.path: line.content for line in bundle.read(opened) if isinstance(line, Key)}
    unlock_files(config.server.data_dir, files, _told(passphrase, confirm=False))


def _believe(config: Config, checked: Checked, signer: str | None) -> None:
    """A signature says who wrote it; that this is to be believed is said by --signer, or by our own key."""
    known = {signer.strip().lower().replace(":", "")} if signer is not None else _own(config)
    if checked.signer not in known:
        raise InvalidRequest(
            f"this bundle is signed by {checked.signer}: compare that with what `eim export` said, "
            "and give it as --signer"
        )


def _own(config: Config) -> set[str]:
    identity = read_identity(config.server.data_dir)
    return {fingerprint(credentials.key_store(config).load(identity.key_name).spki)} if identity else set()


def _told(passphrase: Path | None, *, confirm: bool) -> str:
    if passphrase is not None:
        return passphrase.read_text(encoding="utf-8").partition("\n")[0]
    return str(click.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=confirm, err=True))

"""A backup is a folder: a dump of the database, the keys, what belongs to them. A restore ends in a counter jump."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from eim import app, installation
from eim.config import Config
from eim.domain.ids import DEFAULT_TENANT
from eim.errors import BadConfiguration, KeyUnusable
from eim.installation import POSTGRES
from eim.keys.disk import make_private_folder, read, write_new
from eim.keys.identity import read_identity
from eim.postgres import Embedded, cluster_of, dump, is_running, restore
from eim.services.jumping import Jumping
from eim.store import audit, migrate
from eim.store.audit import Record
from eim.store.connect import DEFAULT_SCHEMA, DbRole, Pool, open_pool, transaction

_DUMP: Final = "database.dump"
_LABEL: Final = "backup.json"
_IDENTITY: Final = "identity.toml"  # written last by a restore: without it nothing is served
_FILES: Final = ("audit-head.json", _IDENTITY)
_FOLDERS: Final = ("keys", "tls")


class Label(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    made_at: datetime
    eim_id: str
    release: str
    schema_version: int


async def back_up(config: Config, target: Path) -> Label:
    """Write a backup into the new folder `target`, mode 0700; it appears by one rename, whole.

    The database may be served meanwhile; an embedded one that is not is started for it. Raises BadConfiguration,
    KeyUnusable, DatabaseUnavailable.
    """
    data, identity = config.server.data_dir, read_identity(config.server.data_dir)
    if identity is None:
        raise KeyUnusable(f"there is no identity under {data}: nothing to back up")
    unfinished = _begun(target)
    # The files go before the dump: what they say of the audit's head must never be newer than the audit itself.
    for source, path in _belongings(data, unfinished):
        make_private_folder(path.parent)
        write_new(path, read(source, "a file of the installation"))
    async with _database(config) as dsns:
        dump(dsns[DbRole.OWNER], config.database.schema or DEFAULT_SCHEMA, unfinished / _DUMP)
    label = Label(app.now(), identity.eim_id, version("eim"), migrate.load()[-1].version)
    write_new(unfinished / _LABEL, msgspec.json.encode(label))
    unfinished.rename(target)
    return label


def _begun(target: Path) -> Path:
    """An empty folder beside `target`, which must not exist yet."""
    if target.exists():
        raise BadConfiguration(f"{target} exists already: name a new folder")
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private_folder(unfinished)
    return unfinished


def label_of(source: Path) -> Label:
    """What the backup in `source` is. Raises BadConfiguration when it is none."""
    try:
        return msgspec.json.decode((source / _LABEL).read_bytes(), type=Label)
    except (OSError, msgspec.DecodeError):
        raise BadConfiguration(f"{source} is no backup: it has no {_LABEL} that can be read") from None


async def bring_back(config: Config, source: Path, margin: int, progress: Callable[[int], None]) -> int:
    """Restore `source` into an installation that has nothing yet, and jump all counters; how many eUICCs that were.

    Until all of it is done, the jump included, nothing can be served: the identity comes last.
    """
    label, data = label_of(source), config.server.data_dir
    if read_identity(data) is not None or (config.database.dsn is None and cluster_of(data / POSTGRES)):
        raise BadConfiguration(
            f"server.data_dir: {data} has an installation already: restore into a folder of its own, "
            f"or delete this one with `eim remove --data-dir {data}`"
        )
    make_private_folder(data)
    with installation.claimed(data):
        async with _database(config) as dsns:
            restore(dsns[DbRole.OWNER], source / _DUMP)
            await migrate.migrate(dsns[DbRole.OWNER], config.database.schema)
            pool = await open_pool(dsns[DbRole.WORKER], DbRole.WORKER, config.database.schema, 1)
            try:
                raised = await _after(pool, label, margin, progress)
            finally:
                await pool.close()
        for kept, path in _belongings(source, data):
            make_private_folder(path.parent)
            write_new(path, read(kept, "a file of the backup"))
    return raised


async def _after(pool: Pool, label: Label, margin: int, progress: Callable[[int], None]) -> int:
    raised = await Jumping(pool, "setup").run(margin, progress)
    about: dict[str, object] = {"made_at": label.made_at.isoformat(), "release": label.release, "margin": margin}
    async with transaction(pool) as db:
        await audit.write(db, [Record(DEFAULT_TENANT, "setup", "installation.restored", label.eim_id, about)])
    return raised


def _belongings(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """(there, here) for each file that belongs to an installation beside its database; the identity is the last."""
    inner = [file for folder in _FOLDERS for file in sorted((source / folder).glob("*")) if file.is_file()]
    files = [*inner, *(source / name for name in _FILES if (source / name).exists())]
    return [(file, target / file.relative_to(source)) for file in files]


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[dict[DbRole, str]]:
    """Where to log in: as configured, at the embedded one that is served, or at one that is started for us."""
    folder = config.server.data_dir / POSTGRES
    if config.database.dsn is not None or is_running(folder):
        yield {role: installation.login(config, role) for role in (DbRole.OWNER, DbRole.WORKER)}
        return
    async with Embedded(folder) as embedded:
        yield {role: embedded.dsn(role) for role in (DbRole.OWNER, DbRole.WORKER)}

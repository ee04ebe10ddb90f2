"""An embedded Postgres that is there already: the way into one that another process runs, and out of the world."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

from eim.errors import BadConfiguration
from eim.postgres import home as homes
from eim.postgres.home import Home
from eim.store import roles
from eim.store.connect import DbRole


def dsn_of_running(folder: Path, role: DbRole) -> str:
    """Where to log in as `role` at the Postgres of `folder`. It holds a password: never log it.

    Nothing is made or changed. Raises BadConfiguration when nobody runs it, or somebody whose files we can't read.
    """
    home = _existing(folder)
    if home is None or not _is_held(home):
        raise BadConfiguration(f"no embedded database runs in {folder}: start `eim serve`, or give database.dsn")
    password = quote(homes.passwords(home)[role.value], safe="")
    return f"postgresql://{roles.login_role(role)}:{password}@/{roles.DATABASE}?host={quote(str(home.socket), safe='')}"


def cluster_of(folder: Path) -> Path | None:
    """Where the data of the Postgres of `folder` lies; None when there is none."""
    data = homes.place(folder) / "data"
    try:
        return data if data.exists() else None
    except PermissionError:
        return data


def is_running(folder: Path) -> bool:
    """Whether a process runs the Postgres of `folder`. Raises BadConfiguration when its files can't be read."""
    home = _existing(folder)
    return home is not None and _is_held(home)


def delete(folder: Path) -> None:
    """Delete the Postgres of `folder`, its data and its passwords, for good.

    Raises BadConfiguration while somebody runs it. Safe to repeat, also after being killed half-way.
    """
    if not homes.place(folder).exists():
        return
    home = homes.prepare(folder)
    descriptor = homes.lock(home)
    if descriptor is None:
        raise BadConfiguration(f"the database in {home.path} is in use: stop `eim serve` first")
    try:
        for path in (home.data, home.socket, home.path):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)


def _existing(folder: Path) -> Home | None:
    """The home of `folder`, if one was ever set up there."""
    passwords = homes.place(folder) / "passwords.json"
    try:
        if not passwords.exists():
            return None
    except PermissionError:
        pass
    if not os.access(passwords, os.R_OK):
        raise BadConfiguration(f"{passwords} can't be read: run this as the user who runs `eim serve`")
    return homes.prepare(folder)


def _is_held(home: Home) -> bool:
    """Whether a process runs it."""
    descriptor = homes.lock(home)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None

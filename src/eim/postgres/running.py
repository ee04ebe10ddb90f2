"""The way into an embedded Postgres that another process runs."""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from eim.errors import BadConfiguration
from eim.postgres import home as homes
from eim.postgres.home import ROOTS_HOMES, Home
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


def _existing(folder: Path) -> Home | None:
    """The home of `folder`, if one was ever set up there."""
    folder = folder.absolute()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    passwords = (folder if os.geteuid() != 0 else ROOTS_HOMES / digest) / "passwords.json"
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

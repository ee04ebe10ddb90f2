"""Key material on disk: private modes, whole files or none, and one clear sentence when something can't be read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from eim.errors import KeyUnusable


def make_private_folder(folder: Path) -> None:
    """Make `folder` (mode 0700) and what is missing above it. Raises KeyUnusable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyUnusable(f"the folder {folder} can't be made: {error.strerror}") from None


def write_new(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 that must not exist yet, all of it or nothing. Raises KeyUnusable when it exists."""
    try:
        _link(path, content)
    except FileExistsError:
        raise KeyUnusable(f"{path} exists already and is not overwritten: move it away first") from None


def write_once(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 unless there is one: of two processes at once the first one's stays. Read it back."""
    with suppress(FileExistsError):
        _link(path, content)


def write_over(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, taking the place of any older one in one step."""
    _temporary(path, content).replace(path)
    _sync_folder(path.parent)


def exists(path: Path, what: str) -> bool:
    """Whether there is a file at `path`. Raises KeyUnusable when this user can't know."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise KeyUnusable(f"{what} can't be reached at {path}: {error.strerror} for user {os.geteuid()}") from None
    return True


def read(path: Path, what: str) -> bytes:
    """The content of `path`, named `what` in the sentence of the KeyUnusable that is raised otherwise."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KeyUnusable(f"{what} is missing: there is no file {path}") from None
    except PermissionError:
        user = os.geteuid()
        raise KeyUnusable(
            f"{what} can't be read: user {user} may not read {path}; make it its owner, mode 0600"
        ) from None
    except OSError as error:
        raise KeyUnusable(f"{what} can't be read from {path}: {error.strerror}") from None


def _link(path: Path, content: bytes) -> None:
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise KeyUnusable(f"{path} can't be written: {error.strerror}") from None
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def _temporary(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyUnusable(f"{path} can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

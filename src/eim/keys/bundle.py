"""All keys of an installation in one file, encrypted by a passphrase: for a safe, apart from the nightly backup."""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from eim.errors import KeyUnusable
from eim.keys.disk import exists, make_private_folder, read, write_new

# The file: MAGIC, salt (16), nonce (12), AES-256-GCM of a JSON object {path: base64 of the content}, with its tag.
_MAGIC: Final = b"eim keys 1\n"
_SALT: Final = 16
_NONCE: Final = 12
_COST: Final = 1 << 16  # scrypt: 64 MiB and about a quarter of a second a try
SHORTEST: Final = 12  # characters of a passphrase
_IDENTITY: Final = "identity.toml"


def seal(data: Path, target: Path, passphrase: str) -> tuple[str, ...]:
    """Write the keys, certificates and identity of the data folder into the new file `target`; what they are.

    Raises KeyUnusable when something can't be read, there is no identity, or `target` exists.
    """
    if len(passphrase) < SHORTEST:
        raise KeyUnusable(f"the passphrase is too short: take {SHORTEST} characters or more")
    contents = {str(path.relative_to(data)): read(path, "a key file") for path in _files(data)}
    if _IDENTITY not in contents:
        raise KeyUnusable(f"there is no identity under {data}: nothing to back up")
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, msgspec.json.encode(contents), _MAGIC)
    write_new(target, _MAGIC + salt + nonce + sealed)
    return tuple(contents)


def unseal(source: Path, data: Path, passphrase: str) -> tuple[str, ...]:
    """Write what `seal` kept into the data folder; what it was. Nothing existing is overwritten.

    Raises KeyUnusable for another passphrase, a changed file, or a folder that has one of the files already.
    """
    contents = _open(read(source, "the backup of the keys"), source, passphrase)
    for name in contents:
        if exists(data / name, "a key file"):
            raise KeyUnusable(f"{data / name} exists already and is not overwritten: move it away first")
    for name in sorted(contents, key=lambda name: name == _IDENTITY):  # the identity last: then it is whole
        make_private_folder((data / name).parent)
        write_new(data / name, contents[name])
    return tuple(contents)


def _open(content: bytes, source: Path, passphrase: str) -> Mapping[str, bytes]:
    if not content.startswith(_MAGIC):
        raise KeyUnusable(f"{source} is no backup of keys: `eim keys backup` makes one")
    rest = content[len(_MAGIC) :]
    salt, nonce, sealed = rest[:_SALT], rest[_SALT : _SALT + _NONCE], rest[_SALT + _NONCE :]
    try:
        plain = AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, _MAGIC)
    except (InvalidTag, ValueError):
        raise KeyUnusable(f"{source} can't be opened: another passphrase, or the file was changed") from None
    contents = msgspec.json.decode(plain, type=dict[str, bytes])
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in contents):
        raise KeyUnusable(f"{source} names files outside of the data folder")
    return contents


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase.encode())


def _files(data: Path) -> Iterable[Path]:
    for folder in ("keys", "tls"):
        yield from (path for path in sorted((data / folder).glob("*")) if path.is_file())
    yield from (path for path in (data / _IDENTITY,) if path.exists())

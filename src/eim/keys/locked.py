"""The data folder's keys, locked with a passphrase to travel, and unlocked where they arrive."""

from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from eim.errors import KeyUnusable
from eim.keys.disk import exists, make_private_folder, read, write_new
from eim.keys.files import parse_private_key, private_pem

_PUBLIC: Final = ("identity.toml", "tls/ca.pem", "tls/server.pem")
_TLS: Final = ("tls/ca-key.pem", "tls/server-key.pem")
_SHORTEST: Final = 12  # characters of a passphrase


def locked_files(data: Path, passphrase: str) -> dict[str, bytes]:
    """The identity, its keys and the TLS CA, by path below `data`; private keys encrypted. Raises KeyUnusable."""
    if len(passphrase) < _SHORTEST:
        raise KeyUnusable(f"a passphrase for keys has {_SHORTEST} characters at least: it may be tried at leisure")
    present = [name for name in _PUBLIC if exists(data / name, name)]
    files = {name: read(data / name, name) for name in present}
    keys = [f"keys/{path.name}" for path in sorted((data / "keys").glob("*.pem"))]
    for name in [*keys, *(each for each in _TLS if exists(data / each, each))]:
        files[name] = _locked(data / name, name, passphrase)
    return files


def unlock_files(data: Path, files: dict[str, bytes], passphrase: str) -> None:
    """Write what `locked_files` gave, private keys without passphrase again.

    Raises KeyUnusable for a wrong passphrase, and for a file that is here already with another content: nothing is
    written then.
    """
    opened = {name: _opened(name, content, passphrase) for name, content in files.items()}
    missing = {name: content for name, content in opened.items() if not exists(data / name, name)}
    for name in opened.keys() - missing.keys():
        if read(data / name, name) != opened[name]:
            raise KeyUnusable(f"{data / name} is here already and is another: import into a data folder of its own")
    make_private_folder(data)
    for name, content in missing.items():
        make_private_folder((data / name).parent)
        write_new(data / name, content)


def _locked(path: Path, what: str, passphrase: str) -> bytes:
    key = parse_private_key(read(path, what), what, path)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))


def _opened(name: str, content: bytes, passphrase: str) -> bytes:
    if name in _PUBLIC:
        return content
    if name not in _TLS and not _is_key_name(name):
        raise KeyUnusable(f"the bundle holds a file {name!r}, which is none of an installation's keys")
    try:
        key = load_pem_private_key(content, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusable("the passphrase does not open the bundle's keys") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyUnusable(f"the bundle's {name} is no elliptic-curve key")
    return private_pem(key)


def _is_key_name(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder == "keys" and file.endswith(".pem") and "/" not in file and not file.startswith(".")

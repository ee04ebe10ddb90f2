"""The data key: what the database keeps encrypted can be read only together with this file (design 3.14)."""

import binascii
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eim.errors import KeyUnusable
from eim.keys.disk import make_private_folder, read, write_once

FILE: Final = "data.key"
_SIZE: Final = 32  # octets: AES-256
_NONCE: Final = 12
_FORM: Final = b"\x01"  # AES-256-GCM: form, nonce, ciphertext with tag


class DataKey:
    """The key in `<folder>/data.key`, hexadecimal, mode 0600. The file is read at each use, so it may come later."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def ensure(self) -> None:
        """Draw the key unless there is one."""
        make_private_folder(self._path.parent)
        write_once(self._path, secrets.token_hex(_SIZE).encode() + b"\n")

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """`plain`, encrypted and bound to `about`. Raises KeyUnusable."""
        nonce = secrets.token_bytes(_NONCE)
        return _FORM + nonce + self._cipher().encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """What was sealed. Raises KeyUnusable for a missing file, another key, or octets that were changed."""
        nonce, ciphertext = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if sealed[:1] != _FORM or len(nonce) != _NONCE:
            raise KeyUnusable("the database keeps a secret in a form that this release does not know")
        try:
            return self._cipher().decrypt(nonce, ciphertext, about)
        except InvalidTag:
            raise KeyUnusable(
                f"{self._path} is not the data key that this database was written with: restore that file"
            ) from None

    def _cipher(self) -> AESGCM:
        text = read(self._path, "the data key (made at the first start; all roles need the same)")
        try:
            key = binascii.unhexlify(text.strip())
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _SIZE:
            raise KeyUnusable(f"{self._path} is no data key: it has 64 hexadecimal digits")
        return AESGCM(key)

"""The key that signs audit checkpoints, and the newest checkpoint kept outside the database."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from eim.errors import KeyUnusable, Malformed
from eim.keys.disk import exists, make_private_folder, read, write_over
from eim.keys.files import KeyStore, Signer
from eim.protocol.ecdsa import PublicKey, public_key_from_spki, verify
from eim.services.verifying import Anchor

KEY_NAME: Final = "audit-checkpoint"
_HEAD: Final = "audit-head.json"


class _Kept(msgspec.Struct, frozen=True):
    seq: int
    hash: str  # hex


def ensure_signer(keys: KeyStore) -> Signer:
    """The checkpoint key, drawn at the first call. Raises KeyUnusable."""
    if not keys.holds(KEY_NAME):
        keys.create_identity_key(KEY_NAME)
    return keys.load(KEY_NAME)


def pem_of(spki: bytes) -> str:
    """The public half for whoever verifies elsewhere."""
    return load_der_public_key(spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def verifier(spki: bytes) -> Callable[[bytes, bytes], bool]:
    """Judges (tbs, signature) by the public half. Raises KeyUnusable."""
    try:
        key: PublicKey = public_key_from_spki(spki)
    except Malformed as error:
        raise KeyUnusable(f"this is no key that could sign checkpoints: {error}") from None

    def is_signed(tbs: bytes, signature: bytes) -> bool:
        return len(signature) == 64 and verify(key, tbs, signature)

    return is_signed


def read_public(path: Path) -> bytes:
    """The SubjectPublicKeyInfo in a PEM or DER file. Raises KeyUnusable."""
    content = read(path, "the checkpoint key's public half")
    try:
        key = load_pem_public_key(content) if content.startswith(b"-----") else load_der_public_key(content)
    except ValueError:
        raise KeyUnusable(f"{path} is no public key: give what `eim audit key` printed") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def keeper(folder: Path) -> Callable[[int, bytes], None]:
    """Keeps the newest checkpoint in a file of `folder`, so that cutting the end of everything is noticed."""

    def keep(seq: int, hashed: bytes) -> None:
        make_private_folder(folder)
        write_over(folder / _HEAD, msgspec.json.encode(_Kept(seq, hashed.hex())) + b"\n")

    return keep


def kept(folder: Path) -> Anchor | None:
    """The newest checkpoint that was kept in `folder`; None when none was. Raises KeyUnusable."""
    path = folder / _HEAD
    if not exists(path, "the checkpoint that was kept"):
        return None
    try:
        found = msgspec.json.decode(read(path, "the checkpoint that was kept"), type=_Kept)
        return Anchor(found.seq, bytes.fromhex(found.hash))
    except (msgspec.MsgspecError, ValueError):
        raise KeyUnusable(f"{path} is not what the worker writes: move it away to verify without it") from None

"""Signing keys as PEM files, one a name, in a folder that only the worker's user may read."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from eim._fast import ecdsa, package
from eim.errors import KeyUnusable
from eim.keys.disk import exists, make_private_folder, read, write_new
from eim.protocol import esep
from eim.protocol.ecdsa import Curve, raw_signature
from eim.protocol.esep import Unsealed
from eim.protocol.published_keys import Mode, is_published_test_key

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_CURVES: Final[dict[Curve, ec.EllipticCurve]] = {Curve.P256: ec.SECP256R1(), Curve.BRAINPOOL: ec.BrainpoolP256R1()}
_FOR_OTHERS: Final = 0o004


class Signer:
    """One private key. Any number of threads may sign with it at once."""

    def __init__(self, name: str, key: ec.EllipticCurvePrivateKey, curve: Curve) -> None:
        self.name = name
        self.curve = curve
        self.spki = spki_of(key.public_key())
        self._key = key
        self._native = _native(key, curve)

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, {self.curve.value})"

    def sign(self, tbs: bytes) -> bytes:
        """ECDSA over SHA-256 of `tbs`, as r || s of 64 octets."""
        raw = raw_signature(self._key.sign(tbs, ec.ECDSA(SHA256())))
        if raw is None:
            raise KeyUnusable(f"the key {self.name} made a signature that is none")
        return raw

    def seal(self, eim_id: str, packages: Sequence[Unsealed]) -> list[bytes]:
        """The complete BF51 TLVs in their order; without the GIL where a libcrypto was found."""
        if self._native is None:
            return esep.seal_each(eim_id, packages, self.sign)
        try:
            return package.seal_batch(self._native, eim_id.encode(), packages)
        except RuntimeError as error:
            raise KeyUnusable(f"the key {self.name} can't sign: {error}") from error


class KeyStore:
    """The keys in one folder, `<data>/keys`: `<name>.pem`, PKCS #8 without passphrase, mode 0600."""

    def __init__(self, folder: Path, mode: Mode) -> None:
        self._folder = folder
        self._mode = mode

    def create_identity_key(self, name: str, curve: Curve = Curve.P256) -> bytes:
        """Draw a key and store it as `name`; its DER SubjectPublicKeyInfo. Raises KeyUnusable for a name taken."""
        path = self._path(name)
        make_private_folder(self._folder)
        key = generate(curve)
        write_new(path, private_pem(key))
        return spki_of(key.public_key())

    def holds(self, name: str) -> bool:
        """Whether there is a key of that name, usable or not. Raises KeyUnusable when the folder can't be entered."""
        return exists(self._path(name), f"the key {name}")

    def load(self, name: str) -> Signer:
        """The signer of the key `name`. Raises KeyUnusable, with one sentence that says what to do."""
        path = self._path(name)
        what = f"the key {name}"
        content = read(path, what)
        if path.stat().st_mode & _FOR_OTHERS:
            raise KeyUnusable(f"{what} can be read by everyone on this machine: make {path} mode 0600")
        key = parse_private_key(content, what, path)
        curve = next((each for each, known in _CURVES.items() if known.name == key.curve.name), None)
        if curve is None:
            raise KeyUnusable(f"{what} is on the curve {key.curve.name}: eUICCs know P-256 and brainpoolP256r1 only")
        refuse_published(spki_of(key.public_key()), what, self._mode)
        return Signer(name, key, curve)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeyUnusable(f"{name!r} can't be the name of a key: use lower-case letters, digits, - and _")
        return self._folder / f"{name}.pem"


def _native(key: ec.EllipticCurvePrivateKey, curve: Curve) -> ecdsa.SigningKey | None:
    if not ecdsa.available():
        return None
    lane = ecdsa.P256 if curve is Curve.P256 else ecdsa.BRAINPOOL
    return ecdsa.SigningKey(lane, key.private_numbers().private_value.to_bytes(32, "big"))


def generate(curve: Curve) -> ec.EllipticCurvePrivateKey:
    """A new private key. Raises KeyUnusable when the OpenSSL in use does not have the curve."""
    try:
        return ec.generate_private_key(_CURVES[curve])
    except UnsupportedAlgorithm:
        raise KeyUnusable(f"the OpenSSL in use does not know {curve.value}: use P-256") from None


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """`key` as it is stored: PKCS #8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """The DER SubjectPublicKeyInfo of `key`."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def parse_private_key(content: bytes, what: str, path: Path) -> ec.EllipticCurvePrivateKey:
    """The EC private key in the PEM `content` of `path`. Raises KeyUnusable; no octet of the file is in its text."""
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise KeyUnusable(f"{what} is encrypted: {path} must be a PEM file without passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{what} is no private key: {path} must be a PEM file, PKCS #8 or SEC 1") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyUnusable(f"{what} is no elliptic-curve key: make one with `eim keys init`")
    return key


def refuse_published(spki: bytes, what: str, mode: Mode) -> None:
    """Raise KeyUnusable for a key that anyone can download, outside test mode."""
    if mode is not Mode.TEST and is_published_test_key(spki):
        raise KeyUnusable(f"{what} is a published test key that anyone can use: make your own, or set server.test_mode")

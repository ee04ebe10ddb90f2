"""The identity file `<data>/identity.toml` beside its key: what `eim keys init` writes and `eim serve` registers."""

import tomllib
from pathlib import Path

import msgspec

from eim.domain.identity import Identity, IdentityWish, derive_identity, identity_faults
from eim.errors import BadConfiguration, KeyUnusable
from eim.keys.disk import exists, make_private_folder, read, write_new
from eim.keys.files import KeyStore
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import fingerprint

_FILE = "identity.toml"


def read_identity(data: Path) -> Identity | None:
    """The identity under the data folder; None when there is none yet. Raises KeyUnusable."""
    path = data / _FILE
    if not exists(path, "the identity"):
        return None
    try:
        return msgspec.convert(tomllib.loads(read(path, "the identity").decode()), Identity)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise KeyUnusable(f"the identity in {path} can't be used: {error}") from None


def init_identity(data: Path, store: KeyStore, wish: IdentityWish, default_fqdn: str, curve: Curve) -> Identity:
    """Make the identity, with a new key unless there is one of its name.

    Raises BadConfiguration for a wish that can't be, KeyUnusable when there is an identity already.
    """
    if faults := list(identity_faults(wish.eim_id, wish.eim_id_type, wish.fqdn)):
        raise BadConfiguration(
            "the identity can't be used:\n" + "\n".join(f"  {name}: {text}" for name, text in faults)
        )
    if exists(data / _FILE, "the identity"):
        raise KeyUnusable(f"there is an identity already: `eim keys show` prints it, {data / _FILE} holds it")
    make_private_folder(data)
    if not store.holds(wish.key_name):
        store.create_identity_key(wish.key_name, curve)
    identity = derive_identity(wish, fingerprint(store.load(wish.key_name).spki), default_fqdn)
    write_new(data / _FILE, _as_toml(identity))
    return identity


def ensure_identity(data: Path, store: KeyStore, wish: IdentityWish, default_fqdn: str) -> Identity:
    """The identity under the data folder, made as `wish` says when there is none. Safe to repeat."""
    try:
        return read_identity(data) or init_identity(data, store, wish, default_fqdn, Curve.P256)
    except KeyUnusable:  # perhaps because another process has just made it
        if made := read_identity(data):
            return made
        raise


def _as_toml(identity: Identity) -> bytes:
    values = msgspec.structs.asdict(identity)
    # A JSON string is a TOML basic string, a JSON integer a TOML integer.
    return b"".join(name.encode() + b" = " + msgspec.json.encode(value) + b"\n" for name, value in values.items())

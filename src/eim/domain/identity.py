"""Who the eIM is to its eUICCs: eimId, its type, and the host at which devices reach it (SGP.32 section 2.11.1.1.1)."""

import ipaddress
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


class EimIdType(StrEnum):
    """What an eimId is; `number` is the eimIdType on the wire."""

    OID = "oid"
    FQDN = "fqdn"
    PROPRIETARY = "proprietary"

    @property
    def number(self) -> int:
        return {EimIdType.OID: 1, EimIdType.FQDN: 2, EimIdType.PROPRIETARY: 3}[self]


class Identity(msgspec.Struct, frozen=True):
    """One identity as its file holds it; the table `identities` has a row of the same."""

    key_name: str  # which key of the key store signs
    eim_id: str  # 1..128 characters
    eim_id_type: EimIdType
    fqdn: str  # host or host:port of ESipa
    initial_counter: int = 0  # the counterValue that eUICCs are configured with


class IdentityWish(msgspec.Struct, frozen=True):
    """What somebody wants to be; None is left to be derived."""

    key_name: str = "default"
    eim_id: str | None = None
    eim_id_type: EimIdType | None = None
    fqdn: str | None = None


def derive_identity(wish: IdentityWish, fingerprint: bytes, default_fqdn: str) -> Identity:
    """The identity that `wish` asks for.

    Without an eimId it is the host of the wished fqdn; without that `eim-` and 16 digits of `fingerprint` (SHA-256 of
    the public key), which is unique and doesn't change when a machine is renamed.
    """
    host = split_host(wish.fqdn) if wish.fqdn and wish.eim_id_type is not EimIdType.PROPRIETARY else ""
    named_by_host = wish.eim_id is None and is_host(host) and not is_address(host)
    eim_id = wish.eim_id or (host if named_by_host else f"eim-{fingerprint.hex()[:16]}")
    kind = wish.eim_id_type or (EimIdType.FQDN if named_by_host else EimIdType.PROPRIETARY)
    return Identity(wish.key_name, eim_id, kind, wish.fqdn or default_fqdn)


def identity_faults(eim_id: str | None, kind: EimIdType | None, fqdn: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with an identity of these values, each as (name, what to do); None: left to be derived."""
    if fqdn is not None and not _is_host_and_port(fqdn):
        yield "fqdn", f"{fqdn!r} is no host: write a host name, or host:port, as devices reach it"
    if eim_id is None and kind is EimIdType.FQDN and (fqdn is None or is_address(split_host(fqdn))):
        yield "eim_id", "an identity of type fqdn needs a host name: write it here or as fqdn"
    if eim_id is None and kind is EimIdType.OID:
        yield "eim_id", "an identity of type oid needs its OID: write it, as in 1.3.6.1.4.1.99999.1"
    if eim_id is not None and kind is EimIdType.OID and not _OID.fullmatch(eim_id):
        yield "eim_id", f"{eim_id!r} is no OID: write numbers with dots between, or another eim_id_type"
    if eim_id is not None and kind is EimIdType.FQDN and not is_host(eim_id):
        yield "eim_id", f"{eim_id!r} is no host name: write one without port, or another eim_id_type"


def is_host(text: str) -> bool:
    """Whether `text` is a DNS name of letters, digits and hyphens."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_host(fqdn: str) -> str:
    """The host of `host` or `host:port`; an IPv6 address with a port stands in brackets."""
    if fqdn.startswith("["):
        return fqdn[1:].partition("]")[0]
    return fqdn if is_address(fqdn) else fqdn.partition(":")[0]


def _is_host_and_port(fqdn: str) -> bool:
    if is_address(fqdn):
        return True
    host = split_host(fqdn)
    port = fqdn.rpartition("]")[2] if fqdn.startswith("[") else fqdn[len(host) :]
    sound = port == "" or (port.startswith(":") and port[1:].isdecimal() and 0 < int(port[1:]) < 65536)
    return sound and (is_host(host) or is_address(host))

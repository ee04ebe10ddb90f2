"""What messages look like to a reader: names and values by tag, for the tolerant walk of `protocol.explain`.

This is no second codec: nothing is decided by what is read here. It names as much as can be named, also of a message
that the codec refuses.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, TypeAlias

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from eim.asn1 import der, kinds
from eim.domain.ids import Eid, Iccid, format_eid, format_iccid
from eim.errors import Malformed, PeerFault
from eim.protocol.ecdsa import public_key_from_spki

Read: TypeAlias = Callable[[bytes], str]  # content -> what people read; raises Malformed when it isn't that

_SIGNATURE_OCTETS: Final = 64
_EID_OCTETS: Final = 16
_ICCID_OCTETS: Final = 10


class Secret(Enum):
    """What of a value is nobody's business."""

    TOKEN_OF_CODE = "token of an activation code"
    ALL = "all of it"


class Leaf(msgspec.Struct, frozen=True):
    """A value, of a primitive TLV or of one that nobody looks into."""

    read: Read
    secret: Secret | None = None


class Signature(msgspec.Struct, frozen=True):
    """A signature. `then` says what its input has behind the TLV before it; None: that TLV isn't what is signed."""

    then: str = ""
    over: str = ""  # in place of the TLV before it: what it covers, that this message doesn't hold


class Field(msgspec.Struct, frozen=True):
    """A member of a constructed TLV. Of several with one tag each takes its turn, the last one for all that follow."""

    tag: int
    name: str
    shape: "Shape"


class Group(msgspec.Struct, frozen=True):
    """A constructed TLV."""

    fields: tuple[Field, ...] = ()


class OneOf(msgspec.Struct, frozen=True):
    """Shapes, each with its name, of which the one is meant that leaves the least unexplained."""

    choices: tuple[tuple[str, "Shape"], ...]


Shape: TypeAlias = Leaf | Signature | Group | OneOf


def group(*fields: tuple[int, str, Shape]) -> Group:
    """A constructed TLV of these members."""
    return Group(tuple(Field(*field) for field in fields))


def one_of(*choices: tuple[str, Shape]) -> OneOf:
    return OneOf(choices)


def bits(names: Mapping[int, str] | tuple[str, ...], instead: int = 0) -> Leaf:
    """A named BIT STRING. `instead`: one IPA sends so many octets of 00 or 01 in place of the bits."""
    named = dict(enumerate(names)) if isinstance(names, tuple) else names

    def read(content: bytes) -> str:
        found = kinds.Bits(instead).read(content, _node(content))
        return ", ".join(named.get(number, f"bit {number}") for number in sorted(found)) or "none"

    return Leaf(read)


def codes(names: Mapping[int, str]) -> Leaf:
    """An INTEGER whose values have names."""

    def read(content: bytes) -> str:
        number = _number(content)
        return f"{names.get(number, 'not in the standard')} ({number})"

    return Leaf(read)


def tags(names: Mapping[int, str]) -> Leaf:
    """A list of tags, one behind the other."""

    def read(content: bytes) -> str:
        return ", ".join(f"{tag:X} {names.get(tag, '?')}" for tag in _tags(content)) or "none"

    return Leaf(read)


def _number(content: bytes) -> int:
    return kinds.Integer().read(content, _node(content))


def _read_number(content: bytes) -> str:
    return str(_number(content))


def _text(content: bytes) -> str:
    text = kinds.Text().read(content, _node(content))
    if not text.isprintable():
        raise Malformed("a text with characters that can't be shown")
    return f'"{text}"'


def _octets(content: bytes) -> str:
    return content.hex().upper()


def octets(least: int, most: int) -> Leaf:
    """Octets shown as hex, so many of them."""

    def read(content: bytes) -> str:
        if not least <= len(content) <= most:
            raise Malformed(f"{len(content)} octets, not {least} to {most}")
        return _octets(content)

    return Leaf(read)


def _eid(content: bytes) -> str:
    if len(content) != _EID_OCTETS:
        raise Malformed(f"an EID of {len(content)} octets, not 16")
    return format_eid(Eid(content))


def _iccid(content: bytes) -> str:
    if len(content) != _ICCID_OCTETS:
        raise Malformed(f"an ICCID of {len(content)} octets, not 10")
    return format_iccid(Iccid(content))


def _null(content: bytes) -> str:
    if content:
        raise Malformed("a NULL with content")
    return "present"


def _boolean(content: bytes) -> str:
    return "TRUE" if kinds.Boolean().read(content, _node(content)) else "FALSE"


def _version(content: bytes) -> str:
    if len(content) != 3:
        raise Malformed(f"a version of {len(content)} octets, not 3")
    return ".".join(map(str, content))


def _oid(content: bytes) -> str:
    return kinds.Oid().read(content, _node(content))


def _plmn(content: bytes) -> str:
    """MCC-MNC, digits swapped, F in place of a third digit of the MNC (TS 24.008)."""
    digits = "".join(f"{octet & 15:X}{octet >> 4:X}" for octet in content)
    if len(content) != 3 or not (digits[:3] + digits[4:]).isdecimal():
        raise Malformed("no PLMN")
    return f"{digits[:3]}-{digits[4:6]}{digits[3] if digits[3] != 'F' else ''}"


def _certificate(content: bytes) -> str:
    """One line on a certificate, whether its outer 30 is there or replaced by a tag."""
    octets = der.wrap(der.SEQUENCE, content)
    held = der.inside(octets, (der.SEQUENCE, 0, len(octets) - len(content), len(octets)))
    if len(held) == 1:
        octets = content
    try:
        found = x509.load_der_x509_certificate(octets)
        key = found.public_key()
        curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else "another kind of key"
        until = f"{found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}"
        return f"of {_name(found.subject)}; issued by {_name(found.issuer)}; {until}; {curve}"
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed("no certificate that can be read") from error


def _name(name: x509.Name) -> str:
    """Who wrote the certificate chose the name: nothing in it may move a terminal's cursor."""
    text = name.rfc4514_string() or "(no name)"
    return "".join(c if c.isprintable() else "?" for c in text)


def _public_key(content: bytes) -> str:
    octets = der.wrap(der.SEQUENCE, content)
    held = der.inside(octets, (der.SEQUENCE, 0, len(octets) - len(content), len(octets)))
    try:
        key = public_key_from_spki(content if len(held) == 1 else octets)
    except (PeerFault, ValueError, TypeError) as error:
        raise Malformed("no public key that can be read") from error
    return f"{key.curve.value} {key.point.hex().upper()}"


def signature_text(content: bytes) -> str:
    """How a signature is coded; whether it verifies is another question."""
    if len(content) == _SIGNATURE_OCTETS:
        return "r || s, 64 octets"
    return f"{len(content)} octets, not the 64 of r || s" + (" (DER?)" if content[:1] == b"\x30" else "")


def _tags(content: bytes) -> list[int]:
    found: list[int] = []
    at = 0
    while at < len(content):
        start = at
        many = content[at] & 0x1F == 0x1F
        at += 1
        while many and at < len(content):
            many = content[at] & 0x80 != 0
            at += 1
        found.append(int.from_bytes(content[start:at], "big"))
    return found


def _node(content: bytes) -> der.Node:
    return (0, 0, 0, len(content))


NUMBER: Final = Leaf(_read_number)
TEXT: Final = Leaf(_text)
OCTETS: Final = Leaf(_octets)
EID: Final = Leaf(_eid)
ICCID: Final = Leaf(_iccid)
NULL: Final = Leaf(_null)
BOOLEAN: Final = Leaf(_boolean)
VERSION: Final = Leaf(_version)
OID: Final = Leaf(_oid)
PLMN: Final = Leaf(_plmn)
CERTIFICATE: Final = Leaf(_certificate)
PUBLIC_KEY: Final = Leaf(_public_key)
ACTIVATION_CODE: Final = Leaf(_text, Secret.TOKEN_OF_CODE)
MATCHING_ID: Final = Leaf(_text, Secret.ALL)
HASHED_CODE: Final = Leaf(_octets, Secret.ALL)
TRANSACTION: Final = octets(1, 16)
CHALLENGE: Final = octets(16, 16)

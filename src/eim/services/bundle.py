"""The bundle that everything of ours leaves in: JSON lines in gzip, the last two a manifest and its signature.

Each line names its part. The manifest has the lines and the SHA-256 of each part; the signature covers the manifest.
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import BinaryIO, ClassVar, Final, TypeAlias
from uuid import UUID

import msgspec

from eim.errors import InvalidRequest, Malformed
from eim.protocol.ecdsa import public_key_from_spki, verify

VERSION: Final = 1
_MEANT_FOR: Final = b"eim export manifest, version 1\n"  # so that no signature for a card can be taken for one of these
_LONGEST: Final = 16 * 1024 * 1024  # octets of a line


class Header(msgspec.Struct, frozen=True, tag_field="part", tag="header"):
    version: int
    made_at: datetime
    eim: str  # the version of the software


class Tenant(msgspec.Struct, frozen=True, tag_field="part", tag="tenant"):
    name: str
    most_euiccs: int | None = None
    most_tokens: int | None = None
    orders_a_day: int | None = None


class Identity(msgspec.Struct, frozen=True, tag_field="part", tag="identity"):
    tenant: str
    eim_id: str
    eim_id_type: int
    fqdn: str
    curve: str
    public_key: bytes  # SubjectPublicKeyInfo
    key_name: str
    initial_counter: int
    retired_at: datetime | None


class IdentityKey(msgspec.Struct, frozen=True, tag_field="part", tag="identity_key"):
    """A key of an identity after its first one."""

    tenant: str
    eim_id: str
    number: int
    key_name: str
    curve: str
    public_key: bytes  # SubjectPublicKeyInfo
    loaded: int  # the number of the key that new eUICCs come with
    lowest: int  # keys before this one are retired


class Denial(msgspec.Struct, frozen=True, tag_field="part", tag="denial"):
    """Whom nothing goes out to."""

    tenant: str
    id: UUID
    mark: str
    reason: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class Key(msgspec.Struct, frozen=True, tag_field="part", tag="key"):
    """A file of the data folder. Private keys are PKCS #8, encrypted with the passphrase."""

    path: str  # below the data folder
    content: bytes

    def __repr__(self) -> str:
        return f"Key({self.path!r})"


class Profile(msgspec.Struct, frozen=True):
    iccid: bytes
    state: str
    isdp_aid: bytes | None
    nickname: str | None
    service_provider: str | None
    name: str | None
    profile_class: int | None
    fallback: bool
    ppr: bytes | None
    changed_at: datetime
    fallback_allowed: bool | None = None


class Operation(msgspec.Struct, frozen=True):
    """One that has not ended."""

    id: UUID
    ordinal: int
    kind: str
    iccid: bytes | None
    rollback: bool
    tag_list: bytes | None
    priority: int
    state: str
    doubt: str | None
    outcome: Mapping[str, object] | None
    not_before: datetime
    expires_at: datetime | None
    ordered_by: str
    created_at: datetime
    handed_at: datetime | None
    after: UUID | None = None
    after_event: str | None = None
    held: str | None = None
    opening: str | None = None
    closes_at: datetime | None = None
    retries: int | None = None
    attempts: int = 0
    parked: str | None = None
    details: Mapping[str, object] | None = None


class Package(msgspec.Struct, frozen=True):
    """One that may be with the card: its result is still to come."""

    number: int
    operation: UUID
    counter: int | None
    transaction: bytes | None
    token: int | None
    speaks: str
    sealed: bytes
    state: str
    key_number: int = 0  # of the identity: the key that signed it
    association: int = 0  # whose count the counter belongs to


class Association(msgspec.Struct, frozen=True):
    """What of an association changes: keys, counts, and a token on trial."""

    key_number: int = 0
    next_key: int | None = None
    next_counter: int | None = None
    trial_key: int | None = None
    association: int = 0
    former_token: int | None = None
    token_on_trial: bool = False
    stalled: str | None = None
    stalled_at: datetime | None = None
    handed_over_at: datetime | None = None


class Mailbox(msgspec.Struct, frozen=True):
    number: int | None  # of the head that was handed out; None: nothing is out
    handed_at: datetime | None
    deliveries: int
    highest_handed: int


class Euicc(msgspec.Struct, frozen=True, tag_field="part", tag="euicc"):
    """One eUICC with its association: whoever has this and the identity's key can go on with the card."""

    eid: str
    tenant: str
    identity: str  # an eimId
    created_at: datetime
    label: str | None
    tags: tuple[str, ...]
    group: str | None
    time_zone: str | None
    introduced_at: datetime | None
    counter: int
    association_token: int | None
    token_proven: bool
    ordinals: int
    packages: int
    speaks: str | None
    signature_form: str | None
    signature_coding: str | None
    unverifiable: bool
    euicc_certificate: bytes | None
    eum_certificate: bytes | None
    curve: str | None
    public_key: bytes | None
    ci_key_id: bytes | None
    capabilities: Mapping[str, object]
    highest_seq: int | None
    last_seen_at: datetime | None
    plmn: bytes | None
    inventory_at: datetime | None
    profiles: tuple[Profile, ...]
    open_operations: tuple[Operation, ...]
    out: tuple[Package, ...]
    mailbox: Mailbox
    settings: Mapping[str, object] | None = None
    eims: Sequence[Mapping[str, object]] | None = None
    eims_at: datetime | None = None
    orphaned_at: datetime | None = None
    quarantined_at: datetime | None = None
    quarantine_why: str | None = None
    keys: Association = Association()


class Event(msgspec.Struct, frozen=True, tag_field="part", tag="event"):
    """History: what happened to an eUICC."""

    eid: str
    tenant: str
    at: datetime
    kind: str
    data: Mapping[str, object]
    id: UUID | None = None  # None: from before it was written; who takes it in twice then has it twice


class Part(msgspec.Struct, frozen=True):
    lines: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, tag_field="part", tag="manifest"):
    parts: Mapping[str, Part]


class Signature(msgspec.Struct, frozen=True, tag_field="part", tag="signature"):
    key: bytes  # SubjectPublicKeyInfo
    signature: bytes  # ECDSA with SHA-256, r || s


Line: TypeAlias = Header | Tenant | Identity | IdentityKey | Denial | Key | Euicc | Event | Manifest | Signature
Sign: TypeAlias = Callable[[bytes], bytes]


class _Sums:
    """Guards the running sums of the parts."""

    def __init__(self) -> None:
        self._hashes: dict[str, hashlib._Hash] = {}
        self._lines: dict[str, int] = {}

    def add(self, part: str, octets: bytes) -> None:
        self._hashes.setdefault(part, hashlib.sha256()).update(octets)
        self._lines[part] = self._lines.get(part, 0) + 1

    def manifest(self) -> Manifest:
        return Manifest({part: Part(self._lines[part], h.hexdigest()) for part, h in self._hashes.items()})


class Writer:
    """Guards the file that a bundle is written to. `close` signs it; without that it is refused everywhere."""

    _encoder: ClassVar = msgspec.json.Encoder()

    def __init__(self, file: BinaryIO) -> None:
        self._gzip = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0)
        self._sums = _Sums()

    def add(self, line: Line) -> None:
        octets = self._write(line)
        self._sums.add(str(line.__struct_config__.tag), octets)

    def close(self, spki: bytes, sign: Sign) -> None:
        """Write the manifest and its signature."""
        manifest = self._write(self._sums.manifest())
        self._write(Signature(spki, sign(_MEANT_FOR + manifest)))
        self._gzip.close()

    def _write(self, line: Line) -> bytes:
        octets = self._encoder.encode(line) + b"\n"
        self._gzip.write(octets)
        return octets


class Checked(msgspec.Struct, frozen=True):
    """A bundle that is whole and as it was signed. Whether its signer is to be believed is another question."""

    header: Header
    signer: str  # SHA-256 of the SubjectPublicKeyInfo, in hex
    parts: Mapping[str, Part]


def check(file: BinaryIO) -> Checked:
    """Read all of a bundle. Raises InvalidRequest for one that is broken, cut short, altered, or newer than we are."""
    sums, header, manifest, signature = _Sums(), None, None, None
    for line, octets in _lines(file):
        if signature is not None or (manifest is not None and not isinstance(line, Signature)):
            raise _broken("something follows its end")
        match line:
            case Header():
                header = line
            case Manifest():
                manifest = (line, octets)
                continue
            case Signature():
                signature = line
                continue
            case _ if header is None:
                raise _broken("it has no header")
        sums.add(str(line.__struct_config__.tag), octets)
    if header is None or manifest is None or signature is None:
        raise _broken("its end is missing")
    if header.version != VERSION:
        raise InvalidRequest(f"this bundle has version {header.version}, and this eim reads version {VERSION}")
    if manifest[0] != sums.manifest():
        raise _broken("a part is not what its manifest says")
    _verify(signature, _MEANT_FOR + manifest[1])
    return Checked(header, fingerprint(signature.key), manifest[0].parts)


def read(file: BinaryIO) -> Iterator[Line]:
    """The lines of a bundle that was checked."""
    return (line for line, _ in _lines(file))


def fingerprint(spki: bytes) -> str:
    """How a signer is named: the SHA-256 of the public key."""
    return hashlib.sha256(spki).hexdigest()


def _lines(file: BinaryIO) -> Iterator[tuple[Line, bytes]]:
    decoder = msgspec.json.Decoder(Line)
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as opened:
            while octets := opened.readline(_LONGEST):
                yield decoder.decode(octets), octets
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(str(error)) from None


def _verify(signature: Signature, signed: bytes) -> None:
    try:
        holds = verify(public_key_from_spki(signature.key), signed, signature.signature)
    except Malformed:
        holds = False
    if not holds:
        raise _broken("its signature does not hold")


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"this is no whole bundle: {why}. Nothing was imported")

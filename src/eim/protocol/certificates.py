"""X.509 certificates as values. `cryptography` parses; what a certificate may say is judged in `protocol.trust`."""

from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from eim.errors import UntrustedCertificate
from eim.protocol.ecdsa import Curve, PublicKey, spki

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
Name: TypeAlias = tuple[tuple[str, str | bytes], ...]  # (attribute OID, value), in the order of the certificate

SERIAL_NUMBER: Final = NameOID.SERIAL_NUMBER.dotted_string
ORGANIZATION: Final = NameOID.ORGANIZATION_NAME.dotted_string


class Who(StrEnum):
    """A place in the chain."""

    CI = "ci"
    EUM = "eum"
    EUICC = "euicc"
    SMDP = "smdp"  # its TLS server, CERT.DP.TLS


class Fault(StrEnum):
    """What a certificate is refused for. The public reason is `<who>-<fault>`: documented, stable, never reused."""

    UNREADABLE = "unreadable"  # no X.509 v3 certificate in DER
    PUBLIC_KEY = "public-key"  # not an uncompressed point on P-256 or brainpoolP256r1
    SIGNATURE_ALGORITHM = "signature-algorithm"  # not ecdsa-with-SHA256
    CRITICAL_EXTENSION = "critical-extension"  # critical, and no rule of ours judges it
    ROLE = "role"  # certificatePolicies: not critical, or not this role alone
    KEY_USAGE = "key-usage"
    BASIC_CONSTRAINTS = "basic-constraints"
    NAME_CONSTRAINTS = "name-constraints"  # missing, not critical, or not of the form organization + EID prefix
    KEY_IDENTIFIER = "key-identifier"  # subject or authority key identifier missing, or not the issuer's
    UNKNOWN_CI = "unknown-ci"  # no configured root has that key identifier
    ISSUER = "issuer"  # the issuer's name is another
    SIGNATURE = "signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    ORGANIZATION = "organization"  # not the one its EUM may certify
    EID_RANGE = "eid-range"  # the EID doesn't begin with a prefix its EUM may certify
    EID = "eid"  # no EID of 32 digits, or its check digits don't hold


class Constraints(msgspec.Struct, frozen=True):
    """nameConstraints. `well_formed` is False when it holds anything but permitted directory names."""

    critical: bool
    well_formed: bool
    permitted: tuple[Name, ...]


class Policies(msgspec.Struct, frozen=True):
    """certificatePolicies."""

    critical: bool
    oids: frozenset[str]


class Certificate(msgspec.Struct, frozen=True):
    """One certificate, as far as our rules look at it. None: the extension is absent."""

    der: bytes
    tbs: bytes  # the octets its signature covers
    signature: bytes  # a DER Ecdsa-Sig-Value, when the algorithm is the right one
    signature_algorithm: str  # dotted OID
    public_key: PublicKey
    serial: int
    subject: Name
    issuer: Name
    not_before: datetime
    not_after: datetime
    subject_key_id: bytes | None
    authority_key_id: bytes | None
    policies: Policies | None
    digital_signature: bool
    key_cert_sign: bool
    ca: bool | None
    path_length: int | None
    constraints: Constraints | None
    critical: frozenset[str]  # dotted OIDs of the critical extensions


def refusal(who: Who, fault: Fault, text: str) -> UntrustedCertificate:
    """The exception that says `text` and carries the public reason."""
    return UntrustedCertificate(f"the certificate of the {_SPOKEN[who]} {text}", f"{who}-{fault}")


_SPOKEN: Final = {Who.CI: "CI", Who.EUM: "EUM", Who.EUICC: "eUICC", Who.SMDP: "SM-DP+"}


def parse(der: bytes, who: Who) -> Certificate:
    """The certificate in `der`, a complete `30 ..` TLV. Raises UntrustedCertificate when it can't be read."""
    try:
        parsed = x509.load_der_x509_certificate(der)
        found = _certificate(der, parsed, _public_key(parsed, parsed.public_key(), who))
    except UnsupportedAlgorithm:
        raise refusal(who, Fault.PUBLIC_KEY, "has a public key of an unknown kind") from None
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        raise refusal(who, Fault.UNREADABLE, "is no X.509 v3 certificate in DER") from None
    if not der.endswith(b"\0" + found.signature):  # the library takes a BIT STRING with unused bits too
        raise refusal(who, Fault.UNREADABLE, "has a signature that is no whole number of octets")
    return found


def values(name: Name, oid: str) -> tuple[str | bytes, ...]:
    """The values that `name` has for the attribute `oid`."""
    return tuple(value for attribute, value in name if attribute == oid)


def _public_key(parsed: x509.Certificate, key: object, who: Who) -> PublicKey:
    curve = _CURVES.get(key.curve.name) if isinstance(key, ec.EllipticCurvePublicKey) else None
    if not isinstance(key, ec.EllipticCurvePublicKey) or curve is None:
        raise refusal(
            who,
            Fault.PUBLIC_KEY,
            "has a public key that is neither on P-256 nor on brainpoolP256r1",
        )
    found = PublicKey(curve, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    # The library also reads explicit parameters and compressed points; the one spelling allowed is then not there.
    if spki(found) not in parsed.tbs_certificate_bytes:
        raise refusal(
            who,
            Fault.PUBLIC_KEY,
            "doesn't spell its public key as a named curve and an uncompressed point",
        )
    return found


_CURVES: Final = {"secp256r1": Curve.P256, "brainpoolP256r1": Curve.BRAINPOOL}


def _certificate(der: bytes, parsed: x509.Certificate, key: PublicKey) -> Certificate:
    extensions = parsed.extensions
    usage = _find(extensions, x509.KeyUsage)
    basic = _find(extensions, x509.BasicConstraints)
    subject_key = _find(extensions, x509.SubjectKeyIdentifier)
    authority_key = _find(extensions, x509.AuthorityKeyIdentifier)
    return Certificate(
        der=der,
        tbs=parsed.tbs_certificate_bytes,
        signature=parsed.signature,
        signature_algorithm=parsed.signature_algorithm_oid.dotted_string,
        public_key=key,
        serial=parsed.serial_number,
        subject=_name(parsed.subject),
        issuer=_name(parsed.issuer),
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        subject_key_id=subject_key.value.digest if subject_key else None,
        authority_key_id=authority_key.value.key_identifier if authority_key else None,
        policies=_policies(extensions),
        digital_signature=usage is not None and usage.value.digital_signature,
        key_cert_sign=usage is not None and usage.value.key_cert_sign,
        ca=basic.value.ca if basic else None,
        path_length=basic.value.path_length if basic else None,
        constraints=_constraints(extensions),
        critical=frozenset(extension.oid.dotted_string for extension in extensions if extension.critical),
    )


def _find(extensions: x509.Extensions, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _policies(extensions: x509.Extensions) -> Policies | None:
    found = _find(extensions, x509.CertificatePolicies)
    if found is None:
        return None
    return Policies(
        found.critical,
        frozenset(policy.policy_identifier.dotted_string for policy in found.value),
    )


def _constraints(extensions: x509.Extensions) -> Constraints | None:
    found = _find(extensions, x509.NameConstraints)
    if found is None:
        return None
    permitted = found.value.permitted_subtrees or ()
    names = tuple(_name(subtree.value) for subtree in permitted if isinstance(subtree, x509.DirectoryName))
    well_formed = not found.value.excluded_subtrees and len(names) == len(permitted) > 0
    return Constraints(found.critical, well_formed, names)


def _name(name: x509.Name) -> Name:
    return tuple((attribute.oid.dotted_string, attribute.value) for attribute in name)

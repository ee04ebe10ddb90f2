"""Which eUICCs are believed: the chain CI -> EUM -> eUICC (SGP.22 section 4.5.2, SGP.32 section 2.11).

The rules are written out here because general X.509 path checks get them wrong: the nameConstraints of an EUM hold a
*prefix* of the EID where RFC 5280 compares the whole serialNumber. Only variant O (no sub-CA) is known.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec

from eim.domain.ids import Eid, eid_check_digits_hold
from eim.errors import UntrustedCertificate
from eim.protocol.certificates import (
    ORGANIZATION,
    SERIAL_NUMBER,
    Certificate,
    Fault,
    Name,
    Who,
    parse,
    refusal,
    values,
)
from eim.protocol.ecdsa import PublicKey, verify_der

# Few EUMs certify many cards, and a card's chain comes again with each of its notifications: what is judged of octets
# alone is remembered, for so many of each kind (a few megabytes); dates and roots are looked at each time.
_REMEMBERED: Final = 1024
_ECDSA_WITH_SHA256: Final = "1.2.840.10045.4.3.2"
_ROLES: Final = "2.23.146.1.2.1"  # id-rspRole
_ROLE: Final = {Who.CI: f"{_ROLES}.0", Who.EUICC: f"{_ROLES}.1", Who.EUM: f"{_ROLES}.2"}
_DP_TLS: Final = f"{_ROLES}.3"
# The extensions that a rule below judges, and subjectAltName, which names without restricting.
_JUDGED: Final = frozenset(
    {
        "2.5.29.14",
        "2.5.29.15",
        "2.5.29.17",
        "2.5.29.19",
        "2.5.29.30",
        "2.5.29.32",
        "2.5.29.35",
    }
)


class Roots(msgspec.Struct, frozen=True):
    """The configured CI certificates. Several may share key, subject and serial: the v1.5 and v3 Test CI do."""

    certificates: tuple[Certificate, ...]


class TrustedEuicc(msgspec.Struct, frozen=True):
    """What a chain proves."""

    eid: Eid
    public_key: PublicKey
    ci_key_id: bytes  # the subject key identifier of the root, as in euiccCiPKIdListForSigning


def load_roots(ders: Iterable[bytes]) -> Roots:
    """Parse the configured CI certificates, each a complete DER certificate.

    Whoever configures a root trusts its key, so its own signature and its dates are not judged here; the dates are
    at each chain. Raises UntrustedCertificate for what can be no CI: an EUM's certificate put in by mistake.
    """
    return Roots(tuple(_root(der) for der in ders))


def _root(der: bytes) -> Certificate:
    root = parse(der, Who.CI)
    _check_alone(root, Who.CI)
    _check_authority(root, Who.CI)
    return root


def check_chain(euicc: bytes, eum: bytes, roots: Roots, at: datetime) -> TrustedEuicc:
    """Judge the chain from `euicc` over `eum` to one of `roots` at the time `at` (aware).

    Both certificates are complete DER TLVs (`30 ..`). Raises UntrustedCertificate with a `reason`; the certificates
    are judged alone first, then their links, their dates, and last what the EUM may certify. Revocation is not asked.
    """
    eum_certificate, permitted = _eum(eum)
    euicc_certificate = _euicc(euicc)
    root = _issuing_root(eum_certificate, roots, at)
    _check_link(euicc_certificate, eum_certificate, Who.EUICC)
    _check_dates(eum_certificate, Who.EUM, at)
    _check_dates(euicc_certificate, Who.EUICC, at)
    eid = _certified_eid(euicc_certificate, permitted)
    return TrustedEuicc(eid, euicc_certificate.public_key, root.subject_key_id or b"")


@lru_cache(maxsize=_REMEMBERED)
def _eum(der: bytes) -> tuple[Certificate, tuple[Name, ...]]:
    """The certificate of an EUM, judged alone, and the names that it may certify."""
    certificate = parse(der, Who.EUM)
    _check_alone(certificate, Who.EUM)
    _check_authority(certificate, Who.EUM)
    return certificate, _permitted(certificate)


@lru_cache(maxsize=_REMEMBERED)
def _euicc(der: bytes) -> Certificate:
    """The certificate of a card, judged alone."""
    certificate = parse(der, Who.EUICC)
    _check_alone(certificate, Who.EUICC)
    _check_end_entity(certificate)
    return certificate


@lru_cache(maxsize=_REMEMBERED)
def _is_signed(key: PublicKey, tbs: bytes, signature: bytes) -> bool:
    """Whether the signature is one of `key`, also when it is not: a bad chain costs no more the next time."""
    return verify_der(key, tbs, signature)


def check_smdp_tls(der: bytes) -> None:
    """Judge what CERT.DP.TLS says of itself: curve, signature algorithm, key usage, role (SGP.22 section 4.5.2.1).

    Its chain, dates and names are TLS's to check, before. Raises UntrustedCertificate. Under sub-CAs the role has
    further arcs behind it (variants A, B and C).
    """
    leaf = parse(der, Who.SMDP)
    if leaf.signature_algorithm != _ECDSA_WITH_SHA256:
        raise refusal(Who.SMDP, Fault.SIGNATURE_ALGORITHM, "is not signed by ecdsa-with-SHA256")
    if leaf.ca:
        raise refusal(Who.SMDP, Fault.BASIC_CONSTRAINTS, "is that of a CA")
    if not leaf.digital_signature or leaf.key_cert_sign:
        raise refusal(Who.SMDP, Fault.KEY_USAGE, "is not for signatures over data alone")
    roles = leaf.policies.oids if leaf.policies else frozenset()
    if not any(oid == _DP_TLS or oid.startswith(f"{_DP_TLS}.") for oid in roles):
        raise refusal(Who.SMDP, Fault.ROLE, "is not for the TLS of an SM-DP+")


def eid_in_certificate(der: bytes) -> Eid | None:
    """The EID that an eUICC certificate claims, believed by nobody yet; None when it claims none."""
    try:
        return _claimed_eid(parse(der, Who.EUICC))
    except UntrustedCertificate:
        return None


def _check_alone(certificate: Certificate, who: Who) -> None:
    """What holds for each certificate of a chain."""
    if certificate.signature_algorithm != _ECDSA_WITH_SHA256:
        raise refusal(who, Fault.SIGNATURE_ALGORITHM, "is not signed by ecdsa-with-SHA256")
    if unknown := certificate.critical - _JUDGED:
        raise refusal(
            who,
            Fault.CRITICAL_EXTENSION,
            f"has the critical extension {min(unknown)}, which nobody judges",
        )
    policies = certificate.policies
    roles = {oid for oid in policies.oids if oid.startswith(f"{_ROLES}.")} if policies else set()
    if policies is None or not policies.critical or roles != {_ROLE[who]}:
        raise refusal(
            who,
            Fault.ROLE,
            f"has no critical policy {_ROLE[who]}, or one of another role",
        )


def _check_authority(certificate: Certificate, who: Who) -> None:
    """What holds for those that sign certificates; only an EUM is bound to sign no further CA."""
    if certificate.ca is not True or (who is Who.EUM and certificate.path_length != 0):
        raise refusal(
            who,
            Fault.BASIC_CONSTRAINTS,
            "is not that of a CA of this place in the chain",
        )
    if not certificate.key_cert_sign:
        raise refusal(who, Fault.KEY_USAGE, "may not sign certificates")
    if not certificate.subject_key_id:
        raise refusal(who, Fault.KEY_IDENTIFIER, "has no subject key identifier")


def _check_end_entity(certificate: Certificate) -> None:
    if certificate.ca:
        raise refusal(Who.EUICC, Fault.BASIC_CONSTRAINTS, "is that of a CA")
    if not certificate.digital_signature or certificate.key_cert_sign:
        raise refusal(Who.EUICC, Fault.KEY_USAGE, "is not for signatures over data alone")


def _issuing_root(eum: Certificate, roots: Roots, at: datetime) -> Certificate:
    """The root that issued `eum` and is valid `at`. All that share the key identifier are tried."""
    refusals = []
    for root in roots.certificates:
        if root.subject_key_id != eum.authority_key_id:
            continue
        try:
            _check_link(eum, root, Who.EUM)
            _check_dates(root, Who.CI, at)
        except UntrustedCertificate as error:
            refusals.append(error)
        else:
            return root
    if refusals:
        raise refusals[-1]
    raise refusal(Who.EUM, Fault.UNKNOWN_CI, "was issued by a CI that is not configured")


def _check_link(certificate: Certificate, issuer: Certificate, who: Who) -> None:
    """That `issuer` issued `certificate`: key identifier, name, signature."""
    if not certificate.authority_key_id or certificate.authority_key_id != issuer.subject_key_id:
        raise refusal(who, Fault.KEY_IDENTIFIER, "names the key of another issuer")
    if certificate.issuer != issuer.subject:
        raise refusal(who, Fault.ISSUER, "names another issuer")
    if not _is_signed(issuer.public_key, certificate.tbs, certificate.signature):
        raise refusal(who, Fault.SIGNATURE, "was not signed by its issuer")


def _check_dates(certificate: Certificate, who: Who, at: datetime) -> None:
    if at < certificate.not_before:
        raise refusal(
            who,
            Fault.NOT_YET_VALID,
            f"is valid from {certificate.not_before:%Y-%m-%d} only",
        )
    if at > certificate.not_after:
        raise refusal(who, Fault.EXPIRED, f"was valid until {certificate.not_after:%Y-%m-%d}")


def _permitted(eum: Certificate) -> tuple[Name, ...]:
    """The names that `eum` may certify: each one organization and one prefix of EIDs."""
    constraints = eum.constraints
    if constraints is None or not constraints.critical or not constraints.well_formed:
        raise refusal(
            Who.EUM,
            Fault.NAME_CONSTRAINTS,
            "has no critical nameConstraints of permitted names",
        )
    for name in constraints.permitted:
        prefix = _only(name, SERIAL_NUMBER)
        if not prefix or not _is_digits(prefix) or len(prefix) > 32 or not _only(name, ORGANIZATION):
            raise refusal(
                Who.EUM,
                Fault.NAME_CONSTRAINTS,
                "permits names without organization and EID prefix",
            )
    return constraints.permitted


def _certified_eid(euicc: Certificate, permitted: tuple[Name, ...]) -> Eid:
    """The EID of `euicc`, when one of the `permitted` names covers its subject."""
    eid = _claimed_eid(euicc)
    if eid is None:
        raise refusal(Who.EUICC, Fault.EID, "has no serialNumber of 32 digits in its subject")
    same_but_eid = [name for name in permitted if _without_serial(name) <= _without_serial(euicc.subject)]
    if not same_but_eid or len(values(euicc.subject, ORGANIZATION)) != 1:
        raise refusal(
            Who.EUICC,
            Fault.ORGANIZATION,
            "is of an organization that its EUM may not certify",
        )
    if not any(eid.hex().startswith(_only(name, SERIAL_NUMBER) or "none") for name in same_but_eid):
        raise refusal(Who.EUICC, Fault.EID_RANGE, "has an EID that its EUM may not certify")
    if not eid_check_digits_hold(eid):
        raise refusal(Who.EUICC, Fault.EID, "has an EID whose check digits don't hold")
    return eid


def _claimed_eid(certificate: Certificate) -> Eid | None:
    text = _only(certificate.subject, SERIAL_NUMBER)
    return Eid(bytes.fromhex(text)) if text and len(text) == 32 and _is_digits(text) else None


def _only(name: Name, oid: str) -> str | None:
    """The text of the attribute `oid`, when there is exactly one."""
    found = values(name, oid)
    return found[0] if len(found) == 1 and isinstance(found[0], str) else None


def _without_serial(name: Name) -> frozenset[tuple[str, str | bytes]]:
    return frozenset(attribute for attribute in name if attribute[0] != SERIAL_NUMBER)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()

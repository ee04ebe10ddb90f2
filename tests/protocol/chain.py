"""Chains CI -> EUM -> eUICC made here, so that each fault can be had by itself and tests need no file from outside."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

EID: Final = bytes.fromhex("89049032123451234512345678901235")
NOW: Final = datetime(2026, 11, 22, tzinfo=UTC)
EUM_NAME: Final = {"O": "Maker", "CN": "Maker EUM"}
EUICC_NAME: Final = {"O": "Maker", "serialNumber": EID.hex(), "CN": "Card"}
_OIDS: Final = {"O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME, "serialNumber": NameOID.SERIAL_NUMBER}
_ROLES: Final = "2.23.146.1.2.1"


def name_of(*attributes: tuple[str, str], **more: str) -> x509.Name:
    pairs = [*attributes, *more.items()]
    return x509.Name([x509.NameAttribute(_OIDS[kind], value) for kind, value in pairs])


def usage(*names: str) -> x509.KeyUsage:
    known = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    every = f"{known} key_cert_sign crl_sign encipher_only decipher_only".split()
    return x509.KeyUsage(**{each: each in names for each in every})


class Extension(msgspec.Struct, frozen=True):
    value: x509.ExtensionType
    critical: bool = False


def role(number: int, *more: str) -> Extension:
    oids = (f"{_ROLES}.{number}", *more)
    return Extension(
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(o), None) for o in oids]), True
    )


def permitting(*names: x509.Name, critical: bool = True) -> Extension:
    return Extension(x509.NameConstraints([x509.DirectoryName(each) for each in names], None), critical)


class Made(msgspec.Struct, frozen=True):
    """A certificate with the key it certifies."""

    der: bytes
    key: ec.EllipticCurvePrivateKey
    subject: x509.Name


class Recipe(msgspec.Struct, frozen=True):
    """What stands in a certificate. `extensions` by any name, so that one can be replaced or left out (None)."""

    subject: x509.Name
    extensions: dict[str, Extension | None]
    key: ec.EllipticCurvePrivateKey
    not_before: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    not_after: datetime = datetime(2054, 1, 1, tzinfo=UTC)
    issuer: x509.Name | None = None  # None: the subject of whoever signs
    hash: SHA256 | SHA384 = msgspec.field(default_factory=SHA256)
    serial: int | None = None  # None: drawn

    def but(self, *, extensions: dict[str, Extension | None] | None = None, **changes: object) -> "Recipe":
        """This recipe with other values, and with single extensions replaced."""
        merged = {**self.extensions, **(extensions or {})}
        return msgspec.structs.replace(self, extensions=merged, **changes)

    def made(self, by: Made | None = None) -> Made:
        signer = by.key if by else self.key
        issuer = self.issuer or (by.subject if by else self.subject)
        serial = x509.random_serial_number() if self.serial is None else self.serial
        builder = x509.CertificateBuilder(issuer, self.subject, self.key.public_key(), serial)
        builder = builder.not_valid_before(self.not_before).not_valid_after(self.not_after)
        for extension in self.extensions.values():
            if extension is not None:
                builder = builder.add_extension(extension.value, extension.critical)
        return Made(builder.sign(signer, self.hash).public_bytes(Encoding.DER), self.key, self.subject)


def key_id(key: ec.EllipticCurvePrivateKey) -> Extension:
    return Extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()))


def issued_by(key: ec.EllipticCurvePrivateKey) -> Extension:
    return Extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()))


class Recipes(msgspec.Struct, frozen=True):
    ci: Recipe
    eum: Recipe
    euicc: Recipe


def recipes(curve: ec.EllipticCurve | None = None) -> Recipes:
    """A sound chain, ready to be spoiled."""
    ci_key, eum_key, euicc_key = (ec.generate_private_key(curve or ec.SECP256R1()) for _ in range(3))
    ci: dict[str, Extension | None] = {
        "skid": key_id(ci_key),
        "bc": Extension(x509.BasicConstraints(ca=True, path_length=None), True),
        "ku": Extension(usage("key_cert_sign", "crl_sign"), True),
        "role": role(0),
    }
    eum: dict[str, Extension | None] = {
        "akid": issued_by(ci_key),
        "skid": key_id(eum_key),
        "bc": Extension(x509.BasicConstraints(ca=True, path_length=0), True),
        "ku": Extension(usage("key_cert_sign"), True),
        "role": role(2),
        "nc": permitting(name_of(O="Maker", serialNumber="89049032")),
    }
    euicc: dict[str, Extension | None] = {
        "akid": issued_by(eum_key),
        "skid": key_id(euicc_key),
        "ku": Extension(usage("digital_signature"), True),
        "role": role(1),
    }
    return Recipes(
        Recipe(name_of(CN="A CI"), ci, ci_key),
        Recipe(name_of(**EUM_NAME), eum, eum_key),
        Recipe(name_of(**EUICC_NAME), euicc, euicc_key, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    )

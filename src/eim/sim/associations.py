"""The eIMs a card obeys, and the operations that change them (SGP.32 sections 2.11.1.1.1, 3.5, 5.9.18)."""

from typing import Final, assert_never

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from eim.asn1.sgp32 import (
    AddEim,
    DeleteEim,
    Eco,
    EimConfigurationData,
    ListEim,
    PublicKeyChoice,
    SpkiChoice,
    UpdateEim,
)
from eim.sim.der import integer, text, tlv
from eim.sim.journal import Act

HIGHEST_COUNTER: Final = 8_388_607  # the ceiling every eUICC must support; this one supports no more
DRAW_A_TOKEN: Final = -1  # associationToken in a request: the card is to choose one
_OK: Final = 0
_NOT_FOUND: Final = 1
_LAST_DELETED: Final = 2  # a success
_ALREADY_EXISTS: Final = 2
_CI_UNKNOWN: Final = 3
_INSUFFICIENT_MEMORY: Final = 1
_INVALID_TOKEN: Final = 5
_COUNTER_OUT_OF_RANGE: Final = 6
_COMMAND_ERROR: Final = 7
BOTH: Final = frozenset({"secp256r1", "brainpoolP256r1"})  # SGP.32 allows no other curve
_NAMES: Final[dict[type[Eco], tuple[int, str]]] = {
    AddEim: (0xA8, "addEim"),
    DeleteEim: (0x89, "deleteEim"),
    UpdateEim: (0x8A, "updateEim"),
    ListEim: (0xAB, "listEim"),
}


class Association(msgspec.Struct, frozen=True):
    """One eIM as the card knows it."""

    eim_id: str
    id_type: int | None
    fqdn: str | None
    key: ec.EllipticCurvePublicKey
    highest: int  # the counterValue accepted last, at first the configured one
    token: int | None  # None: signed as zero


class Associations(msgspec.Struct, frozen=True):
    """All of them, and the card's one source of tokens: a deleted and added eIM gets another token."""

    entries: tuple[Association, ...] = ()
    ci_key_id: bytes = b""  # the only CI this card can sign under
    next_token: int = 1

    def find(self, eim_id: str) -> Association | None:
        return next((entry for entry in self.entries if entry.eim_id == eim_id), None)

    def put(self, changed: Association) -> "Associations":
        """The list with `changed` in the place of the entry of its name."""
        entries = tuple(changed if entry.eim_id == changed.eim_id else entry for entry in self.entries)
        return msgspec.structs.replace(self, entries=entries)


class Limits(msgspec.Struct, frozen=True):
    """What one card can't do, and how it says what it has."""

    room: int | None = None  # eIMs it can keep
    curves: frozenset[str] = BOTH  # of eIM keys it can use
    id_type_tag: int = 0x82  # in listEimResult; 84 in v1.0.1


STANDARD_LIMITS: Final = Limits()


class EcoStep(msgspec.Struct, frozen=True):
    associations: Associations
    result: bytes
    act: Act


class ConfigurationRefused(Exception):
    """Why a card did not take an eIM configuration. `code` is addEimResult's; AddInitialEim has the same numbers."""

    def __init__(self, code: int) -> None:
        super().__init__(f"eIM configuration refused with code {code}")
        self.code = code


def name_of(operation: Eco) -> str:
    """What the operation and its result are called."""
    return _NAMES[type(operation)][1]


def refuse(known: Associations, operation: Eco, code: int) -> EcoStep:
    """`operation` not done, for `code`."""
    tag, kind = _NAMES[type(operation)]
    inside = {0xA8: 0x02, 0xAB: 0x81}.get(tag)
    result = integer(tag, code) if inside is None else tlv(tag, integer(inside, code))
    return EcoStep(known, result, Act(kind, None, code, _named(operation)))


def add_initial(
    known: Associations, configs: tuple[EimConfigurationData, ...], limits: Limits = STANDARD_LIMITS
) -> Associations:
    """The list after ES10b.AddInitialEim: all of `configs` or, raising ConfigurationRefused, none."""
    if known.entries:
        raise ConfigurationRefused(_ALREADY_EXISTS)
    for config in configs:
        known = add(known, config, limits)
    return known


def add(known: Associations, config: EimConfigurationData, limits: Limits = STANDARD_LIMITS) -> Associations:
    """The list with one more eIM. Raises ConfigurationRefused."""
    if known.find(config.eim_id) is not None:
        raise ConfigurationRefused(_ALREADY_EXISTS)
    if limits.room is not None and len(known.entries) >= limits.room:
        raise ConfigurationRefused(_INSUFFICIENT_MEMORY)
    _check(known, config)
    if config.public_key is None or config.counter is None:
        raise ConfigurationRefused(_COMMAND_ERROR)
    drawn = config.association_token == DRAW_A_TOKEN
    entry = Association(
        eim_id=config.eim_id,
        id_type=config.id_type,
        fqdn=config.fqdn,
        key=_load(config.public_key, limits),
        highest=config.counter,
        token=known.next_token if drawn else None,
    )
    return msgspec.structs.replace(known, entries=(*known.entries, entry), next_token=known.next_token + drawn)


def execute(known: Associations, operation: Eco, limits: Limits = STANDARD_LIMITS) -> EcoStep:
    """Do one eCO; refused ones leave the list as it was."""
    match operation:
        case AddEim():
            return _add_eim(known, operation, limits)
        case DeleteEim():
            return _delete_eim(known, operation)
        case UpdateEim():
            return _update_eim(known, operation, limits)
        case ListEim():
            listed = (tlv(0x30, text(0x80, entry.eim_id), _id_type(entry, limits)) for entry in known.entries)
            return EcoStep(known, tlv(0xAB, tlv(0xA0, *listed)), Act("listEim", None, _OK))
        case _:
            assert_never(operation)


def _add_eim(known: Associations, operation: AddEim, limits: Limits) -> EcoStep:
    try:
        added = add(known, operation.config, limits)
    except ConfigurationRefused as refusal:
        return refuse(known, operation, refusal.code)
    token = added.entries[-1].token
    answer = integer(0x02, _OK) if token is None else integer(0x84, token)
    return EcoStep(added, tlv(0xA8, answer), Act("addEim", None, _OK, _named(operation)))


def _delete_eim(known: Associations, operation: DeleteEim) -> EcoStep:
    rest = tuple(entry for entry in known.entries if entry.eim_id != operation.eim_id)
    code = _NOT_FOUND if len(rest) == len(known.entries) else _OK if rest else _LAST_DELETED
    deleted = msgspec.structs.replace(known, entries=rest)
    return EcoStep(deleted, integer(0x89, code), Act("deleteEim", None, code, operation.eim_id))


def _update_eim(known: Associations, operation: UpdateEim, limits: Limits) -> EcoStep:
    try:
        updated = known.put(_updated(known, operation.config, limits))
    except ConfigurationRefused as refusal:
        return refuse(known, operation, refusal.code)
    return EcoStep(updated, integer(0x8A, _OK), Act("updateEim", None, _OK, _named(operation)))


def _named(operation: Eco) -> str | None:
    """The eIM an operation is about."""
    match operation:
        case AddEim() | UpdateEim():
            return operation.config.eim_id
        case DeleteEim():
            return operation.eim_id
        case _:
            return None


def _updated(known: Associations, config: EimConfigurationData, limits: Limits) -> Association:
    entry = known.find(config.eim_id)
    if entry is None:
        raise ConfigurationRefused(_NOT_FOUND)
    _check(known, config)
    if config.public_key is not None and config.counter is None:
        raise ConfigurationRefused(_COMMAND_ERROR)  # a new key starts a new count
    return msgspec.structs.replace(
        entry,
        fqdn=entry.fqdn if config.fqdn is None else config.fqdn,
        key=entry.key if config.public_key is None else _load(config.public_key, limits),
        highest=entry.highest if config.counter is None else config.counter,
    )


def _check(known: Associations, config: EimConfigurationData) -> None:
    if config.ci_key_id is not None and config.ci_key_id != known.ci_key_id:
        raise ConfigurationRefused(_CI_UNKNOWN)
    if config.association_token not in (None, DRAW_A_TOKEN):
        raise ConfigurationRefused(_INVALID_TOKEN)
    if config.counter is not None and not 0 <= config.counter <= HIGHEST_COUNTER:
        raise ConfigurationRefused(_COUNTER_OUT_OF_RANGE)


def _load(choice: PublicKeyChoice, limits: Limits) -> ec.EllipticCurvePublicKey:
    try:
        if isinstance(choice, SpkiChoice):
            key: object = load_der_public_key(choice.der)
        else:
            key = x509.load_der_x509_certificate(choice.der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationRefused(_COMMAND_ERROR) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in limits.curves:
        raise ConfigurationRefused(_COMMAND_ERROR)
    return key


def _id_type(entry: Association, limits: Limits) -> bytes:
    return b"" if entry.id_type is None else integer(limits.id_type_tag, entry.id_type)

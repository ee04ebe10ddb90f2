"""An eUICC as we know it: its association with our identity, and the profiles it last told us of."""

from enum import StrEnum

import msgspec

from eim.domain.ids import Iccid


class Speaks(StrEnum):
    """The SGP.32 version a device was seen to speak. Learnt and stored per eUICC; V1_2 until known otherwise."""

    V1_0_1 = "1.0.1"
    V1_1 = "1.1"
    V1_2 = "1.2"
    V1_3 = "1.3"


class SignatureForm(StrEnum):
    """What a result's signature covered behind the data (SGP.32 section 2.11.2.1; v1.0.x differs)."""

    TOKEN = "token"  # data || 84 <associationToken>
    ZERO = "zero"  # data || 84 01 00, no token configured
    EIM_SIGNATURE = "eimSignature"  # data || the request's 5F37 TLV, v1.0.x
    NONE = "none"  # an emulated card's placeholder, accepted only for a device flagged unverifiable


class SignatureCoding(StrEnum):
    RAW = "raw"  # r || s, 64 octets
    DER = "der"  # the deviation some cards have


class ProfileState(StrEnum):
    DISABLED = "disabled"
    ENABLED = "enabled"


class Profile(msgspec.Struct, frozen=True):
    """One profile on a card. Texts are as the card gave them."""

    iccid: Iccid
    state: ProfileState
    isdp_aid: bytes | None = None
    nickname: str | None = None
    service_provider: str | None = None
    name: str | None = None
    profile_class: int | None = None  # 0 test, 1 provisioning, 2 operational
    fallback: bool = False
    ppr: bytes | None = None  # the PPR bits as they came
    fallback_allowed: bool | None = None  # None: the card did not say


class Eim(msgspec.Struct, frozen=True):
    """One eIM that a card obeys, as it lists it."""

    eim_id: str
    id_type: int | None = None  # 1 OID, 2 FQDN, 3 proprietary; None: the card did not say

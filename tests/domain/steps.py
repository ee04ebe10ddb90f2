"""One step of each kind, as the tests of several layers use them."""

from typing import Final

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EimConfigurationData, SpkiChoice
from eim.domain.ids import parse_iccid
from eim.domain.step import (
    AddEim,
    ConfigureImmediateEnable,
    DataRequest,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    Step,
    UnsetFallbackAttribute,
    UpdateEim,
)

ICCID: Final = parse_iccid("89000123456789012341")
# P-256, private scalar 1, as in the reference's worked examples.
SPKI: Final = bytes.fromhex(
    "3059301306072A8648CE3D020106082A8648CE3D030107034200"
    "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296"
    "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5"
)
CONFIG: Final = EimConfigurationData(
    eim_id="eim2.example.com",
    id_type=2,
    counter=0,
    association_token=-1,
    public_key=SpkiChoice(SPKI),
    protocols=frozenset({0}),
)
EVERY_STEP: Final[tuple[Step, ...]] = (
    Enable(ICCID, rollback=True),
    Disable(ICCID),
    Delete(ICCID),
    ListProfileInfo(),
    GetRat(),
    ConfigureImmediateEnable(True, "2.999.1", "smdp.example.com"),
    SetFallbackAttribute(ICCID),
    UnsetFallbackAttribute(),
    SetDefaultDpAddress("smdp.example.com"),
    AddEim(sgp32.encode(CONFIG)),
    DeleteEim("eim2.example.com"),
    UpdateEim(sgp32.encode(EimConfigurationData("eim2.example.com", fqdn="other.example.com"))),
    ListEim(),
    DataRequest(),
)

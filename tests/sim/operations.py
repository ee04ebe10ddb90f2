"""Every operation as octets, made by hand, for a card with profile A enabled and B disabled."""

from typing import Final

from eim.sim.der import integer, read, text, tlv
from tests.sim.hand import LIST, B, HandEim, delete, disable, enable
from tests.sim.hand import A as ENABLED

_SECOND: Final = HandEim.new("second.example.com")


def _configuration(eim: HandEim, *more: bytes, token: bytes = integer(0x84, -1)) -> bytes:
    """The members of one EimConfigurationData."""
    (outer,) = read(eim.configuration(*more, token=token))
    (listed,) = read(outer.value)
    (config,) = read(listed.value)
    return config.value


PSMOS: Final = {
    "enable": enable(B),
    "disable": disable(ENABLED),
    "delete": delete(B),
    "listProfileInfo": LIST,
    "getRAT": tlv(0xA6),
    "configureImmediateEnable": tlv(0xA7, tlv(0x80), text(0x82, "smdp.example.com")),
    "setFallbackAttribute": tlv(0xA8, tlv(0x5A, B)),
    "unsetFallbackAttribute": tlv(0xA9),
    "setDefaultDpAddress": tlv(0xBF65, text(0x80, "smdp.example.com")),
}
SINCE_V1_1: Final = ("setFallbackAttribute", "unsetFallbackAttribute", "setDefaultDpAddress")
ECOS: Final = {
    "addEim": tlv(0xA8, _configuration(_SECOND)),
    "deleteEim": tlv(0xA9, text(0x80, "eim.example.com")),
    "updateEim": tlv(0xAA, text(0x80, "eim.example.com"), text(0x81, "new.example.com")),
    "listEim": tlv(0xAB),
}
CODE_AT: Final = {"listProfileInfo": (0xBF2D, 0x81), "setDefaultDpAddress": (0xBF65, 0x80)}
CODE_AT_ECO: Final = {"addEim": (0xA8, 0x02), "listEim": (0xAB, 0x81)}
TAGS: Final = {
    "enable": 0x83,
    "disable": 0x84,
    "delete": 0x85,
    "configureImmediateEnable": 0x87,
    "setFallbackAttribute": 0x8D,
    "unsetFallbackAttribute": 0x8E,
    "deleteEim": 0x89,
    "updateEim": 0x8A,
}


def package(eim: HandEim, eid: bytes, counter: int, *names: str, token: int = 1) -> bytes:
    """BF51 with these operations, all of one list."""
    operations = [(PSMOS | ECOS)[name] for name in names]
    listed = tlv(0xA1 if names[0] in ECOS else 0xA0, *operations)
    members = (text(0x80, eim.eim_id), tlv(0x5A, eid), integer(0x81, counter), tlv(0x82, b"\x07" * 16), listed)
    return eim.seal(tlv(0x30, *members), token)


def result(name: str, code: int) -> bytes:
    """The EuiccResultData of an operation that came to `code`."""
    inside = (CODE_AT | CODE_AT_ECO).get(name)
    return tlv(inside[0], integer(inside[1], code)) if inside else integer(TAGS[name], code)

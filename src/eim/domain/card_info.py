"""What a card is and can, read from its EUICCInfo2 (SGP.22 section 4.3, SGP.32 section 4.2), in plain words."""

from collections.abc import Mapping
from typing import Final

from eim.asn1 import der
from eim.asn1.kinds import Bits, Integer
from eim.errors import Malformed

_VERSIONS: Final = {0x81: "profileVersion", 0x82: "svn", 0x83: "firmwareVersion", 0x04: "ppVersion"}
_CATEGORIES: Final = {0: "other", 1: "basicEuicc", 2: "mediumEuicc", 3: "contactlessEuicc"}
_PPRS: Final = {0: "pprUpdateControl", 1: "ppr1", 2: "ppr2"}
_IPA_MODES: Final = {0: "ipad", 1: "ipae"}
_RESOURCES: Final = {0x81: "installedApplications", 0x82: "freeMemory", 0x83: "freeVolatileMemory"}
_RESOURCE, _CATEGORY, _FORBIDDEN, _IPA_MODE, _IOT = 0x84, 0x8B, 0x99, 0x90, 0xB4
_IOT_VERSIONS, _ECALL, _FALLBACK = 0xA0, 0x81, 0x82


def described(info2: bytes | None) -> dict[str, object]:
    """The versions, the free memory in octets, and what it supports; what can't be read is left out."""
    if info2 is None:
        return {}
    told: dict[str, object] = {}
    try:
        held = der.inside(info2, der.read_one(info2))
    except Malformed:
        return {}
    for node in held:
        try:
            told |= _member(info2, node)
        except (Malformed, IndexError):
            continue
    return told


def _member(data: bytes, node: der.Node) -> Mapping[str, object]:
    tag, content = node[0], der.value(data, node)
    if tag in _VERSIONS:
        return {_VERSIONS[tag]: _version(content)}
    if tag == _RESOURCE:
        return _resources(content)
    if tag == _CATEGORY:
        return {"category": _CATEGORIES.get(content[0], str(content[0]))}
    if tag == _FORBIDDEN:
        return {"forbiddenPprs": [_PPRS.get(bit, str(bit)) for bit in sorted(Bits().read(data, node))]}
    if tag == _IPA_MODE:
        return {"ipaMode": _IPA_MODES.get(content[0], str(content[0]))}
    return _iot(data, node) if tag == _IOT else {}


def _iot(data: bytes, node: der.Node) -> dict[str, object]:
    held = {child[0]: child for child in der.inside(data, node)}
    told: dict[str, object] = {"ecallSupported": _ECALL in held, "fallbackSupported": _FALLBACK in held}
    if _IOT_VERSIONS in held:
        told["iotVersions"] = [_version(der.value(data, child)) for child in der.inside(data, held[_IOT_VERSIONS])]
    return told


def _resources(content: bytes) -> dict[str, object]:
    """The extended card resources (ETSI TS 102 226): TLVs without a tag around them."""
    whole = der.wrap(der.SEQUENCE, content)
    nodes = der.inside(whole, der.read_one(whole))
    return {_RESOURCES[n[0]]: _unsigned(whole, n) for n in nodes if n[0] in _RESOURCES}


def _unsigned(data: bytes, node: der.Node) -> int:
    Integer().read(data, node)
    return int.from_bytes(der.value(data, node), "big")


def _version(content: bytes) -> str:
    return ".".join(str(octet) for octet in content)

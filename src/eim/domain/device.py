"""The device around a card, as its agent describes it (DeviceInfo of SGP.22 section 4.2, IpaCapabilities of SGP.32)."""

from collections.abc import Mapping

from eim.asn1 import der
from eim.errors import Malformed

_TAC, _IMEI = 0x80, 0x82
_CAPABILITIES = ("ipaFeatures", "ipaProtocols")


def named(device_info: str | None) -> dict[str, str]:
    """Type allocation code and IMEI of a DeviceInfo, its A9 TLV in hex: octets in hex as they came, for agents differ
    in which half of an octet comes first."""
    try:
        whole = bytes.fromhex(device_info or "")
        found = {node[0]: der.value(whole, node) for node in der.inside(whole, der.read_one(whole))}
    except (Malformed, ValueError):
        return {}
    said = {"tac": found.get(_TAC), "imei": found.get(_IMEI)}
    return {name: octets.hex().upper() for name, octets in said.items() if octets}


def difference(before: Mapping[str, object], now: Mapping[str, object]) -> dict[str, object]:
    """What is another than it was: device and agent, {name: [before, now]}. What was not known before is no change."""
    was, new = _described(before), _described(now)
    return {name: [was[name], new[name]] for name in was if name in new and was[name] != new[name]}


def _described(capabilities: Mapping[str, object]) -> dict[str, object]:
    info = capabilities.get("deviceInfo")
    said: dict[str, object] = dict(named(info if isinstance(info, str) else None))
    return said | {name: capabilities[name] for name in _CAPABILITIES if name in capabilities}

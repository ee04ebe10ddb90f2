"""The slow, obvious twin of `eim._fast.provided.read_result`: walks the message TLV by TLV."""

from typing import Final

from eim.errors import Malformed
from tests.reference.tlv import children

Plain = tuple[
    tuple[bytes | None, int], tuple[bytes, bytes, bytes], tuple[str, int, bytes, int], list[tuple[int, int, bytes]]
]

_NUMBER: Final = range(1, 9)  # octets
_MOST_CODES: Final = 32
_BEHIND: Final = {b"": 1, bytes.fromhex("A000"): 1, bytes.fromhex("BF2B02A000"): 2}


def read_result(data: bytes) -> Plain | None:
    try:
        return _read(data)
    except (Malformed, _OtherError):
        return None


class _OtherError(Exception):
    """It is not in the plain form."""


def _read(data: bytes) -> Plain:
    message = _these(data, 0, len(data), 0xBF50)["BF50"]
    tags = [child[0] for child in children(data, *message[1:])]
    named = _these(data, *message[1:], *(tag for tag in (0x5A, 0x30, 0xBF51) if tag in tags))
    envelope = 0
    if "30" in named:
        beside = children(data, *named["30"][1:])[1:]
        behind = b"".join(data[at:end] for _, at, _, end in beside)
        if behind not in _BEHIND:
            raise _OtherError
        envelope = _BEHIND[behind]
        named |= _these(data, named["30"][1], named["30"][2] - len(behind), 0xBF51)
    arm = _these(data, *named["BF51"][1:], 0xA0)["A0"]
    held = _these(data, *arm[1:], 0x30, 0x5F37)
    said = _these(data, *held["30"][1:], 0x80, 0x81, 0x82, 0x83, 0x30)
    sizes = {name: end - value for name, (_, value, end) in (named | held | said).items()}
    text = data[said["80"][1] : said["80"][2]]
    if sizes.get("5A", 16) != 16 or sizes["5F37"] != 64 or not 1 <= sizes["82"] <= 16 or not 1 <= sizes["80"] <= 127:
        raise _OtherError
    if not all(0 < octet < 128 for octet in text) or any(sizes[name] not in _NUMBER for name in ("81", "83")):
        raise _OtherError
    eid = data[named["5A"][1] : named["5A"][2]] if "5A" in named else None
    signature, transaction = (data[at[1] : at[2]] for at in (held["5F37"], said["82"]))
    signed, raw = (data[at[0] : at[2]] for at in (held["30"], named["BF51"]))
    counter, seq_number = (_number(data[said[name][1] : said[name][2]]) for name in ("81", "83"))
    codes = [_code(data, *child) for child in children(data, *said["30"][1:])]
    if len(codes) > _MOST_CODES:
        raise _OtherError
    return (eid, envelope), (signed, signature, raw), (text.decode("ascii"), counter, transaction, seq_number), codes


def _these(data: bytes, start: int, end: int, *tags: int) -> dict[str, tuple[int, int, int]]:
    """(at, value, end) of these, which are all there is and in this order."""
    found = children(data, start, end)
    if [child[0] for child in found] != list(tags):
        raise _OtherError
    return {f"{tag:X}": (at, value, stop) for tag, at, value, stop in found}


def _code(data: bytes, tag: int, at: int, value: int, end: int) -> tuple[int, int, bytes]:
    if tag > 0xFF or tag & 0x20 or end - value not in _NUMBER:
        raise _OtherError
    return tag, _number(data[value:end]), data[at:end]


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big", signed=True)

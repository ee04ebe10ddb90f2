"""The slow, obvious twin of `eim.asn1.der` and of the writer in `eim._fast.tlv`: TLVs written and read in Python."""

from typing import Final

from eim.errors import Malformed
from tests.reference.tlv import check, children

Node = tuple[int, int, int, int]  # tag (its octets as one number), where the TLV starts, its value starts, it ends

DEPTH: Final = 16  # TLVs inside one another; the deepest sound message we know has 12
SEQUENCE: Final = 0x30
_SHORT: Final = 0x80
_CONSTRUCTED: Final = 0x20


def wrap(tag: int, content: bytes) -> bytes:
    """One TLV, its length as short as can be."""
    size = len(content)
    head = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    if size < _SHORT:
        return head + bytes((size,)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return head + bytes((_SHORT | len(length),)) + length + content


def read_one(octets: bytes) -> Node:
    """The one TLV that `octets` is. Raises Malformed, also for octets behind it and for more than DEPTH levels."""
    check(octets, DEPTH)
    return children(octets, 0, len(octets))[0]


def inside(data: bytes, node: Node) -> list[Node]:
    """What a constructed TLV holds. Raises Malformed when it is primitive."""
    if not data[node[1]] & _CONSTRUCTED:
        raise Malformed(f"tag {node[0]:X} holds no TLVs")
    return children(data, node[2], node[3])


def is_constructed(tag: int) -> bool:
    """Whether the first octet of the tag has the constructed bit."""
    first = tag >> 8 * max((tag.bit_length() - 1) // 8, 0)
    return bool(first & _CONSTRUCTED)


def whole(data: bytes, node: Node) -> bytes:
    """The TLV as it came."""
    return data[node[1] : node[3]]


def value(data: bytes, node: Node) -> bytes:
    """Its content."""
    return data[node[2] : node[3]]


def undouble(data: bytes, node: Node) -> Node:
    """`node`, or the TLV of the same tag that is all it holds: some encoders write a tagged CHOICE twice."""
    while data[node[1]] & _CONSTRUCTED:
        size = (node[0].bit_length() + 7) // 8
        if data[node[2] : node[2] + size] != data[node[1] : node[1] + size]:
            break
        held = inside(data, node)
        if len(held) != 1 or held[0][0] != node[0]:
            break
        node = held[0]
    return node

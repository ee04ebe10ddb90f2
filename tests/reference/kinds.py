"""The slow, obvious twin of `eim._fast.kinds`."""

from typing import Final

import msgspec

from eim.errors import Malformed
from tests.reference import der
from tests.reference.der import Node

_WIDEST: Final = 8


class Integer(msgspec.Struct, frozen=True):
    """Two's complement. Longer than need be is read, more than 8 octets is not."""

    def read(self, data: bytes, node: Node) -> int:
        content = der.value(data, node)
        if not 1 <= len(content) <= _WIDEST:
            raise Malformed(f"an INTEGER of {len(content)} octets")
        return int.from_bytes(content, "big", signed=True)

    def write(self, value: int) -> bytes:
        return value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True)


class Octets(msgspec.Struct, frozen=True):
    """OCTET STRING, and whatever else we keep as content octets."""

    least: int = 0
    most: int = 1 << 20

    def read(self, data: bytes, node: Node) -> bytes:
        size = node[3] - node[2]
        if not self.least <= size <= self.most:
            raise Malformed(f"{size} octets at tag {node[0]:X}, not {self.least} to {self.most}")
        return der.value(data, node)

    def write(self, value: bytes) -> bytes:
        return value


class Text(msgspec.Struct, frozen=True):
    """UTF8String of so many characters. Overlong forms, surrogates and NUL are refused."""

    least: int = 0
    most: int = 1 << 20

    def read(self, data: bytes, node: Node) -> str:
        try:
            text = der.value(data, node).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed(f"no UTF-8 at tag {node[0]:X}") from None
        if not self.least <= len(text) <= self.most or "\0" in text:
            raise Malformed(f"a text of {len(text)} characters at tag {node[0]:X} that can't be taken")
        return text

    def write(self, value: str) -> bytes:
        return value.encode("utf-8")


class LooseText(msgspec.Struct, frozen=True):
    """UTF8String that somebody else put on the card: one that Text would refuse reads as None, and hurts nobody."""

    def read(self, data: bytes, node: Node) -> str | None:
        try:
            return Text().read(data, node)
        except Malformed:
            return None

    def write(self, value: str) -> bytes:
        return value.encode("utf-8")


class Null(msgspec.Struct, frozen=True):
    """Its being there is the value: True."""

    def read(self, data: bytes, node: Node) -> bool:
        if node[2] != node[3]:
            raise Malformed(f"a NULL with content at tag {node[0]:X}")
        return True

    def write(self, value: bool) -> bytes:
        return b""


class Boolean(msgspec.Struct, frozen=True):
    """Anything but 00 is true."""

    def read(self, data: bytes, node: Node) -> bool:
        content = der.value(data, node)
        if len(content) != 1:
            raise Malformed(f"a BOOLEAN of {len(content)} octets")
        return content != b"\0"

    def write(self, value: bool) -> bytes:
        return b"\xff" if value else b"\0"

"""The description of a type, from which its DER comes both ways.

A *kind* maps the content of a TLV and a value (`read`, `write`). An *element* maps a whole TLV: it knows the tags by
which it is found. A sequence is a list of *members*: an element, and the attribute it goes to. A member is the one
place that says what something is called, so a second binding (JSON) is a second name there.

Reading takes members in any order, skips elements it does not know (EXTENSIBILITY IMPLIED) and refuses one that is
there twice. Writing gives them in the order of the description. Both are native (`_fast.schema`, `_fast.sequence`); a
part with `read` and `write` of its own, in Python, has its place wherever theirs do.
"""

from typing import Any, Protocol

import msgspec
from msgspec import structs

from eim._fast.schema import Choice, Explicit, ListOf, Opaque, Sole, Tagged
from eim._fast.sequence import MANDATORY, Group, Member, Members, Sequence
from eim.asn1 import der
from eim.asn1.der import Node

__all__ = [
    "MANDATORY",
    "Choice",
    "Element",
    "Explicit",
    "Group",
    "Kept",
    "Kind",
    "ListOf",
    "Member",
    "Members",
    "Opaque",
    "Sequence",
    "Sole",
    "Tagged",
]


class Kind(Protocol):
    def read(self, data: bytes, node: Node) -> Any: ...
    def write(self, value: Any) -> bytes: ...  # the content


class Element(Protocol):
    @property
    def tags(self) -> tuple[int, ...]: ...
    def read(self, data: bytes, node: Node) -> Any: ...
    def write(self, value: Any) -> bytes: ...  # the TLV


class Kept(msgspec.Struct, frozen=True):
    """A TLV whose octets the value keeps in `raw`, and which is written from them when it has them."""

    element: Element

    @property
    def tags(self) -> tuple[int, ...]:
        return self.element.tags

    def read(self, data: bytes, node: Node) -> Any:
        return structs.replace(self.element.read(data, node), raw=der.whole(data, node))

    def write(self, value: Any) -> bytes:
        raw: bytes = value.raw
        return raw or self.element.write(value)

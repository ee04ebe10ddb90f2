"""The slow, obvious twin of `eim._fast.schema` and `eim._fast.sequence`: the description of a type, read in Python.

A *kind* maps the content of a TLV and a value (`read`, `write`). An *element* maps a whole TLV: it knows the tags by
which it is found. A sequence is a list of *members*: an element, and the attribute it goes to. A member is the one
place that says what something is called, so a second binding (JSON) is a second name there.

Reading takes members in any order, skips elements it does not know (EXTENSIBILITY IMPLIED) and refuses one that is
there twice. Writing gives them in the order of the description.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, Protocol

import msgspec
from msgspec import structs

from eim.errors import Malformed
from tests.reference import der
from tests.reference.der import Node


class Kind(Protocol):
    def read(self, data: bytes, node: Node) -> Any: ...
    def write(self, value: Any) -> bytes: ...  # the content


class Element(Protocol):
    @property
    def tags(self) -> tuple[int, ...]: ...
    def read(self, data: bytes, node: Node) -> Any: ...
    def write(self, value: Any) -> bytes: ...  # the TLV


_TWO_OCTETS: Final = 0x100


class Tagged:
    """A TLV: a tag around a kind. A tag of two octets (BF51 ..) may be there doubled, as some encoders write it.

    also  tags that other versions and peers write in its place
    """

    def __init__(self, tag: int, kind: Kind, also: tuple[int, ...] = ()) -> None:
        self.tag: Final = tag
        self.kind: Final = kind
        self.tags: Final = (tag, *also)

    def read(self, data: bytes, node: Node) -> Any:
        return self.kind.read(data, der.undouble(data, node) if self.tag >= _TWO_OCTETS else node)

    def write(self, value: Any) -> bytes:
        return der.wrap(self.tag, self.kind.write(value))


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


class Opaque(msgspec.Struct, frozen=True):
    """A TLV that nobody looks into: the value is its octets."""

    tags: tuple[int, ...]

    def read(self, data: bytes, node: Node) -> bytes:
        return der.whole(data, node)

    def write(self, value: bytes) -> bytes:
        return value


class Choice:
    """One of several classes, told apart by tag on the wire and by class here."""

    def __init__(self, alternatives: dict[type[msgspec.Struct], Element]) -> None:
        self.alternatives: Final = alternatives
        self._by_tag: Final = {tag: element for element in alternatives.values() for tag in element.tags}
        self.tags: Final = tuple(self._by_tag)

    def read(self, data: bytes, node: Node) -> Any:
        element = self._by_tag.get(node[0])
        if element is None:
            raise Malformed(f"no such alternative: tag {node[0]:X}")
        return element.read(data, node)

    def write(self, value: Any) -> bytes:
        return self.alternatives[type(value)].write(value)


class Explicit(msgspec.Struct, frozen=True):
    """A kind whose content is exactly one other element."""

    element: Element

    def read(self, data: bytes, node: Node) -> Any:
        held = der.inside(data, node)
        if len(held) != 1 or held[0][0] not in self.element.tags:
            raise Malformed(f"not one known element at tag {node[0]:X}")
        return self.element.read(data, held[0])

    def write(self, value: Any) -> bytes:
        return self.element.write(value)


class ListOf(msgspec.Struct, frozen=True):
    """SEQUENCE OF. An element with another tag is refused: it may not be dropped in silence."""

    element: Element

    def read(self, data: bytes, node: Node) -> tuple[Any, ...]:
        held = der.inside(data, node)
        tags = self.element.tags
        for child in held:
            if child[0] not in tags:
                raise Malformed(f"tag {child[0]:X} in a list that has none")
        return tuple(self.element.read(data, child) for child in held)

    def write(self, value: Iterable[Any]) -> bytes:
        return b"".join(self.element.write(item) for item in value)


class Sole(msgspec.Struct, frozen=True):
    """A class with one attribute, whose kind is the whole content."""

    cls: type[msgspec.Struct]
    name: str
    kind: Kind

    def read(self, data: bytes, node: Node) -> Any:
        return self.cls(**{self.name: self.kind.read(data, node)})

    def write(self, value: Any) -> bytes:
        return self.kind.write(getattr(value, self.name))


class Presence(Enum):
    MANDATORY = "mandatory"


MANDATORY: Final = Presence.MANDATORY


class Member(msgspec.Struct, frozen=True):
    """One member of a sequence.

    absent  what the attribute is when the element isn't there (OPTIONAL, DEFAULT); MANDATORY: it has to be
    kept    the attribute that keeps the TLV's octets: written as they are, never anew
    """

    name: str
    element: Element
    absent: object = MANDATORY
    kept: str | None = None

    @property
    def tags(self) -> tuple[int, ...]:
        return self.element.tags

    def read(self, values: dict[str, Any], data: bytes, node: Node) -> None:
        values[self.name] = self.element.read(data, node)
        if self.kept:
            values[self.kept] = der.whole(data, node)

    def miss(self, values: dict[str, Any]) -> None:
        if self.absent is MANDATORY:
            raise Malformed(f"{self.name} is missing")
        values[self.name] = self.absent

    def write(self, value: Any) -> bytes:
        if self.kept:
            octets: bytes = getattr(value, self.kept)
            return octets
        member = getattr(value, self.name)
        return b"" if self.absent is not MANDATORY and member == self.absent else self.element.write(member)


class Group:
    """An optional explicit tag whose members are attributes of the class around it: a CHOICE of plain values."""

    def __init__(self, tag: int, members: tuple[Member, ...]) -> None:
        self.tags: Final = (tag,)
        self.name: Final = members[0].name  # reading gives all of them, so the first tells whether it has happened
        self._tag: Final = tag
        self._members: Final = Members(members)

    def read(self, values: dict[str, Any], data: bytes, node: Node) -> None:
        self._members.read(values, data, der.inside(data, node))

    def miss(self, values: dict[str, Any]) -> None:
        for member in self._members.all:
            member.miss(values)

    def write(self, value: Any) -> bytes:
        content = self._members.write(value)
        return der.wrap(self._tag, content) if content else b""


class Members:
    """The members of a sequence in their order, and by tag."""

    def __init__(self, members: Iterable[Member | Group]) -> None:
        self.all: Final = tuple(members)
        self._by_tag: Final[dict[int, tuple[Member | Group, ...]]] = {}
        for member in self.all:
            for tag in member.tags:
                self._by_tag[tag] = (*self._by_tag.get(tag, ()), member)

    def read(self, values: dict[str, Any], data: bytes, held: Iterable[Node]) -> None:
        """Put what `held` says into `values`, which has none of these members yet.

        A tag that two members have goes to the first one still waiting.
        """
        for node in held:
            if node[0] in self._by_tag:
                self._read_one(values, data, node)
        self._miss(values)

    def read_readable(self, values: dict[str, Any], data: bytes, held: Iterable[Node]) -> tuple[bytes, ...]:
        """As `read`, but what can't be read counts as absent: the TLVs skipped so, also a member's second one."""
        unreadable = []
        for node in held:
            if node[0] in self._by_tag:
                try:
                    self._read_one(values, data, node)
                except Malformed:
                    unreadable.append(der.whole(data, node))
        self._miss(values)
        return tuple(unreadable)

    def _read_one(self, values: dict[str, Any], data: bytes, node: Node) -> None:
        for member in self._by_tag[node[0]]:
            if member.name not in values:
                member.read(values, data, node)
                return
        raise Malformed(f"tag {node[0]:X} once too often")

    def _miss(self, values: dict[str, Any]) -> None:
        for member in self.all:
            if member.name not in values:
                member.miss(values)

    def write(self, value: Any) -> bytes:
        return b"".join(member.write(value) for member in self.all)


class Sequence:
    """SEQUENCE as a class of ours."""

    def __init__(self, cls: type[msgspec.Struct], members: Iterable[Member | Group] = ()) -> None:
        self._cls: Final = cls
        self._members: Final = Members(members)

    def read(self, data: bytes, node: Node) -> Any:
        return self.build(data, der.inside(data, node))

    def build(self, data: bytes, held: Iterable[Node]) -> Any:
        """The value of the members `held`, wherever they lie."""
        values: dict[str, Any] = {}
        self._members.read(values, data, held)
        return self._cls(**values)

    def build_readable(self, data: bytes, held: Iterable[Node]) -> Any:
        """As `build`, but an optional member that can't be read counts as absent."""
        values: dict[str, Any] = {}
        self._members.read_readable(values, data, held)
        return self._cls(**values)

    def write(self, value: Any) -> bytes:
        return self._members.write(value)

"""A message as a tree that people can read, however broken it is. Pure: octets in, values out.

Nothing here decides anything: `asn1` is the codec, strict; this walk names what can be named, shows the rest raw and
says where it broke.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec

from eim.asn1 import der
from eim.errors import Malformed
from eim.protocol.shapes import Field, Group, Leaf, OneOf, Secret, Shape, Signature, signature_text
from eim.protocol.shapes_top import TOP

_DEEPEST: Final = 24  # TLVs inside one another that are opened
_LARGE: Final = 4_096  # octets: beyond, what something is is judged by its outermost tags
_SHORT: Final = 0x80
_LONGEST_LENGTH: Final = 4
_LONGEST_TAG: Final = 4
_UNKNOWN: Final = Group()
_HIDDEN: Final = "hidden"
_STAR: Final = b"*"
_LIKE_A_CODE: Final = re.compile(rb"(1\$[!-~]{1,255}?\$)([ -~]+)")  # an activation code, wherever it lies


class Secrets(Enum):
    """Whether activation codes, matching ids and hashed confirmation codes are to be seen."""

    HIDDEN = "hidden"
    SHOWN = "shown"


class Covered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a signature is over: octets `start` to `end` (exclusive) of the message, then what isn't in it."""

    start: int | None
    end: int | None
    what: str
    then: str = ""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One TLV, or the octets at a place where none could be read (`tag` is empty then)."""

    offset: int
    end: int  # exclusive
    tag: str  # hex
    name: str | None = None  # the standard's; None: no such tag is known here
    value: str | None = None
    hex: str | None = None  # content of what is not opened; None where it is opened, or hidden
    secret: tuple[int, int] | None = None  # the octets that must not be shown
    covers: Covered | None = None
    notes: tuple[str, ...] = ()
    broken: bool = False  # it is not all there, or no TLV is
    entries: tuple["Entry", ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """`end`: where the message ends; what is behind it doesn't belong to it."""

    size: int
    end: int
    entries: tuple[Entry, ...]
    trailing: str | None  # hex


class _Head(msgspec.Struct, frozen=True):
    tag: int
    at: int
    value: int
    end: int  # where its length says, which may be behind the octets there are
    fault: str | None = None


def explain(octets: bytes, secrets: Secrets = Secrets.HIDDEN) -> Explanation:
    """The tree of the one message that `octets` begin with."""
    head = _head(octets, 0, len(octets))
    end = min(head.end, len(octets)) if head else 0
    entries = _walk(octets, [head], TOP, 0) if head else ()
    trailing = octets[end:]
    if secrets is Secrets.HIDDEN:
        entries = tuple(map(_hidden, entries))
        trailing = _LIKE_A_CODE.sub(_mask_code, trailing)
    return Explanation(len(octets), end, entries, trailing.hex().upper() or None)


def mask(octets: bytes) -> bytes:
    """`octets` with each secret in them replaced by as many stars. The structure stays; a signature over one breaks."""
    head = _head(octets, 0, len(octets))
    entries = _walk(octets, [head], TOP, 0) if head else ()
    masked = bytearray(octets)
    for entry in every(entries):
        if entry.secret is not None:
            start, end = entry.secret
            masked[start:end] = _STAR * (end - start)
    return _LIKE_A_CODE.sub(_mask_code, bytes(masked)) if not head or head.end < len(octets) else bytes(masked)


def _mask_code(found: re.Match[bytes]) -> bytes:
    return found[1] + _STAR * len(found[2])


def every(entries: tuple[Entry, ...]) -> Iterator[Entry]:
    """All entries, outer before inner."""
    for entry in entries:
        yield entry
        yield from every(entry.entries)


def _walk(data: bytes, heads: list[_Head], group: Group, depth: int) -> tuple[Entry, ...]:
    found: list[Entry] = []
    turns: dict[int, int] = {}
    by_tag: dict[int, list[Field]] = {}
    for field in group.fields:
        by_tag.setdefault(field.tag, []).append(field)
    for head in heads:
        fields = by_tag.get(head.tag)
        if fields is None:
            found.append(_unknown(data, head, depth))
            continue
        turn = turns.get(head.tag, 0)
        turns[head.tag] = turn + 1
        field = fields[min(turn, len(fields) - 1)]
        found.append(_entry(data, head, (field.name, field.shape), found[-1:], depth))
    return tuple(found)


def _entry(data: bytes, head: _Head, meant: tuple[str, Shape], before: list[Entry], depth: int) -> Entry:
    name, shape = meant
    match shape:
        case OneOf():
            tried = [
                _entry(data, head, (other or name, each), before, depth) for other, each in _likely(data, head, shape)
            ]
            return min(tried, key=_unexplained)  # the first of equals
        case Signature():
            return _signature(data, head, name, shape, before)
        case Leaf():
            return _leaf(data, head, name, shape, depth)
        case Group():
            return _group(data, head, name, shape, depth)


def _likely(data: bytes, head: _Head, shape: OneOf) -> list[tuple[str, Shape]]:
    """The choices that know most of what is directly in `head`; of a large one only the first, to bound the work."""
    heads, _ = _heads(data, _inner_double(data, head) or head) if der.is_constructed(head.tag) else ([], None)
    tags = [inner.tag for inner in heads]
    strange = [_strange(each, tags) for _, each in shape.choices]
    found = [choice for choice, many in zip(shape.choices, strange, strict=True) if many == min(strange)]
    return found if head.end - head.value <= _LARGE else found[:1]


def _strange(shape: Shape, tags: list[int]) -> int:
    """How many of `tags` are not in `shape`."""
    if isinstance(shape, OneOf):
        return min(_strange(each, tags) for _, each in shape.choices)
    if not isinstance(shape, Group):
        return 0
    known = {field.tag for field in shape.fields}
    return sum(tag not in known for tag in tags)


def _group(data: bytes, head: _Head, name: str | None, shape: Group, depth: int) -> Entry:
    notes = _notes(head)
    doubled = _inner_double(data, head)
    if doubled is not None:
        notes += ("the tag is there twice, as some encoders write it",)
        head = msgspec.structs.replace(doubled, at=head.at)
    if depth >= _DEEPEST or not der.is_constructed(head.tag):
        why = "too deep to open" if depth >= _DEEPEST else "expected to hold TLVs, but its tag is that of a plain value"
        return _raw(data, head, name, (*notes, why))
    heads, rest = _heads(data, head)
    entries = _walk(data, heads, shape, depth + 1)
    if rest is not None:
        entries += (_broken(data, rest),)
    return Entry(
        head.at, _end(data, head), _spelt(head.tag), name, notes=notes, broken=head.fault is not None, entries=entries
    )


def _leaf(data: bytes, head: _Head, name: str, shape: Leaf, depth: int) -> Entry:
    content = data[head.value : _end(data, head)]
    secret = _secret(content, head.value, shape.secret)
    try:
        value = shape.read(content)
    except Malformed as why:
        if der.is_constructed(head.tag) and secret is None:
            return _opened(data, head, name, depth, str(why))
        return _raw(data, head, name, (*_notes(head), f"not as expected: {why}"), secret)
    return msgspec.structs.replace(_raw(data, head, name, _notes(head), secret), value=value)


def _opened(data: bytes, head: _Head, name: str, depth: int, why: str) -> Entry:
    entry = _group(data, head, name, _UNKNOWN, depth)
    return msgspec.structs.replace(entry, notes=(*entry.notes, f"not as expected: {why}"))


def _unknown(data: bytes, head: _Head, depth: int) -> Entry:
    if der.is_constructed(head.tag):
        return _group(data, head, None, _UNKNOWN, depth)
    return _raw(data, head, None, _notes(head))


def _signature(data: bytes, head: _Head, name: str, shape: Signature, before: list[Entry]) -> Entry:
    entry = _raw(data, head, name, _notes(head))
    covers = Covered(None, None, shape.over or "nothing that stands before it here", shape.then)
    if before and not shape.over:
        signed = before[0]
        covers = Covered(signed.offset, signed.end, f"{signed.tag} {signed.name or ''}".strip(), shape.then)
    value = signature_text(data[head.value : _end(data, head)])
    return msgspec.structs.replace(entry, value=value, covers=covers)


def _raw(
    data: bytes, head: _Head, name: str | None, notes: tuple[str, ...], secret: tuple[int, int] | None = None
) -> Entry:
    end = _end(data, head)
    content = data[head.value : end]
    found = secret or (_code_in(content, head.value) if name is None else None)
    return Entry(
        head.at,
        end,
        _spelt(head.tag),
        name,
        hex=content.hex().upper(),
        secret=found,
        notes=notes,
        broken=head.fault is not None,
    )


def _broken(data: bytes, rest: tuple[int, int]) -> Entry:
    at, end = rest
    content, notes = data[at:end], ("no TLV can be read here",)
    return Entry(at, end, "", hex=content.hex().upper(), secret=_code_in(content, at), notes=notes, broken=True)


def _code_in(content: bytes, at: int) -> tuple[int, int] | None:
    """Where something like an activation code begins in octets that nothing else is known of: the rest is hidden."""
    found = _LIKE_A_CODE.search(content)
    return (at + found.start(2), at + len(content)) if found else None


def _hidden(entry: Entry) -> Entry:
    if entry.secret is None:
        return msgspec.structs.replace(entry, entries=tuple(map(_hidden, entry.entries)))
    content = bytes.fromhex(entry.hex or "")
    value = _hide(content, entry.end - len(content), entry.secret)
    return msgspec.structs.replace(entry, value=value, hex=None)


def _unexplained(entry: Entry) -> int:
    own = 2 * (entry.name is None) + sum(note.startswith(("not as", "expected")) for note in entry.notes)
    return own + sum(map(_unexplained, entry.entries))


def _secret(content: bytes, at: int, secret: Secret | None) -> tuple[int, int] | None:
    """Which octets of the message are hidden: of an activation code what is behind its address, up to the next $."""
    if secret is None or not content:
        return None
    if secret is Secret.TOKEN_OF_CODE and content.count(b"$") > 1:
        start = content.index(b"$", content.index(b"$") + 1) + 1
        end = content.find(b"$", start)
        return (at + start, at + (len(content) if end < 0 else end))
    return (at, at + len(content))


def _hide(content: bytes, at: int, secret: tuple[int, int]) -> str:
    before, after = content[: secret[0] - at], content[secret[1] - at :]
    shown = (before + b"****" + after).decode("utf-8", "replace")
    return f'"{shown}" ({_HIDDEN})' if before else _HIDDEN


def _spelt(tag: int) -> str:
    return tag.to_bytes((tag.bit_length() + 7) // 8, "big").hex().upper()


def _end(data: bytes, head: _Head) -> int:
    return min(head.end, len(data))


def _notes(head: _Head) -> tuple[str, ...]:
    return (head.fault,) if head.fault else ()


def _inner_double(data: bytes, head: _Head) -> _Head | None:
    """The TLV of the same long tag that is all of `head`'s content."""
    if head.tag <= 0xFF or head.fault:
        return None
    inner = _head(data, head.value, head.end)
    return inner if inner is not None and inner.tag == head.tag and inner.end == head.end else None


def _heads(data: bytes, parent: _Head) -> tuple[list[_Head], tuple[int, int] | None]:
    """The TLVs in `parent`, and the octets (start, end) where reading stopped."""
    found: list[_Head] = []
    at, end = parent.value, _end(data, parent)
    while at < end:
        head = _head(data, at, end)
        if head is None:
            return found, (at, end)
        found.append(head)
        at = head.end
    return found, None


def _head(data: bytes, at: int, limit: int) -> _Head | None:
    """Tag and length at `at`. A length that leads behind `limit` is cut there and said; None: no tag, no length."""
    value = at + 1
    if at >= limit or data[at] == 0:
        return None
    if data[at] & 0x1F == 0x1F:
        while value < limit and data[value] & 0x80:
            value += 1
        value += 1
    if value - at > _LONGEST_TAG or value >= limit:
        return None
    tag = int.from_bytes(data[at:value], "big")
    size = data[value]
    value += 1
    if size >= _SHORT:
        many = size - _SHORT
        if many == 0 or many > _LONGEST_LENGTH or value + many > limit:
            return None
        size = int.from_bytes(data[value : value + many], "big")
        value += many
    if value + size > limit:
        return _Head(tag, at, value, limit, f"its length says {size} octets, {limit - value} are there")
    return _Head(tag, at, value, value + size)

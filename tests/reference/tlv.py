"""The slow, obvious twin of `eim._fast.tlv`: recursive descent over slices."""

from eim.errors import Malformed


def header(data: bytes, at: int, limit: int) -> tuple[int, int, int]:
    """(tag, start, end) of the value of the TLV at `at`, which ends at `limit` at the latest."""
    octets = data[at:limit]
    if not octets or octets[0] == 0:
        raise Malformed("no tag")
    size = 1
    if octets[0] & 0x1F == 0x1F:
        while octets[size : size + 1] and octets[size] >= 0x80:
            size += 1
        size += 1
        if size > 4 or size > len(octets) or octets[1] == 0x80:
            raise Malformed("no tag")
    tag, rest = octets[:size], octets[size:]
    if not rest or rest[0] in (0x80, *range(0x85, 0x100)):
        raise Malformed("no length")
    count = rest[0] - 0x80 if rest[0] > 0x80 else 0
    if len(rest) < 1 + count:
        raise Malformed("no length")
    length = int.from_bytes(rest[1 : 1 + count], "big") if count else rest[0]
    start = at + size + 1 + count
    if length > limit - start:
        raise Malformed("longer than what it is in")
    return int.from_bytes(tag, "big"), start, start + length


def children(data: bytes, start: int, end: int) -> list[tuple[int, int, int, int]]:
    if not 0 <= start <= end <= len(data):
        raise Malformed("outside")
    found = []
    while start < end:
        tag, value, stop = header(data, start, end)
        found.append((tag, start, value, stop))
        start = stop
    return found


def check(data: bytes, depth: int) -> None:
    tops = children(data, 0, len(data))
    if len(tops) != 1:
        raise Malformed("not one TLV")
    _descend(data, tops[0], depth)


def _descend(data: bytes, node: tuple[int, int, int, int], depth: int) -> None:
    if depth == 0:
        raise Malformed("too deep")
    _, at, value, end = node
    if data[at] & 0x20:
        for child in children(data, value, end):
            _descend(data, child, depth - 1)

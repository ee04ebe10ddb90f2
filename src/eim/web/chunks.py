"""The heads of chunks in a chunked body (RFC 9112 section 7.1), which the HTTP parser reads and does not show."""

_DIGITS = frozenset(b"0123456789abcdefABCDEF")


def is_plain(octets: bytes | bytearray) -> bool:
    """Whether each complete chunk's head in `octets`, the beginning of a chunked body, is its size and nothing else."""
    at = 0
    while (end := octets.find(b"\r\n", at)) >= 0:
        head = octets[at:end]
        if not head or not _DIGITS.issuperset(head):
            return False
        size = int(head, 16)
        if size == 0:
            return True
        at = end + 2 + size + 2
    return b";" not in octets[at : at + 18] if at < len(octets) else True

# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads BER with definite lengths in place (X.690 section 8.1). Bounds are checked here, once; callers may rely on them.

What is refused, on purpose: an indefinite length (80), a length of more than 4 octets (also when its leading octets
are zero), a length that leaves the TLV around it, a tag of more than 4 octets, a tag number that starts with a zero
octet (1F 80), the tag 00 (end-of-contents). What is taken: lengths longer than they need be, tag numbers below 31 in
the long form. Iterative throughout: depth costs no stack.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t

from eim.errors import Malformed

cdef enum:
    MOST_DEPTH = 64

cdef struct Header:
    uint32_t tag  # the octets of the tag, read as one number
    Py_ssize_t value  # where the value starts
    Py_ssize_t end  # where it ends


cdef bint read_header(const uint8_t* data, Py_ssize_t at, Py_ssize_t limit, Header* header) noexcept nogil:
    """The header of the TLV at `at`, which must end at `limit` or before; False when there is none."""
    cdef uint32_t tag, length = 0
    cdef int left
    if at >= limit or data[at] == 0:
        return False
    tag = data[at]
    at += 1
    if tag & 0x1F == 0x1F:
        left = 3
        while True:
            if at >= limit or left == 0 or (left == 3 and data[at] == 0x80):
                return False
            tag = tag << 8 | data[at]
            left -= 1
            at += 1
            if data[at - 1] < 0x80:
                break
    if at >= limit:
        return False
    left = data[at]
    at += 1
    if left < 0x80:
        length = <uint32_t> left
    else:
        left -= 0x80
        if left == 0 or left > 4 or left > limit - at:
            return False
        while left > 0:
            length = length << 8 | data[at]
            left -= 1
            at += 1
    if length > <size_t> (limit - at):
        return False
    header.tag = tag
    header.value = at
    header.end = at + <Py_ssize_t> length
    return True


cdef bint constructed(const uint8_t* data, Py_ssize_t at) noexcept nogil:
    return data[at] & 0x20 != 0


cdef Py_ssize_t find_fault(const uint8_t* data, Py_ssize_t size, int depth) noexcept nogil:
    """Where `data` stops being one sound TLV that nests at most `depth` deep; -1 when it is one."""
    cdef Py_ssize_t[MOST_DEPTH] ends
    cdef Py_ssize_t at = 0
    cdef int level = 0
    cdef Header header
    ends[0] = size
    while True:
        while level > 0 and at == ends[level]:
            level -= 1
        if level == 0 and at > 0:
            return -1 if at == size else at
        if not read_header(data, at, ends[level], &header):
            return at
        if constructed(data, at) and header.value < header.end:
            level += 1
            if level >= depth:
                return at
            ends[level] = header.end
            at = header.value
        else:
            at = header.end


def check(bytes data not None, int depth):
    """Raise Malformed unless `data` is exactly one TLV, sound in all constructed parts, at most `depth` (< 64) deep."""
    cdef const uint8_t* octets = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t fault
    if depth < 1 or depth > MOST_DEPTH:
        raise ValueError("depth is 1 to 64")
    with nogil:
        fault = find_fault(octets, size, depth)
    if fault >= 0:
        raise Malformed(f"no TLV at octet {fault} of {size}")


def children(bytes data not None, Py_ssize_t start, Py_ssize_t end):
    """The TLVs that fill data[start:end], each (tag, start, value, end). Malformed when they don't fill it exactly."""
    cdef const uint8_t* octets = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t at = start
    cdef Header header
    cdef list found = []
    if start < 0 or end > size or start > end:
        raise Malformed(f"octets {start} to {end} are outside of {size}")
    while at < end:
        if not read_header(octets, at, end, &header):
            raise Malformed(f"no TLV at octet {at} of {size}")
        found.append((header.tag, at, header.value, header.end))
        at = header.end
    return found

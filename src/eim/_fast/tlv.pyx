# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads BER with definite lengths in place (X.690 section 8.1). Bounds are checked here, once; callers may rely on them.

Writing goes backwards: a value, then its length, then its tag, from the end of the room there is, so that a length is
known when it is written and nothing is measured before or moved afterwards.

What is refused, on purpose: an indefinite length (80), a length of more than 4 octets (also when its leading octets
are zero), a length that leaves the TLV around it, a tag of more than 4 octets, a tag number that starts with a zero
octet (1F 80), the tag 00 (end-of-contents). What is taken: lengths longer than they need be, tag numbers below 31 in
the long form. Iterative throughout: depth costs no stack.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from eim.errors import Malformed

cdef enum:
    MOST_DEPTH = 64
    HEAD = 16  # octets of the longest tag and length, and some

cdef bint read_header(const uint8_t* data, Py_ssize_t at, Py_ssize_t limit, Header* header) noexcept nogil:
    """The header of the TLV at `at`, which must end at `limit` or before; False when there is none."""
    cdef uint32_t tag, length = 0
    cdef int left
    header.at = at
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


cdef void begin(Writer* out, uint8_t* room, Py_ssize_t size) noexcept nogil:
    """Write into `room`, which stays the caller's. Whoever begins must free `out.heap` in the end."""
    out.room = room
    out.size = size
    out.written = 0
    out.heap = NULL


cdef int make_room(Writer* out, Py_ssize_t more) except -1 nogil:
    """Room for `more` octets, which there is not: twice as much as before at least."""
    cdef Py_ssize_t size = 2 * (out.written + more)
    cdef uint8_t* room = <uint8_t*> malloc(<size_t> size)
    if room == NULL:
        with gil:
            raise MemoryError("no room for a message")
    memcpy(room + size - out.written, out.room + out.size - out.written, <size_t> out.written)
    free(out.heap)
    out.room = out.heap = room
    out.size = size
    return 0


cdef int put(Writer* out, const uint8_t* octets, Py_ssize_t size) except -1 nogil:
    """Put `size` octets in front of what is written."""
    if size > out.size - out.written:
        make_room(out, size)
    if size > 0:
        out.written += size
        memcpy(out.room + out.size - out.written, octets, <size_t> size)
    return 0


cdef int put_octet(Writer* out, uint8_t octet) except -1 nogil:
    if out.size == out.written:
        make_room(out, 1)
    out.written += 1
    out.room[out.size - out.written] = octet
    return 0


cdef int put_head(Writer* out, uint32_t tag, Py_ssize_t length) except -1 nogil:
    """Put the tag, whose octets `tag` is, and the length of the `length` octets written last."""
    cdef uint8_t* at
    cdef uint8_t count = 0
    if out.size - out.written < HEAD:
        make_room(out, HEAD)
    at = out.room + out.size - out.written
    if length < 0x80:
        at -= 1
        at[0] = <uint8_t> length
    else:
        while length > 0:
            at -= 1
            at[0] = <uint8_t> (length & 0xFF)
            length >>= 8
            count += 1
        at -= 1
        at[0] = 0x80 | count
    while tag > 0:
        at -= 1
        at[0] = <uint8_t> (tag & 0xFF)
        tag >>= 8
    out.written = out.room + out.size - at
    return 0


cdef bytes taken(Writer* out):
    """All that is written."""
    return PyBytes_FromStringAndSize(<const char*> out.room + out.size - out.written, out.written)


def wrap(uint32_t tag, bytes content not None):
    """One TLV, its length as short as can be. `tag` is its octets as one number, above zero."""
    cdef uint8_t[HEAD] room
    cdef Writer out
    cdef Py_ssize_t size = PyBytes_GET_SIZE(content)
    begin(&out, room, HEAD)
    put_head(&out, tag, size)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, out.written + size)
    memcpy(PyBytes_AS_STRING(whole), out.room + out.size - out.written, <size_t> out.written)
    memcpy(PyBytes_AS_STRING(whole) + out.written, PyBytes_AS_STRING(content), <size_t> size)
    return whole

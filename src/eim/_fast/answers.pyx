# cython: language_level=3, boundscheck=False, wraparound=False
"""Writes what an IPA hears from us, one call an answer (SGP.32 section 6.3.2): a package, a code, an acknowledgement."""
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free

from eim._fast.kinds cimport put_bytes
from eim._fast.tlv cimport Writer, begin, put_head, put_octet, taken

cdef enum:
    ROOM = 512
    SEQ_NUMBER = 0x80
    INTEGER = 0x02
    NOTIFICATIONS = 0xBF53


cdef int put_number(Writer* out, uint32_t tag, int64_t number) except -1:
    """An INTEGER as short as can be."""
    cdef Py_ssize_t before = out.written
    while True:
        put_octet(out, <uint8_t> (number & 0xFF))
        if -0x80 <= number <= 0x7F:
            return put_head(out, tag, out.written - before)
        number >>= 8


def enveloped(uint32_t tag, bytes content not None):
    """`content` as it is, in a message of this tag."""
    cdef uint8_t[ROOM] room
    cdef Writer out
    begin(&out, room, ROOM)
    try:
        put_bytes(&out, content)
        put_head(&out, tag, out.written)
        return taken(&out)
    finally:
        free(out.heap)


def coded(uint32_t tag, int64_t code):
    """A message of this tag that says a code and nothing else."""
    cdef uint8_t[ROOM] room
    cdef Writer out
    begin(&out, room, ROOM)  # which is enough
    put_number(&out, INTEGER, code)
    put_head(&out, tag, out.written)
    return taken(&out)


def acknowledged(uint32_t tag, seq_numbers not None):
    """A message of this tag whose BF53 lists the numbers, in their order."""
    cdef uint8_t[ROOM] room
    cdef Writer out
    cdef tuple numbers = tuple(seq_numbers)
    cdef Py_ssize_t left = len(numbers)
    begin(&out, room, ROOM)
    try:
        while left > 0:
            left -= 1
            put_number(&out, SEQ_NUMBER, numbers[left])
        put_head(&out, NOTIFICATIONS, out.written)
        put_head(&out, tag, out.written)
        return taken(&out)
    finally:
        free(out.heap)

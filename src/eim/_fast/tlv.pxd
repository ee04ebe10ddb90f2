# cython: language_level=3
"""The cursor and the writer, for the native modules that read and write whole messages."""
from libc.stdint cimport uint8_t, uint32_t

cdef struct Header:
    uint32_t tag  # the octets of the tag, read as one number
    Py_ssize_t at  # where the TLV starts
    Py_ssize_t value  # where the value starts
    Py_ssize_t end  # where both end

cdef struct Writer:  # fills its room from the end: value, length, tag
    uint8_t* room
    Py_ssize_t size
    Py_ssize_t written
    uint8_t* heap  # what `room` is when the caller's own was too small, else NULL

cdef bint read_header(const uint8_t* data, Py_ssize_t at, Py_ssize_t limit, Header* header) noexcept nogil
cdef bint constructed(const uint8_t* data, Py_ssize_t at) noexcept nogil
cdef Py_ssize_t find_fault(const uint8_t* data, Py_ssize_t size, int depth) noexcept nogil

cdef void begin(Writer* out, uint8_t* room, Py_ssize_t size) noexcept nogil
cdef int put(Writer* out, const uint8_t* octets, Py_ssize_t size) except -1 nogil
cdef int put_octet(Writer* out, uint8_t octet) except -1 nogil
cdef int put_head(Writer* out, uint32_t tag, Py_ssize_t length) except -1 nogil
cdef bytes taken(Writer* out)

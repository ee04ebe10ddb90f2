# cython: language_level=3
"""What every part of a description is to the native codec."""
from eim._fast.tlv cimport Header, Writer

cdef class Codec:
    cdef object read_at(self, bytes data, Header* node)
    cdef int write_to(self, object value, Writer* out) except -1

cdef class Octets(Codec):
    cdef readonly Py_ssize_t least
    cdef readonly Py_ssize_t most

cdef class Text(Codec):
    cdef readonly Py_ssize_t least
    cdef readonly Py_ssize_t most

cdef int put_bytes(Writer* out, object octets) except -1
cdef int take(bytes data, tuple node, Header* header) except -1
cdef Codec native(object part)
cdef bytes cut(bytes data, Py_ssize_t start, Py_ssize_t end)

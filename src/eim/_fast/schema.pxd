# cython: language_level=3
"""What sequences need of the other elements."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t

from eim._fast.kinds cimport Codec
from eim._fast.tlv cimport Header

cdef inline const uint8_t* octets_of(bytes data):
    return <const uint8_t*> PyBytes_AS_STRING(data)

cdef class Element(Codec):
    cdef readonly tuple tags

cdef int open_up(bytes data, Header* node) except -1
cdef int following(bytes data, Py_ssize_t at, Py_ssize_t end, Header* child) except -1
cdef Py_ssize_t slot_of(object cls, str name)
cdef object fetch(object value, object cls, Py_ssize_t slot, str name)

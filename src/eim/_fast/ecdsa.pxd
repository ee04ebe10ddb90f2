# cython: language_level=3
"""Signing keys and the loops over batches, for the native modules that sign what they assemble."""
from libc.stdint cimport uint8_t

cdef class SigningKey:
    cdef void* key
    cdef readonly int curve

cdef Py_ssize_t sign_all(void* key, const uint8_t* digests, Py_ssize_t many, uint8_t* signatures) noexcept nogil

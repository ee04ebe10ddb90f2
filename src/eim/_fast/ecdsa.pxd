# cython: language_level=3
"""Signing keys, the loops over batches and their threads, for the native modules that sign what they assemble."""
from libc.stdint cimport uint8_t

cdef class SigningKey:
    cdef void* key
    cdef readonly int curve

cdef Py_ssize_t sign_all(void* key, const uint8_t* digests, Py_ssize_t many, uint8_t* signatures) noexcept nogil

# Does start..stop-1 of a batch; how many were done before one failed. Called in several threads at once.
ctypedef Py_ssize_t (*Work)(void* batch, Py_ssize_t start, Py_ssize_t stop) noexcept nogil

cdef Py_ssize_t in_threads(Work work, void* batch, Py_ssize_t many, int threads) noexcept nogil

# cython: language_level=3
"""What other native modules may use of http.pyx."""
from libc.stdint cimport uint8_t

ctypedef struct Post:
    Py_ssize_t body  # where it begins; it ends with the segment
    Py_ssize_t admin  # where the value of X-Admin-Protocol begins, without blanks around it
    Py_ssize_t admin_size  # 0: there is none

cdef bint read_usual(const uint8_t* data, Py_ssize_t size, Py_ssize_t limit, Post* post) noexcept nogil

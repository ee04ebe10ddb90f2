# cython: language_level=3
"""What other native modules may use of known.pyx."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    BUCKETS = 1024

cdef struct Entry:
    uint32_t mark  # of the EID; with the place it stands in it tells one from another
    uint16_t more  # 16 bits more of it
    uint16_t bucket
    uint32_t source
    uint32_t taken  # 0: nobody
    double at
    double nothing  # when the question was sent that found nothing for it; 0: none did, -1: a package was there

cdef class Known:
    cdef Entry* _entries
    cdef uint64_t _mask
    cdef uint64_t _seed
    cdef double _remembered  # seconds
    cdef double _moved[BUCKETS]  # when work was last heard of
    cdef double _doubted  # when everything was
    cdef double _beat  # when the last beat was sent that was heard
    cdef readonly uint64_t hits  # how often nothing was found without a question

    cdef Entry* _set_of(self, const char* eid, uint64_t* mark) noexcept nogil
    cdef Entry* _found(self, const char* eid) noexcept nogil
    cdef bint nothing_for(self, const char* eid, uint32_t source, double since, double now) noexcept nogil
    cpdef int find(self, bytes eid, uint32_t source, double since) except? -2
    cpdef void note(self, bytes eid, uint32_t source, double now, uint16_t bucket) except *
    cpdef void note_nothing(self, bytes eid, double asked) except *
    cpdef void note_package(self, bytes eid) except *
    cpdef bint may_find_package(self, bytes eid) except *
    cpdef bint finds_nothing(self, bytes eid, uint32_t source, double since, double now) except *
    cpdef void work_came(self, uint16_t bucket, double now) except *
    cpdef void doubt_all(self, double now) noexcept
    cpdef void heard(self, double sent) noexcept
    cpdef void deafen(self) noexcept
    cpdef bint is_live(self, double now) noexcept

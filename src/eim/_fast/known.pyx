# cython: language_level=3, boundscheck=False, wraparound=False
"""Remembers of a million EIDs when each was last looked at in full, from where it called and in which bucket it lies.

A table of fixed size, four places for what falls together: the one looked at longest ago makes room. It can forget, and
take one EID for another once in 2^44 or so; what it is asked may therefore never decide whether something goes out.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef enum:
    WAYS = 4
    EID_SIZE = 16

cdef struct Entry:
    uint32_t mark  # of the EID; with the place it stands in it tells one from another
    uint16_t more  # 16 bits more of it
    uint16_t bucket
    uint32_t source
    uint32_t at  # seconds; 0: nobody


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    """The finisher of splitmix64: every bit of the result hangs on every bit of `value`."""
    value = (value ^ (value >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t> 0x94D049BB133111EB
    return value ^ (value >> 31)


cdef class Known:
    """Guards the table. `seed` is what a stranger can't know, so that he can't choose what falls together."""

    cdef Entry* _entries
    cdef uint64_t _mask
    cdef uint64_t _seed

    def __cinit__(self, uint64_t sets, uint64_t seed):
        if sets == 0 or sets & (sets - 1):
            raise ValueError("the number of sets is a power of two")
        self._entries = <Entry*> calloc(sets * WAYS, sizeof(Entry))  # pages come into being when they are written
        if self._entries is NULL:
            raise MemoryError
        self._mask = sets - 1
        self._seed = seed

    def __dealloc__(self):
        free(self._entries)

    cdef uint64_t _hash(self, bytes eid) except? 0:
        cdef uint64_t halves[2]
        if PyBytes_GET_SIZE(eid) != EID_SIZE:
            raise ValueError("an EID has 16 octets")
        memcpy(halves, PyBytes_AS_STRING(eid), EID_SIZE)
        return mixed(mixed(halves[0] ^ self._seed) + halves[1])

    cpdef int find(self, bytes eid, uint32_t source, uint32_t since) except? -2:
        """The bucket of an EID that was looked at since then and called from there; -1 when that is not known."""
        cdef uint64_t mark = self._hash(eid)
        cdef Entry* entry = self._entries + ((mark >> 48 ^ mark) & self._mask) * WAYS
        cdef int way
        for way in range(WAYS):
            if entry[way].mark == <uint32_t> (mark >> 32) and entry[way].more == <uint16_t> (mark >> 16):
                return entry[way].bucket if entry[way].source == source and entry[way].at > since else -1
        return -1

    cpdef void note(self, bytes eid, uint32_t source, uint32_t now, uint16_t bucket) except *:
        """It was looked at now. `now` is more than 0 and never goes back."""
        cdef uint64_t mark = self._hash(eid)
        cdef Entry* entry = self._entries + ((mark >> 48 ^ mark) & self._mask) * WAYS
        cdef int way
        cdef int place = 0
        for way in range(WAYS):
            if entry[way].mark == <uint32_t> (mark >> 32) and entry[way].more == <uint16_t> (mark >> 16):
                place = way
                break
            if entry[way].at < entry[place].at:
                place = way
        entry[place].mark, entry[place].more = <uint32_t> (mark >> 32), <uint16_t> (mark >> 16)
        entry[place].source, entry[place].at, entry[place].bucket = source, now, bucket

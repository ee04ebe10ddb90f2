# cython: language_level=3, boundscheck=False, wraparound=False
"""Remembers of a million EIDs when each was last looked at in full, from where it called and in which bucket it lies;
and of which of them the database said a moment ago that nothing waits.

A table of fixed size, four places for what falls together: the one looked at longest ago makes room. It can forget, and
take one EID for another once in 2^44 or so; what it is asked may therefore never decide whether something goes out.
All times are seconds of one clock that never goes back.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef enum:
    WAYS = 4
    EID_SIZE = 16

cdef double PACKAGE = -1.0  # in place of a time: a package was there
cdef double LIVE = 1.0  # seconds since a beat was sent that was heard: then all that was said before it was heard, too


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    """The finisher of splitmix64: every bit of the result hangs on every bit of `value`."""
    value = (value ^ (value >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t> 0x94D049BB133111EB
    return value ^ (value >> 31)


cdef class Known:
    """Guards the table. `seed` is what a stranger can't know, so that he can't choose what falls together.

    That nothing waits is believed (`finds_nothing`) only while work that comes is surely heard of: while a beat was heard
    that was sent less than a second ago. What is believed is younger than the last work that came in its bucket, younger
    than the last time everything was doubted, and not older than `remembered` seconds.
    """

    def __cinit__(self, uint64_t sets, uint64_t seed, double remembered=0.0):
        if sets == 0 or sets & (sets - 1):
            raise ValueError("the number of sets is a power of two")
        self._entries = <Entry*> calloc(sets * WAYS, sizeof(Entry))  # pages come into being when they are written
        if self._entries is NULL:
            raise MemoryError
        self._mask = sets - 1
        self._seed = seed
        self._remembered = remembered
        self._beat = -LIVE

    def __dealloc__(self):
        free(self._entries)

    cdef Entry* _set_of(self, const char* eid, uint64_t* mark) noexcept nogil:
        """Where an EID of 16 octets may stand."""
        cdef uint64_t halves[2]
        memcpy(halves, eid, EID_SIZE)
        mark[0] = mixed(mixed(halves[0] ^ self._seed) + halves[1])
        return self._entries + ((mark[0] >> 48 ^ mark[0]) & self._mask) * WAYS

    cdef Entry* _found(self, const char* eid) noexcept nogil:
        cdef uint64_t mark = 0
        cdef Entry* entry = self._set_of(eid, &mark)
        cdef int way
        for way in range(WAYS):
            if entry[way].mark == <uint32_t> (mark >> 32) and entry[way].more == <uint16_t> (mark >> 16):
                return entry + way if entry[way].taken else NULL
        return NULL

    cdef bint nothing_for(self, const char* eid, uint32_t source, double since, double now) noexcept nogil:
        """finds_nothing, for native callers: `eid` are 16 octets."""
        cdef Entry* entry
        if now - self._beat >= LIVE:
            return False
        entry = self._found(eid)
        if entry is NULL or entry.source != source or entry.at <= since:
            return False
        if entry.nothing <= self._moved[entry.bucket] or entry.nothing <= self._doubted:
            return False
        if now - entry.nothing >= self._remembered:
            return False
        self.hits += 1
        return True

    cpdef int find(self, bytes eid, uint32_t source, double since) except? -2:
        """The bucket of an EID that was looked at since then and called from there; -1 when that is not known."""
        cdef Entry* entry = self._found(octets_of(eid))
        return entry.bucket if entry is not NULL and entry.source == source and entry.at > since else -1

    cpdef void note(self, bytes eid, uint32_t source, double now, uint16_t bucket) except *:
        """It was looked at now. `now` never goes back."""
        cdef uint64_t mark = 0
        cdef Entry* entry = self._set_of(octets_of(eid), &mark)
        cdef int way
        cdef int place = 0
        if bucket >= BUCKETS:
            raise ValueError("a bucket is less than 1024")
        for way in range(WAYS):
            if entry[way].mark == <uint32_t> (mark >> 32) and entry[way].more == <uint16_t> (mark >> 16):
                place = way
                break
            if entry[way].at < entry[place].at:
                place = way
        entry[place].mark, entry[place].more = <uint32_t> (mark >> 32), <uint16_t> (mark >> 16)
        entry[place].source, entry[place].at, entry[place].bucket = source, now, bucket
        entry[place].taken, entry[place].nothing = 1, 0

    cpdef void note_nothing(self, bytes eid, double asked) except *:
        """The database said that nothing waits for it. `asked`: when the question was sent, not when it was answered."""
        cdef Entry* entry = self._found(octets_of(eid))
        if entry is not NULL:
            entry.nothing = asked

    cpdef void note_package(self, bytes eid) except *:
        """A package was there for it: the next poll may find one, too."""
        cdef Entry* entry = self._found(octets_of(eid))
        if entry is not NULL:
            entry.nothing = PACKAGE

    cpdef bint may_find_package(self, bytes eid) except *:
        """Whether one was there when it was last asked for. A guess, to be found out by taking it."""
        cdef Entry* entry = self._found(octets_of(eid))
        return entry is not NULL and entry.nothing == PACKAGE

    cpdef bint finds_nothing(self, bytes eid, uint32_t source, double since, double now) except *:
        """Whether it is sure without a question. `since` and `source` as for `find`."""
        return self.nothing_for(octets_of(eid), source, since, now)

    cpdef void work_came(self, uint16_t bucket, double now) except *:
        """Somebody in this bucket may have work now: what was found before is doubted."""
        if bucket >= BUCKETS:
            raise ValueError("a bucket is less than 1024")
        self._moved[bucket] = now

    cpdef void doubt_all(self, double now) noexcept:
        """Work may have come unheard."""
        self._doubted = now

    cpdef void heard(self, double sent) noexcept:
        """A beat came back that was sent then: whatever was said before it has been heard."""
        if sent > self._beat:
            self._beat = sent

    cpdef void deafen(self) noexcept:
        """Nothing is heard any more."""
        self._beat = -LIVE

    cpdef bint is_live(self, double now) noexcept:
        """Whether work that comes is surely heard of."""
        return now - self._beat < LIVE


cdef const char* octets_of(bytes eid) except NULL:
    if PyBytes_GET_SIZE(eid) != EID_SIZE:
        raise ValueError("an EID has 16 octets")
    return PyBytes_AS_STRING(eid)

# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads the message that comes millions of times a day: GetEimPackage in its plain form (SGP.32 section 6.3.2.6)."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from eim._fast.http cimport Post, read_usual
from eim._fast.known cimport Known

cdef enum:
    EID_END = 21  # BF4F len 5A 10 and 16 octets

cdef const char* BARE = b"\xbf\x4f\x12\x5a\x10"

cdef struct Poll:
    bint state_change
    int cause  # -1: none
    Py_ssize_t plmn  # where it starts; 0: none
    int plmn_tag


cdef bint read_plain(const uint8_t* data, Py_ssize_t size, Poll* poll) noexcept nogil:
    """Whether `data` is BF4F { 5A, 80?, 81?, 82? } with short lengths, in this order and nothing else."""
    cdef Py_ssize_t at = EID_END
    poll.state_change = False
    poll.cause = -1
    poll.plmn = 0
    poll.plmn_tag = 0
    if size < EID_END or size > 127 or data[0] != 0xBF or data[1] != 0x4F or data[2] != size - 3:
        return False
    if data[3] != 0x5A or data[4] != 16:
        return False
    if size - at >= 2 and data[at] == 0x80 and data[at + 1] == 0:
        poll.state_change = True
        at += 2
    if size - at >= 3 and data[at] == 0x81 and data[at + 1] == 1 and data[at + 2] < 0x80:
        poll.cause = data[at + 2]
        at += 3
    if size - at >= 5 and data[at + 1] == 3 and (data[at] == 0x82 or (data[at] == 0x81 and poll.cause < 0)):
        poll.plmn_tag = data[at]
        poll.plmn = at + 2
        at += 5
    return at == size


def read_poll(bytes data not None):
    """(eid, state change, cause or -1, PLMN or None, tag of the PLMN or 0); None when it isn't the plain form."""
    cdef const uint8_t* octets = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Poll poll
    if not read_plain(octets, PyBytes_GET_SIZE(data), &poll):
        return None
    eid = PyBytes_FromStringAndSize(<const char*> octets + 5, 16)
    plmn = PyBytes_FromStringAndSize(<const char*> octets + poll.plmn, 3) if poll.plmn else None
    return eid, bool(poll.state_change), poll.cause, plmn, poll.plmn_tag


cdef const char* posted_poll(const char* octets, Py_ssize_t size, Py_ssize_t limit, Post* post) noexcept nogil:
    """Where the EID stands in a segment that is a usual request (http.pyx) with a poll of an EID alone; NULL: it isn't."""
    if not read_usual(<const uint8_t*> octets, size, limit, post):
        return NULL
    if size - post.body != EID_END or memcmp(octets + post.body, BARE, 5) != 0:
        return NULL
    return octets + post.body + 5


def meet_posted_poll(bytes segment not None, Py_ssize_t limit, Known known not None, uint32_t source, double since,
                     double now):
    """(eid, X-Admin-Protocol or nothing, whether it surely finds nothing) of a usual request with a poll of an EID alone.

    limit  octets of a body; the others as for Known.finds_nothing
    """
    cdef const char* octets = PyBytes_AS_STRING(segment)
    cdef Post post
    cdef const char* eid = posted_poll(octets, PyBytes_GET_SIZE(segment), limit, &post)
    if eid is NULL:
        return None
    return (PyBytes_FromStringAndSize(eid, 16), PyBytes_FromStringAndSize(octets + post.admin, post.admin_size),
            known.nothing_for(eid, source, since, now))

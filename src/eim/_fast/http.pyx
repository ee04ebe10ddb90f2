# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads the HTTP request that comes millions of times a day: POST /gsma/rsp2/asn1, whole in one segment (RFC 9112).

It knows the usual form only. Whatever is not surely that, sound or not, is left to the general reader (web/reading.py),
which gives everything that is read here the same meaning.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp

cdef enum:
    MOST = 2048  # octets of such a request
    MOST_LINES = 32

cdef const char* LINE = b"POST /gsma/rsp2/asn1 HTTP/1.1\r\n"
cdef Py_ssize_t LINE_LENGTH = 31
cdef const char* MEDIA_TYPE = b"application/x-gsma-rsp-asn1"

cdef enum Seen:
    HOST = 1
    LENGTH = 2
    TYPE = 4
    ADMIN = 8
    CONNECTION = 16


cdef inline bint is_name(uint8_t octet) noexcept nogil:
    """Whether a field's name may hold it; the rarer ones that may, too, are left to the general reader."""
    return 97 <= octet | 32 <= 122 or 48 <= octet <= 57 or octet == 45 or octet == 95


cdef bint is_word(const uint8_t* at, Py_ssize_t size, const char* lower, Py_ssize_t expected) noexcept nogil:
    """Whether these octets are `lower`, in any case."""
    cdef Py_ssize_t i
    if size != expected:
        return False
    for i in range(size):
        if (at[i] | 32 if 65 <= at[i] <= 90 else at[i]) != <uint8_t> lower[i]:
            return False
    return True


cdef int known(const uint8_t* name, Py_ssize_t size) noexcept nogil:
    """Which field this is; 0: one that changes nothing; -1: one that only the general reader understands."""
    if size == 4 and is_word(name, size, b"host", 4):
        return HOST
    if size == 6 and is_word(name, size, b"expect", 6):
        return -1
    if size == 7 and is_word(name, size, b"upgrade", 7):
        return -1
    if size == 10 and is_word(name, size, b"connection", 10):
        return CONNECTION
    if size == 12 and is_word(name, size, b"content-type", 12):
        return TYPE
    if size == 14 and is_word(name, size, b"content-length", 14):
        return LENGTH
    if size == 16 and (is_word(name, size, b"proxy-connection", 16)):
        return -1
    if size == 16 and is_word(name, size, b"x-admin-protocol", 16):
        return ADMIN
    if size == 17 and is_word(name, size, b"transfer-encoding", 17):
        return -1
    return 0


cdef Py_ssize_t number(const uint8_t* at, Py_ssize_t size) noexcept nogil:
    """The number that one to five digits write; -1 when they don't."""
    cdef Py_ssize_t value = 0
    cdef Py_ssize_t i
    if size < 1 or size > 5:
        return -1
    for i in range(size):
        if at[i] < 48 or at[i] > 57:
            return -1
        value = value * 10 + at[i] - 48
    return value


cdef Py_ssize_t end_of_name(const uint8_t* data, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where the colon is behind the name that begins at `at`; -1 when there is no such name."""
    cdef Py_ssize_t end = at
    while end < size and is_name(data[end]):
        end += 1
    return end if end > at and end < size and data[end] == 58 else -1


cdef Py_ssize_t end_of_value(const uint8_t* data, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where the CR LF is that ends the value that begins at `at`; -1 when another octet than printable ones comes."""
    cdef Py_ssize_t end = at
    while end < size and (32 <= data[end] <= 126 or data[end] == 9):
        end += 1
    return end if end < size - 1 and data[end] == 13 and data[end + 1] == 10 else -1


cdef bint read_usual(const uint8_t* data, Py_ssize_t size, Py_ssize_t limit, Post* post) noexcept nogil:
    """Whether `data` is one such request and nothing else, with a body of `limit` octets at most."""
    cdef Py_ssize_t at = LINE_LENGTH
    cdef Py_ssize_t colon, start, end, stop
    cdef Py_ssize_t length = -1
    cdef int seen = 0
    cdef int field
    cdef int lines = 0
    post.admin = post.admin_size = 0
    if size < LINE_LENGTH + 4 or size > MOST or memcmp(data, LINE, LINE_LENGTH) != 0:
        return False
    while data[at] != 13:
        lines += 1
        colon = end_of_name(data, at, size)
        if colon < 0 or lines > MOST_LINES:
            return False
        stop = end_of_value(data, colon + 1, size)
        if stop < 0 or stop + 3 >= size:
            return False
        start, end = colon + 1, stop
        while start < end and (data[start] == 32 or data[start] == 9):
            start += 1
        while end > start and (data[end - 1] == 32 or data[end - 1] == 9):
            end -= 1
        field = known(data + at, colon - at)
        if field < 0 or field & seen:
            return False
        seen |= field
        if field == LENGTH:
            length = number(data + start, end - start)
            if length < 0 or length > limit:
                return False
        elif field == TYPE and not is_word(data + start, end - start, MEDIA_TYPE, 27):
            return False
        elif field == CONNECTION and not is_word(data + start, end - start, b"keep-alive", 10):
            return False
        elif field == ADMIN:
            post.admin, post.admin_size = start, end - start
        at = stop + 2
    if data[at + 1] != 10 or not seen & HOST or length != size - at - 2:
        return False
    post.body = at + 2
    return True


def read_post(bytes segment not None, Py_ssize_t limit):
    """(body, X-Admin-Protocol or nothing) of a segment that is one usual request; None: leave it to the general reader.

    limit  octets of a body
    """
    cdef const char* octets = PyBytes_AS_STRING(segment)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(segment)
    cdef Post post
    if not read_usual(<const uint8_t*> octets, size, limit, &post):
        return None
    body = PyBytes_FromStringAndSize(octets + post.body, size - post.body)
    return body, PyBytes_FromStringAndSize(octets + post.admin, post.admin_size)

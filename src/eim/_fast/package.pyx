# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Makes signed eUICC packages, thousands in one call (SGP.32 section 2.11.1.1).

Of each package all lengths are known before an octet is written, its signature being 64 octets. So its TLV is allocated
once, at its size, and written there from its end to its start. What is signed is the EuiccPackageSigned with the
associationToken behind it, which does not travel: it is written where the signature will be, hashed, and overwritten.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from eim._fast.ecdsa cimport SigningKey, sign_all
from eim._fast.libcrypto cimport DIGEST, SIGNATURE, crypto, sha256

cdef enum:
    EID = 16
    SIGNED_BY = 3  # octets in front of the signature: 5F 37 40
    MOST_NAME = 16
    MOST_CONTENTS = 1 << 20

cdef struct Job:  # one package: what it is made of, and where
    const uint8_t* eid
    const uint8_t* name
    Py_ssize_t name_size  # 0: it has no transaction id
    const uint8_t* contents
    Py_ssize_t contents_size
    int64_t counter
    int64_t token
    uint8_t* start  # of the whole TLV
    uint8_t* end
    uint8_t* signed  # the EuiccPackageSigned
    uint8_t* signature  # the 5F 37 40 in front of it


cdef Py_ssize_t octets_of(int64_t value) noexcept nogil:
    """How many octets the INTEGER takes at least."""
    cdef Py_ssize_t many = 1
    value ^= value >> 63
    while value > 0x7F:
        value >>= 8
        many += 1
    return many


cdef Py_ssize_t with_length(Py_ssize_t size) noexcept nogil:
    """The octets of a value of `size` octets together with its length."""
    cdef Py_ssize_t many = 1
    cdef Py_ssize_t left = size
    if size > 0x7F:
        while left > 0:
            left >>= 8
            many += 1
    return many + size


cdef uint8_t* put_length(uint8_t* at, Py_ssize_t size) noexcept nogil:
    """The length, shortest form, to end before `at`; where it begins."""
    cdef uint8_t* end = at
    if size <= 0x7F:
        at -= 1
        at[0] = <uint8_t> size
        return at
    while size > 0:
        at -= 1
        at[0] = <uint8_t> (size & 0xFF)
        size >>= 8
    at -= 1
    at[0] = <uint8_t> (0x80 + (end - at - 1))
    return at


cdef uint8_t* put(uint8_t* at, uint8_t tag, const uint8_t* value, Py_ssize_t size) noexcept nogil:
    """One TLV of a one-octet tag, to end before `at`; where it begins."""
    at = <uint8_t*> memcpy(at - size, value, size)
    at = put_length(at, size) - 1
    at[0] = tag
    return at


cdef uint8_t* put_integer(uint8_t* at, uint8_t tag, int64_t value) noexcept nogil:
    """The same for an INTEGER."""
    cdef Py_ssize_t size = octets_of(value)
    cdef uint8_t* start = at - size
    while at > start:
        at -= 1
        at[0] = <uint8_t> (value & 0xFF)
        value >>= 8
    at -= 2
    at[0] = tag
    at[1] = <uint8_t> size
    return at


cdef Py_ssize_t signed_size(const Job* job, Py_ssize_t eim_id_size) noexcept nogil:
    """The octets inside the EuiccPackageSigned."""
    cdef Py_ssize_t size = 1 + with_length(eim_id_size) + 2 + EID + 2 + octets_of(job.counter) + job.contents_size
    return size + 2 + job.name_size if job.name_size else size


cdef bint write(Job* job, const uint8_t* eim_id, Py_ssize_t eim_id_size) noexcept nogil:
    """All of the package but its signature. False: it did not fill its place, which can't be."""
    cdef uint8_t* at = job.end - SIGNATURE - SIGNED_BY
    job.signature = at
    at = <uint8_t*> memcpy(at - job.contents_size, job.contents, job.contents_size)
    if job.name_size:
        at = put(at, 0x82, job.name, job.name_size)
    at = put_integer(at, 0x81, job.counter)
    at = put(at, 0x5A, job.eid, EID)
    at = put(at, 0x80, eim_id, eim_id_size)
    at = put_length(at, job.signature - at) - 1
    at[0] = 0x30
    job.signed = at
    at = put_length(at, job.end - at) - 2
    at[0] = 0xBF
    at[1] = 0x51
    return at == job.start


cdef Py_ssize_t put_token(Job* job) noexcept nogil:
    """The associationToken behind the EuiccPackageSigned, for as long as it is hashed; how long both are together."""
    cdef Py_ssize_t size = 2 + octets_of(job.token)
    put_integer(job.signature + size, 0x84, job.token)
    return job.signature + size - job.signed


cdef uint8_t* put_signature_tag(Job* job) noexcept nogil:
    """Over the token again; where the signature belongs."""
    job.signature[0] = 0x5F
    job.signature[1] = 0x37
    job.signature[2] = SIGNATURE
    return job.signature + SIGNED_BY


cdef Py_ssize_t seal_all(
    void* key, Job* jobs, Py_ssize_t many, const uint8_t* eim_id, Py_ssize_t eim_id_size
) noexcept nogil:
    """Write, hash and sign each; how many were made before one failed."""
    cdef uint8_t digest[DIGEST]
    cdef Py_ssize_t at
    for at in range(many):
        if not write(&jobs[at], eim_id, eim_id_size):
            return at
        sha256(jobs[at].signed, put_token(&jobs[at]), digest)
        if sign_all(key, digest, 1, put_signature_tag(&jobs[at])) != 1:
            return at
    return many


cdef bytes lay_out(Job* job, tuple item, Py_ssize_t eim_id_size):
    """Read one item into `job`; the octets, yet to be written, of its package. Raises ValueError."""
    cdef bytes eid = item[0], contents = item[4]
    cdef object name = item[2], token = item[3]
    if PyBytes_GET_SIZE(eid) != EID or not 0 < PyBytes_GET_SIZE(contents) <= MOST_CONTENTS:
        raise ValueError("an EID is 16 octets, and a package has contents")
    if name is not None and not 0 < PyBytes_GET_SIZE(<bytes?> name) <= MOST_NAME:
        raise ValueError("a transaction id is 1 to 16 octets")
    job.eid = <const uint8_t*> PyBytes_AS_STRING(eid)
    job.counter = item[1]
    job.name = <const uint8_t*> PyBytes_AS_STRING(<bytes> name) if name is not None else NULL
    job.name_size = PyBytes_GET_SIZE(<bytes> name) if name is not None else 0
    job.token = token if token is not None else 0
    job.contents = <const uint8_t*> PyBytes_AS_STRING(contents)
    job.contents_size = PyBytes_GET_SIZE(contents)
    cdef Py_ssize_t inside = 1 + with_length(signed_size(job, eim_id_size)) + SIGNED_BY + SIGNATURE
    cdef bytes made = PyBytes_FromStringAndSize(NULL, 2 + with_length(inside))
    job.start = <uint8_t*> PyBytes_AS_STRING(made)
    job.end = job.start + PyBytes_GET_SIZE(made)
    return made


cdef list lay_out_all(Job* jobs, list items, Py_ssize_t eim_id_size):
    cdef Py_ssize_t at
    cdef tuple item
    cdef list made = []
    for at in range(len(items)):
        item = items[at]
        if item is None or len(item) != 5 or item[0] is None or item[4] is None:
            raise ValueError("a package is made of an EID, counter, transaction id, token and contents")
        made.append(lay_out(&jobs[at], item, eim_id_size))
    return made


cdef Job* jobs_for(Py_ssize_t many) except NULL:
    cdef Job* jobs = <Job*> calloc(many + 1, sizeof(Job))
    if jobs == NULL:
        raise MemoryError("no memory for a batch of packages")
    return jobs


def seal_batch(SigningKey key not None, bytes eim_id not None, items):
    """The complete BF51 TLVs of `items`, in their order, signed with `key`. One pass without the GIL.

    eim_id  UTF-8
    items   (EID of 16 octets, counter, transaction id or None, association token or None, contents) each: `contents`
            is the complete TLV of its list of PSMOs (A0) or eCOs (A1), the token None is signed as zero

    Raises ValueError for sizes that can't be, OverflowError for numbers of more than 64 bits, MemoryError, RuntimeError
    when libcrypto fails: nothing is sealed then.
    """
    cdef list held = list(items)  # nobody takes the octets away meanwhile
    cdef Py_ssize_t many = len(held), done
    cdef const uint8_t* name = <const uint8_t*> PyBytes_AS_STRING(eim_id)
    cdef Py_ssize_t name_size = PyBytes_GET_SIZE(eim_id)
    cdef void* secret = key.key
    cdef Job* jobs = jobs_for(many)
    try:
        made = lay_out_all(jobs, held, name_size)
        with nogil:
            done = seal_all(secret, jobs, many, name, name_size)
            crypto.clear_errors()
    finally:
        free(jobs)
    if done != many:
        raise RuntimeError(f"libcrypto signed {done} of {many}")
    return made


def seal_each(sign, bytes eim_id not None, items):
    """`seal_batch` with another's signatures: `sign` is called with what is to be signed, and gives r || s of 64 octets.

    Raises ValueError also for a signature of another size, and whatever `sign` raises.
    """
    cdef list held = list(items)
    cdef Py_ssize_t many = len(held), at
    cdef const uint8_t* name = <const uint8_t*> PyBytes_AS_STRING(eim_id)
    cdef Py_ssize_t name_size = PyBytes_GET_SIZE(eim_id)
    cdef bytes signature
    cdef Job* jobs = jobs_for(many)
    try:
        made = lay_out_all(jobs, held, name_size)
        for at in range(many):
            if not write(&jobs[at], name, name_size):
                raise RuntimeError("a package did not fill its place")
            signature = sign(PyBytes_FromStringAndSize(<const char*> jobs[at].signed, put_token(&jobs[at])))
            if signature is None or PyBytes_GET_SIZE(signature) != SIGNATURE:
                raise ValueError("a signature has 64 octets, r || s")
            memcpy(put_signature_tag(&jobs[at]), PyBytes_AS_STRING(signature), SIGNATURE)
    finally:
        free(jobs)
    return made

# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads the message that ends each operation: ProvideEimPackageResult in its plain form (SGP.32 section 6.3.2.7).

BF50 { 5A?, BF51 { A0 { 30 { 80, 81, 82, 83, 30 { codes } }, 5F37 } } }, or BF51 in a 30, with an empty list behind it or
none: one signed result with nothing beside it, whose operations each answered with a code. Whatever is not surely that
is left to the general reader (asn1/esipa.py), which gives everything that is read here the same meaning.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from eim._fast.tlv cimport Header, read_header

cdef enum:
    PROVIDE = 0xBF50
    EID = 0x5A
    RESULT = 0xBF51
    ARM = 0xA0
    SEQUENCE = 0x30
    SIGNATURE = 0x5F37
    EIM_ID = 0x80
    COUNTER = 0x81
    TRANSACTION = 0x82
    SEQ_NUMBER = 0x83
    EID_SIZE = 16
    SIGNATURE_SIZE = 64
    MOST_TRANSACTION = 16
    MOST_TEXT = 127
    WIDEST = 8  # octets of a number
    MOST_CODES = 32
    BARE = 0
    LIST = 1
    RETRIEVED = 2

cdef const char* EMPTY_LIST = b"\xa0\x00"
cdef const char* NONE_RETRIEVED = b"\xbf\x2b\x02\xa0\x00"

cdef struct Plain:
    bint named  # the eUICC is
    int envelope
    Header eid
    Header result
    Header signed
    Header eim_id
    Header counter
    Header transaction
    Header seq_number
    Header codes
    Header signature


cdef inline bint only(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint32_t tag, Header* header) noexcept nogil:
    """Whether what fills data[at:end] is one TLV of this tag."""
    return read_header(data, at, end, header) and header.tag == tag and header.end == end


cdef inline bint next_is(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint32_t tag, Py_ssize_t least,
                         Py_ssize_t most, Header* header) noexcept nogil:
    """Whether a TLV of this tag, whose value has so many octets, starts at `at`."""
    if not read_header(data, at, end, header) or header.tag != tag:
        return False
    return least <= header.end - header.value <= most


cdef bint is_text(const uint8_t* data, const Header* header) noexcept nogil:
    """Whether it is text of ASCII alone, without NUL."""
    cdef Py_ssize_t at
    for at in range(header.value, header.end):
        if data[at] == 0 or data[at] >= 0x80:
            return False
    return True


cdef bint read_signed(const uint8_t* data, Plain* plain) noexcept nogil:
    """Whether the signed part holds the five members that it has to, in their order and nothing else."""
    cdef Py_ssize_t at = plain.signed.value
    cdef Py_ssize_t end = plain.signed.end
    if not next_is(data, at, end, EIM_ID, 1, MOST_TEXT, &plain.eim_id) or not is_text(data, &plain.eim_id):
        return False
    if not next_is(data, plain.eim_id.end, end, COUNTER, 1, WIDEST, &plain.counter):
        return False
    if not next_is(data, plain.counter.end, end, TRANSACTION, 1, MOST_TRANSACTION, &plain.transaction):
        return False
    if not next_is(data, plain.transaction.end, end, SEQ_NUMBER, 1, WIDEST, &plain.seq_number):
        return False
    return only(data, plain.seq_number.end, end, SEQUENCE, &plain.codes)


cdef bint is_alone(const uint8_t* data, Py_ssize_t end, Plain* plain) noexcept nogil:
    """Whether nothing follows the result but perhaps, in its list, an empty one."""
    cdef const char* rest = <const char*> data + plain.result.end
    cdef Py_ssize_t left = end - plain.result.end
    if left == 0 or plain.envelope == BARE:
        return left == 0
    if left == 5 and memcmp(rest, NONE_RETRIEVED, 5) == 0:
        plain.envelope = RETRIEVED
        return True
    return left == 2 and memcmp(rest, EMPTY_LIST, 2) == 0


cdef bint read_plain(const uint8_t* data, Py_ssize_t size, Plain* plain) noexcept nogil:
    cdef Header message
    cdef Header around
    cdef Header arm
    cdef Py_ssize_t at
    if not only(data, 0, size, PROVIDE, &message):
        return False
    at = message.value
    plain.named = next_is(data, at, message.end, EID, EID_SIZE, EID_SIZE, &plain.eid)
    if plain.named:
        at = plain.eid.end
    plain.envelope = BARE
    if only(data, at, message.end, SEQUENCE, &around):
        plain.envelope = LIST
        at = around.value
    if not next_is(data, at, message.end, RESULT, 0, message.end - at, &plain.result):
        return False
    if not is_alone(data, message.end, plain):
        return False
    if not only(data, plain.result.value, plain.result.end, ARM, &arm):
        return False
    if not next_is(data, arm.value, arm.end, SEQUENCE, 0, arm.end - arm.value, &plain.signed):
        return False
    if not only(data, plain.signed.end, arm.end, SIGNATURE, &plain.signature):
        return False
    if plain.signature.end - plain.signature.value != SIGNATURE_SIZE:
        return False
    return read_signed(data, plain)


cdef object number(const uint8_t* data, const Header* header):
    """The INTEGER, of one to WIDEST octets, two's complement."""
    cdef uint64_t value = ~(<uint64_t> 0) if data[header.value] & 0x80 else 0
    cdef Py_ssize_t at
    for at in range(header.value, header.end):
        value = value << 8 | data[at]
    return <int64_t> value


cdef bytes cut(const uint8_t* data, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(<const char*> data + start, end - start)


cdef list read_codes(const uint8_t* data, const Header* codes):
    """(tag, code, octets) of each; None when one is something else than a code."""
    cdef Header held
    cdef list found = []
    cdef Py_ssize_t at = codes.value
    while at < codes.end:
        if not read_header(data, at, codes.end, &held) or held.tag > 0xFF or held.tag & 0x20:
            return None
        if not 1 <= held.end - held.value <= WIDEST or len(found) == MOST_CODES:
            return None
        found.append((held.tag, number(data, &held), cut(data, held.at, held.end)))
        at = held.end
    return found


def read_result(bytes data not None):
    """What a message in the plain form says; None when it isn't that.

    (EID or None, 0: as it is, 1: in a list, 2: in one of v1.0.1), (octets of the signed TLV, signature, octets of BF51),
    (eimId, counter, transaction id, seqNumber), [(tag, code, octets of the TLV) of each operation]
    """
    cdef const uint8_t* octets = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Plain plain
    cdef list codes
    if not read_plain(octets, PyBytes_GET_SIZE(data), &plain):
        return None
    codes = read_codes(octets, &plain.codes)
    if codes is None:
        return None
    eid = cut(octets, plain.eid.value, plain.eid.end) if plain.named else None
    parts = (cut(octets, plain.signed.at, plain.signed.end), cut(octets, plain.signature.value, plain.signature.end),
             cut(octets, plain.result.at, plain.result.end))
    text = PyUnicode_DecodeASCII(<const char*> octets + plain.eim_id.value, plain.eim_id.end - plain.eim_id.value, NULL)
    said = (text, number(octets, &plain.counter), cut(octets, plain.transaction.value, plain.transaction.end),
            number(octets, &plain.seq_number))
    return (eid, plain.envelope), parts, said, codes

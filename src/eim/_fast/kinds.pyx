# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The simple types on the wire: how a TLV's content and a Python value map (X.690 section 8). Tags are the schema's matter.

Reading and writing are called from Python with octets and a node (tag, where the TLV starts, its value starts, it ends),
and from the other parts of a description without either being made.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr

from eim._fast.tlv cimport Header, Writer, begin, put, put_octet, taken

from eim.errors import Malformed

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    ROOM = 512  # octets: more than nearly every message has
    WIDEST = 8  # octets of an INTEGER: what a database bigint holds


cdef bytes cut(bytes data, Py_ssize_t start, Py_ssize_t end):
    """data[start:end], which lies inside."""
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)


cdef int put_bytes(Writer* out, object octets) except -1:
    """Put them in front of what is written. Raises TypeError for anything but bytes, None too."""
    if not isinstance(octets, bytes):
        raise TypeError(f"octets are bytes, not {type(octets).__name__}")
    return put(out, <const uint8_t*> PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))


cdef int take(bytes data, tuple node, Header* header) except -1:
    """A node as Python has it. Raises Malformed when it does not lie inside `data`, behind which Python has a zero octet."""
    header.tag, header.at, header.value, header.end = node
    if not 0 <= header.at <= header.value <= header.end <= PyBytes_GET_SIZE(data):
        raise Malformed(f"no TLV from {header.at} to {header.end}")
    return 0


cdef class Codec:
    """Maps octets and a value both ways: a kind the content of a TLV, an element the whole TLV."""

    cdef object read_at(self, bytes data, Header* node):
        raise NotImplementedError

    cdef int write_to(self, object value, Writer* out) except -1:
        raise NotImplementedError

    def read(self, bytes data not None, tuple node not None):
        """The value at `node`. Raises Malformed, also for a node that does not lie inside `data`."""
        cdef Header header
        take(data, node, &header)
        return self.read_at(data, &header)

    def write(self, value):
        """The octets of `value`."""
        cdef uint8_t[ROOM] room
        cdef Writer out
        begin(&out, room, ROOM)
        try:
            self.write_to(value, &out)
            return taken(&out)
        finally:
            free(out.heap)


cdef class ByPython(Codec):
    """A part of a description that is written in Python."""

    cdef object part

    def __cinit__(self, part):
        self.part = part

    cdef object read_at(self, bytes data, Header* node):
        return self.part.read(data, (node.tag, node.at, node.value, node.end))

    cdef int write_to(self, object value, Writer* out) except -1:
        return put_bytes(out, self.part.write(value))


cdef Codec native(object part):
    """`part` as the other parts call it."""
    return <Codec> part if isinstance(part, Codec) else ByPython(part)


cdef class Integer(Codec):
    """INTEGER and ENUMERATED, two's complement. Longer than need be is read, more than 8 octets is not."""

    cdef object read_at(self, bytes data, Header* node):
        cdef const uint8_t* octets = <const uint8_t*> PyBytes_AS_STRING(data) + node.value
        cdef Py_ssize_t at, size = node.end - node.value
        cdef uint64_t number
        if size < 1 or size > WIDEST:
            raise Malformed(f"an INTEGER of {size} octets")
        number = ~(<uint64_t> 0) if octets[0] & 0x80 else 0
        for at in range(size):
            number = number << 8 | octets[at]
        return <int64_t> number

    cdef int write_to(self, object value, Writer* out) except -1:
        cdef int overflow = 0
        cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            return put_bytes(out, value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True))
        while True:
            put_octet(out, <uint8_t> (number & 0xFF))
            if -0x80 <= number <= 0x7F:
                return 0
            number >>= 8  # of a negative one too: compilers for Linux shift the sign in


cdef class Octets(Codec):
    """OCTET STRING, and whatever else we keep as content octets."""

    def __init__(self, Py_ssize_t least=0, Py_ssize_t most=1 << 20):
        self.least = least
        self.most = most

    cdef object read_at(self, bytes data, Header* node):
        cdef Py_ssize_t size = node.end - node.value
        if size < self.least or size > self.most:
            raise Malformed(f"{size} octets at tag {node.tag:X}, not {self.least} to {self.most}")
        return cut(data, node.value, node.end)

    cdef int write_to(self, object value, Writer* out) except -1:
        return put_bytes(out, value)


cdef class Text(Codec):
    """UTF8String of so many characters. Overlong forms, surrogates and NUL are refused."""

    def __init__(self, Py_ssize_t least=0, Py_ssize_t most=1 << 20):
        self.least = least
        self.most = most

    cdef object read_at(self, bytes data, Header* node):
        cdef const char* octets = PyBytes_AS_STRING(data) + node.value
        cdef Py_ssize_t size = node.end - node.value
        cdef str text
        try:
            text = PyUnicode_DecodeUTF8(octets, size, NULL)
        except UnicodeDecodeError:
            raise Malformed(f"no UTF-8 at tag {node.tag:X}") from None
        if not self.least <= len(text) <= self.most or memchr(octets, 0, <size_t> size) != NULL:
            raise Malformed(f"a text of {len(text)} characters at tag {node.tag:X} that can't be taken")
        return text

    cdef int write_to(self, object value, Writer* out) except -1:
        cdef Py_ssize_t size = 0
        cdef const char* octets = PyUnicode_AsUTF8AndSize(value, &size)
        return put(out, <const uint8_t*> octets, size)


cdef class LooseText(Text):
    """UTF8String that somebody else put on the card: one that Text would refuse reads as None, and hurts nobody."""

    cdef object read_at(self, bytes data, Header* node):
        try:
            return Text.read_at(self, data, node)
        except Malformed:
            return None


cdef class Null(Codec):
    """Its being there is the value: True."""

    cdef object read_at(self, bytes data, Header* node):
        if node.value != node.end:
            raise Malformed(f"a NULL with content at tag {node.tag:X}")
        return True

    cdef int write_to(self, object value, Writer* out) except -1:
        return 0


cdef class Boolean(Codec):
    """Anything but 00 is true."""

    cdef object read_at(self, bytes data, Header* node):
        if node.end - node.value != 1:
            raise Malformed(f"a BOOLEAN of {node.end - node.value} octets")
        return PyBytes_AS_STRING(data)[node.value] != 0

    cdef int write_to(self, object value, Writer* out) except -1:
        return put_octet(out, 0xFF if value else 0)

# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The description of a type, from which its octets come both ways; what may be said with it is in `asn1/schema.py`.

The classes that a description names are its own matter: here they are something to call with values, and whose
attributes are read. Where a class keeps an attribute in a slot, its place is looked up once.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from eim._fast.kinds cimport Codec, cut, native, put_bytes
from eim._fast.tlv cimport Header, Writer, constructed, put_head, read_header

from eim.errors import Malformed

cdef extern from *:
    """
    #include <Python.h>
    #include <structmember.h>

    /* Where objects of the type keep what `descriptor` gives; -1 when it is no slot. */
    static Py_ssize_t eim_slot(PyObject *descriptor) {
        PyMemberDef *member;
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) return -1;
        member = ((PyMemberDescrObject *) descriptor)->d_member;
        return member->type == T_OBJECT_EX ? member->offset : -1;
    }
    static PyObject *eim_at(PyObject *value, Py_ssize_t slot) {
        return *(PyObject **) ((char *) value + slot);
    }
    """
    Py_ssize_t eim_slot(object descriptor) noexcept
    PyObject* eim_at(object value, Py_ssize_t slot) noexcept

cdef int open_up(bytes data, Header* node) except -1:
    """Raise Malformed when the TLV is primitive: it holds no others."""
    if not constructed(octets_of(data), node.at):
        raise Malformed(f"tag {node.tag:X} holds no TLVs")
    return 0


cdef int following(bytes data, Py_ssize_t at, Py_ssize_t end, Header* child) except -1:
    """The TLV at `at`. Raises Malformed when there is none that ends at `end` or before."""
    if not read_header(octets_of(data), at, end, child):
        raise Malformed(f"no TLV at octet {at} of {end}")
    return 0


cdef bint holds(tuple tags, uint32_t tag):
    cdef object each
    for each in tags:
        if <uint32_t> each == tag:
            return True
    return False


cdef class Element(Codec):
    """A whole TLV, found by its tags."""


cdef class Tagged(Element):
    """A tag around a kind. A tag of two octets (BF51 ..) may be there doubled, as some encoders write it."""

    cdef readonly uint32_t tag
    cdef readonly object kind
    cdef Codec content

    def __init__(self, uint32_t tag, kind, tuple also=()):
        self.tag = tag
        self.tags = (tag, *also)
        self.kind = kind
        self.content = native(kind)

    cdef object read_at(self, bytes data, Header* node):
        cdef Header inner
        if self.tag < 0x100:
            return self.content.read_at(data, node)
        inner = node[0]
        undouble(octets_of(data), &inner)
        return self.content.read_at(data, &inner)

    cdef int write_to(self, object value, Writer* out) except -1:
        cdef Py_ssize_t before = out.written
        self.content.write_to(value, out)
        return put_head(out, self.tag, out.written - before)


cdef void undouble(const uint8_t* data, Header* node) noexcept:
    """Go on to the TLV of the same tag that is all that `node` holds, as long as there is one."""
    cdef Header child
    while constructed(data, node.at) and read_header(data, node.value, node.end, &child):
        if child.tag != node.tag or child.end != node.end:
            return
        node[0] = child


cdef class Opaque(Element):
    """A TLV that nobody looks into: the value is its octets."""

    def __init__(self, tuple tags):
        self.tags = tags

    cdef object read_at(self, bytes data, Header* node):
        return cut(data, node.at, node.end)

    cdef int write_to(self, object value, Writer* out) except -1:
        return put_bytes(out, value)


cdef class Choice(Element):
    """One of several classes, told apart by tag on the wire and by class here."""

    cdef readonly dict alternatives
    cdef dict by_tag
    cdef dict by_class

    def __init__(self, dict alternatives):
        self.alternatives = alternatives
        self.by_class = {cls: native(element) for cls, element in alternatives.items()}
        self.by_tag = {tag: native(element) for element in alternatives.values() for tag in element.tags}
        self.tags = tuple(self.by_tag)

    cdef object read_at(self, bytes data, Header* node):
        cdef object element = self.by_tag.get(node.tag)
        if element is None:
            raise Malformed(f"no such alternative: tag {node.tag:X}")
        return (<Codec> element).read_at(data, node)

    cdef int write_to(self, object value, Writer* out) except -1:
        return (<Codec> self.by_class[type(value)]).write_to(value, out)


cdef class Explicit(Codec):
    """A kind whose content is exactly one other element."""

    cdef readonly object element
    cdef Codec held

    def __init__(self, element):
        self.element = element
        self.held = native(element)

    cdef object read_at(self, bytes data, Header* node):
        cdef Header child
        open_up(data, node)
        following(data, node.value, node.end, &child)
        if child.end != node.end or not holds(self.element.tags, child.tag):
            raise Malformed(f"not one known element at tag {node.tag:X}")
        return self.held.read_at(data, &child)

    cdef int write_to(self, object value, Writer* out) except -1:
        return self.held.write_to(value, out)


cdef class ListOf(Codec):
    """SEQUENCE OF. An element with another tag is refused: it may not be dropped in silence."""

    cdef readonly object element
    cdef Codec held
    cdef tuple tags

    def __init__(self, element):
        self.element = element
        self.held = native(element)
        self.tags = tuple(element.tags)

    cdef object read_at(self, bytes data, Header* node):
        cdef Header child
        cdef Py_ssize_t at = node.value
        cdef list found = []
        open_up(data, node)
        while at < node.end:
            following(data, at, node.end, &child)
            if not holds(self.tags, child.tag):
                raise Malformed(f"tag {child.tag:X} in a list that has none")
            found.append(self.held.read_at(data, &child))
            at = child.end
        return tuple(found)

    cdef int write_to(self, object value, Writer* out) except -1:
        cdef tuple items = tuple(value)
        cdef Py_ssize_t left = len(items)
        while left > 0:
            left -= 1
            self.held.write_to(items[left], out)
        return 0


cdef Py_ssize_t slot_of(object cls, str name):
    """Where objects of exactly this class keep the attribute; -1 when only asking for it by name is sound."""
    return -1 if cls is None else eim_slot(getattr(cls, name, None))


cdef object fetch(object value, object cls, Py_ssize_t slot, str name):
    """The attribute of `value`."""
    cdef PyObject* found
    if slot >= 0 and type(value) is cls:
        found = eim_at(value, slot)
        if found != NULL:
            return <object> found
    return getattr(value, name)


cdef class Sole(Codec):
    """A class with one attribute, whose kind is the whole content."""

    cdef readonly object cls
    cdef readonly str name
    cdef readonly object kind
    cdef Codec content
    cdef Py_ssize_t slot

    def __init__(self, cls, str name, kind):
        self.cls = cls
        self.name = name
        self.kind = kind
        self.content = native(kind)
        self.slot = slot_of(cls, name)

    cdef object read_at(self, bytes data, Header* node):
        return self.cls(**{self.name: self.content.read_at(data, node)})

    cdef int write_to(self, object value, Writer* out) except -1:
        return self.content.write_to(fetch(value, self.cls, self.slot, self.name), out)

# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Sequences of a description: members in any order, what nobody knows skipped, one that is there twice refused.

Reading puts values into a list, each member's into its place, and calls the class with them.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

from eim._fast.kinds cimport Codec, cut, native, put_bytes, take
from eim._fast.schema cimport fetch, following, open_up, slot_of
from eim._fast.tlv cimport Header, Writer, put_head

from eim.errors import Malformed

cdef extern from "Python.h":
    ctypedef struct PyListObject:
        PyObject** ob_item
    object PyObject_Vectorcall(object called, PyObject** arguments, size_t count, PyObject* names)

cdef object UNSET = object()


cdef class Presence:
    """Whether a member may be absent."""

    def __repr__(self):
        return "MANDATORY"


MANDATORY = Presence()


cdef class Member:
    """One member of a sequence.

    absent  what the attribute is when the element isn't there (OPTIONAL, DEFAULT); MANDATORY: it has to be
    kept    the attribute that keeps the TLV's octets: written as they are, never anew
    """

    cdef readonly str name
    cdef readonly object element
    cdef readonly object absent
    cdef readonly str kept

    def __init__(self, str name, element, absent=MANDATORY, str kept=None):
        self.name = name
        self.element = element
        self.absent = absent
        self.kept = kept

    @property
    def tags(self):
        return tuple(self.element.tags)

    @property
    def names(self):
        return (self.name, self.kept) if self.kept else (self.name,)


cdef class Group:
    """An optional explicit tag whose members are attributes of the class around it: a CHOICE of plain values."""

    cdef readonly uint32_t tag
    cdef readonly tuple tags
    cdef readonly tuple members

    def __init__(self, uint32_t tag, tuple members):
        self.tag = tag
        self.tags = (tag,)
        self.members = members

    @property
    def names(self):
        return tuple([name for member in self.members for name in member.names])


cdef class Entry:
    """A member where its values have places. Of a group the first one's place tells whether it has been read."""

    cdef Members group  # None: one member
    cdef uint32_t tag  # of the group
    cdef Codec element
    cdef object absent
    cdef bint mandatory
    cdef str name, kept
    cdef Py_ssize_t place, kept_place  # in the list of values
    cdef Py_ssize_t slot  # in an object; of the kept octets, where they are what is written
    cdef object cls

    def __cinit__(self, part, list names, cls):
        self.cls = cls
        self.place = names.index(part.names[0])
        self.kept_place = -1
        if isinstance(part, Group):
            self.tag = part.tag
            self.group = Members(part.members, cls, names)
            return
        self.element = native(part.element)
        self.absent = part.absent
        self.mandatory = part.absent is MANDATORY
        self.name = part.name
        self.kept = part.kept
        self.kept_place = names.index(self.kept) if self.kept else -1
        self.slot = slot_of(cls, self.kept or self.name)

    cdef int read_into(self, list values, bytes data, Header* node) except -1:
        if self.group is not None:
            open_up(data, node)
            return self.group.read_content(values, data, node.value, node.end)
        values[self.place] = self.element.read_at(data, node)
        if self.kept_place >= 0:
            values[self.kept_place] = cut(data, node.at, node.end)
        return 0

    cdef int miss(self, list values) except -1:
        if self.group is not None:
            return self.group.miss(values)
        if self.mandatory:
            raise Malformed(f"{self.name} is missing")
        values[self.place] = self.absent
        return 0

    cdef int write_to(self, object value, Writer* out) except -1:
        cdef Py_ssize_t before = out.written
        cdef object member
        if self.group is not None:
            self.group.write_to(value, out)
            return put_head(out, self.tag, out.written - before) if out.written > before else 0
        if self.kept is not None:
            return put_bytes(out, fetch(value, self.cls, self.slot, self.kept))
        member = fetch(value, self.cls, self.slot, self.name)
        if not self.mandatory and (member is self.absent or member == self.absent):
            return 0
        return self.element.write_to(member, out)


cdef struct Way:
    uint32_t tag
    Py_ssize_t entry


cdef class Members:
    """The members of a sequence in their order, and by tag."""

    cdef readonly tuple all
    cdef list entries
    cdef list names  # by place
    cdef Way* ways
    cdef Py_ssize_t many

    def __cinit__(self, members, cls=None, list names=None):
        self.all = tuple(members)
        self.names = names if names is not None else [name for member in self.all for name in member.names]
        self.entries = [Entry(member, self.names, cls) for member in self.all]
        pairs = [(tag, at) for at, member in enumerate(self.all) for tag in member.tags]
        self.many = len(pairs)
        self.ways = <Way*> malloc((<size_t> self.many + 1) * sizeof(Way))
        if self.ways == NULL:
            raise MemoryError
        for number, (tag, at) in enumerate(pairs):
            self.ways[<Py_ssize_t> number].tag = tag
            self.ways[<Py_ssize_t> number].entry = at

    def __dealloc__(self):
        free(self.ways)

    cdef int read_one(self, list values, bytes data, Header* node) except -1:
        """A tag nobody knows is skipped; one that two members have goes to the first one still waiting."""
        cdef Py_ssize_t at
        cdef Entry entry
        cdef bint known = False
        for at in range(self.many):
            if self.ways[at].tag == node.tag:
                known = True
                entry = <Entry> self.entries[self.ways[at].entry]
                if values[entry.place] is UNSET:
                    return entry.read_into(values, data, node)
        if known:
            raise Malformed(f"tag {node.tag:X} once too often")
        return 0

    cdef int miss(self, list values) except -1:
        cdef Entry entry
        for entry in self.entries:
            if values[entry.place] is UNSET:
                entry.miss(values)
        return 0

    cdef int read_content(self, list values, bytes data, Py_ssize_t at, Py_ssize_t end) except -1:
        cdef Header child
        while at < end:
            following(data, at, end, &child)
            self.read_one(values, data, &child)
            at = child.end
        return self.miss(values)

    cdef list read_held(self, list values, bytes data, object held, bint readable):
        """From TLVs wherever they lie; those that can't be read, when that counts as absent, also a second one."""
        cdef Header child
        cdef list unreadable = []
        for node in held:
            take(data, node, &child)
            try:
                self.read_one(values, data, &child)
            except Malformed:
                if not readable:
                    raise
                unreadable.append(cut(data, child.at, child.end))
        self.miss(values)
        return unreadable

    cdef int write_to(self, object value, Writer* out) except -1:
        cdef Py_ssize_t left = len(self.entries)
        while left > 0:
            left -= 1
            (<Entry> self.entries[left]).write_to(value, out)
        return 0

    def read_readable(self, dict values not None, bytes data not None, held):
        """Put what `held` says into `values`; what can't be read counts as absent: the TLVs skipped so."""
        cdef list found = [UNSET] * len(self.names)
        unreadable = self.read_held(found, data, held, True)
        values.update([(name, value) for name, value in zip(self.names, found, strict=True) if value is not UNSET])
        return tuple(unreadable)


cdef class Sequence(Codec):
    """SEQUENCE as a class of ours."""

    cdef object cls
    cdef Members members
    cdef list names
    cdef bint in_order  # the values are the class's first attributes, so it may be called with them in their order

    def __init__(self, cls, members=()):
        members = tuple(members)
        said = [name for member in members for name in member.names]
        first = list(cls.__struct_fields__[: len(said)])
        self.cls = cls
        self.in_order = sorted(said) == sorted(first)
        self.names = first if self.in_order else said
        self.members = Members(members, cls, self.names)

    cdef object made(self, list values):
        cdef bint whole = self.in_order
        cdef Py_ssize_t at
        for at in range(len(values)):
            whole = whole and values[at] is not UNSET
        if whole:
            return PyObject_Vectorcall(self.cls, (<PyListObject*> values).ob_item, <size_t> len(values), NULL)
        return self.cls(**{name: value for name, value in zip(self.names, values, strict=True) if value is not UNSET})

    cdef object read_at(self, bytes data, Header* node):
        cdef list values = [UNSET] * len(self.names)
        open_up(data, node)
        self.members.read_content(values, data, node.value, node.end)
        return self.made(values)

    cdef int write_to(self, object value, Writer* out) except -1:
        return self.members.write_to(value, out)

    def build(self, bytes data not None, held):
        """The value of the members `held`, wherever they lie."""
        cdef list values = [UNSET] * len(self.names)
        self.members.read_held(values, data, held, False)
        return self.made(values)

    def build_readable(self, bytes data not None, held):
        """As `build`, but an optional member that can't be read counts as absent."""
        cdef list values = [UNSET] * len(self.names)
        self.members.read_held(values, data, held, True)
        return self.made(values)

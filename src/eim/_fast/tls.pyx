# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What Python's ssl module can't set on a context: ticket keys, and the groups in their order.

No header and no link step: the functions are looked up in the libssl that the `_ssl` module itself is linked to. A
context's SSL_CTX is the first thing behind its object's head; whoever calls has proved that on contexts of its own
(`keys/tickets.py` does) before anything is set. All of it is SSL_CTX_ctrl, whose numbers OpenSSL never changed.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uintptr_t

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stddef.h>

    typedef struct {
        long (*ctrl)(void *, int, long, void *);
        unsigned long (*get_options)(const void *);
        int (*get_verify_mode)(const void *);
    } eim_libssl;

    static eim_libssl eim_ssl;

    static int eim_bind_ssl(const char *path) {
        static const char *names[] = {"SSL_CTX_ctrl", "SSL_CTX_get_options", "SSL_CTX_get_verify_mode"};
        void **slot = (void **) &eim_ssl;
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
        size_t i;
        if (module == NULL) return 0;
        for (i = 0; i < sizeof names / sizeof *names; i++) {
            if ((slot[i] = dlsym(module, names[i])) == NULL) return 0;
        }
        return 1;
    }
    """
    ctypedef struct eim_libssl:
        long (*ctrl)(void *, int, long, void *) noexcept nogil
        unsigned long (*get_options)(const void *) noexcept nogil
        int (*get_verify_mode)(const void *) noexcept nogil

    eim_libssl eim_ssl
    int eim_bind_ssl(const char *path) noexcept

cdef enum:
    KEYS = 80  # a name of 16 octets, 32 for HMAC, 32 for AES
    GET_TICKET_KEYS = 58
    SET_TICKET_KEYS = 59
    SET_GROUPS_LIST = 92

cdef bint bound = False


def bind(str path not None):
    """Use the libssl that the loaded extension module in the file `path` is linked to; whether there is one."""
    global bound
    bound = eim_bind_ssl(path.encode()) == 1
    return bound


cdef void* pointer_in(object context, Py_ssize_t head) except NULL:
    """What stands behind the object's head. Reads the object alone."""
    if not bound or head <= 0 or type(context).__basicsize__ < head + <Py_ssize_t> sizeof(void*):
        raise ValueError("no libssl is bound, or this is no context")
    cdef void* found = (<void**> ((<char*> <void*> context) + head))[0]
    if found == NULL:
        raise ValueError("this object holds no SSL_CTX")
    return found


def address(object context, Py_ssize_t head):
    """Where the SSL_CTX of `context` would be, whose head is so many octets. Nothing there is read."""
    return <uintptr_t> pointer_in(context, head)


def seen(object context, Py_ssize_t head):
    """(options, verify mode) as libssl reads them through the pointer: equal to the context's own if it is the right one."""
    cdef void* found = pointer_in(context, head)
    return eim_ssl.get_options(found), eim_ssl.get_verify_mode(found)


def set_ticket_keys(object context, Py_ssize_t head, bytes keys not None):
    """Seal and open session tickets with these 80 octets from now on; whether libssl took them."""
    if PyBytes_GET_SIZE(keys) != KEYS:
        raise ValueError("ticket keys are 80 octets")
    return eim_ssl.ctrl(pointer_in(context, head), SET_TICKET_KEYS, KEYS, <void*> PyBytes_AS_STRING(keys)) == 1


def ticket_keys(object context, Py_ssize_t head):
    """The 80 octets that are in use; None where libssl has others."""
    cdef bytes keys = PyBytes_FromStringAndSize(NULL, KEYS)
    if eim_ssl.ctrl(pointer_in(context, head), GET_TICKET_KEYS, KEYS, <void*> PyBytes_AS_STRING(keys)) != 1:
        return None
    return keys


def set_groups(object context, Py_ssize_t head, bytes names not None):
    """Agree on these groups only, the first one first (as OpenSSL names them, with colons); whether libssl knows them."""
    return eim_ssl.ctrl(pointer_in(context, head), SET_GROUPS_LIST, 0, <void*> PyBytes_AS_STRING(names)) == 1

# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""ECDSA on P-256 and brainpoolP256r1 by the libcrypto that this process has loaded already, in batches, without the GIL.

No header and no link step: the functions are looked up by name when the module is imported, first in the libcrypto
that is in the process already (Python's hashlib and ssl bring theirs), then in the system's. Where there is none, or one without a function that is
needed, `available()` is False and whoever asks takes another provider. Nothing here is kept between two calls but the
two groups, which are never changed, and the signing keys that a caller holds.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memset

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stddef.h>

    typedef struct {
        unsigned long (*version)(void);
        void *(*group_new)(int);
        void *(*key_new)(void);
        void (*key_free)(void *);
        int (*key_set_group)(void *, const void *);
        int (*key_oct2key)(void *, const unsigned char *, size_t, void *);
        int (*key_oct2priv)(void *, const unsigned char *, size_t);
        void *(*sig_new)(void);
        void (*sig_free)(void *);
        int (*sig_set0)(void *, void *, void *);
        void (*sig_get0)(const void *, const void **, const void **);
        int (*do_verify)(const unsigned char *, int, const void *, void *);
        void *(*do_sign)(const unsigned char *, int, void *);
        void *(*bn_new)(void);
        void (*bn_free)(void *);
        void *(*bn_bin2bn)(const unsigned char *, int, void *);
        int (*bn_bn2binpad)(const void *, unsigned char *, int);
        void (*clear_errors)(void);
    } eim_libcrypto;

    static eim_libcrypto eim_crypto;

    static int eim_bind(const char *path) {
        static const char *names[] = {
            "OpenSSL_version_num", "EC_GROUP_new_by_curve_name", "EC_KEY_new", "EC_KEY_free", "EC_KEY_set_group",
            "EC_KEY_oct2key", "EC_KEY_oct2priv", "ECDSA_SIG_new", "ECDSA_SIG_free", "ECDSA_SIG_set0", "ECDSA_SIG_get0",
            "ECDSA_do_verify", "ECDSA_do_sign", "BN_new", "BN_free", "BN_bin2bn", "BN_bn2binpad", "ERR_clear_error",
        };
        void **slot = (void **) &eim_crypto;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        size_t i;
        if (library == NULL) return 0;
        for (i = 0; i < sizeof names / sizeof *names; i++) {
            if ((slot[i] = dlsym(library, names[i])) == NULL) {
                dlclose(library);
                return 0;
            }
        }
        return 1;
    }
    """
    ctypedef struct eim_libcrypto:
        unsigned long (*version)() noexcept nogil
        void *(*group_new)(int) noexcept nogil
        void *(*key_new)() noexcept nogil
        void (*key_free)(void *) noexcept nogil
        int (*key_set_group)(void *, const void *) noexcept nogil
        int (*key_oct2key)(void *, const unsigned char *, size_t, void *) noexcept nogil
        int (*key_oct2priv)(void *, const unsigned char *, size_t) noexcept nogil
        void *(*sig_new)() noexcept nogil
        void (*sig_free)(void *) noexcept nogil
        int (*sig_set0)(void *, void *, void *) noexcept nogil
        void (*sig_get0)(const void *, const void **, const void **) noexcept nogil
        int (*do_verify)(const unsigned char *, int, const void *, void *) noexcept nogil
        void *(*do_sign)(const unsigned char *, int, void *) noexcept nogil
        void *(*bn_new)() noexcept nogil
        void (*bn_free)(void *) noexcept nogil
        void *(*bn_bin2bn)(const unsigned char *, int, void *) noexcept nogil
        int (*bn_bn2binpad)(const void *, unsigned char *, int) noexcept nogil
        void (*clear_errors)() noexcept nogil

    eim_libcrypto eim_crypto
    int eim_bind(const char *path) noexcept

cdef enum:
    POINT = 65
    DIGEST = 32
    SIGNATURE = 64
    NID_P256 = 415
    NID_BRAINPOOL = 927

P256 = 0
BRAINPOOL = 1

cdef tuple ORDERS = (  # of the groups: a private key is 1 to one less
    bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    bytes.fromhex("a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7"),
)

cdef void* groups[2]
cdef str bound_to = ""


cdef str bind():
    """Bind the first libcrypto that has all functions and both curves; its path, empty when there is none."""
    cdef bytes path
    for path in candidates():
        if eim_bind(path):
            groups[0] = eim_crypto.group_new(NID_P256)
            groups[1] = eim_crypto.group_new(NID_BRAINPOOL)
            eim_crypto.clear_errors()
            if groups[0] != NULL and groups[1] != NULL:
                return path.decode()
    return ""


cdef list candidates():
    """Where a libcrypto may be: what is mapped already, then the names that the loader knows."""
    cdef list found = []
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                _, slash, path = line.strip().partition(b"/")
                if b"/libcrypto" in slash + path and slash + path not in found:
                    found.append(slash + path)
    except OSError:  # no Linux
        pass
    return [*found, b"libcrypto.so.3", b"libcrypto.so.1.1"]


bound_to = bind()


def available():
    """Whether a libcrypto was bound: the other functions may be called only then."""
    return bound_to != ""


def library():
    """Which libcrypto is used, and its version as OpenSSL numbers it; ("", 0) when there is none."""
    return (bound_to, eim_crypto.version()) if bound_to else ("", 0)


cdef class SigningKey:
    """One private key, from its 32 octets. libcrypto clears its memory when the last reference goes."""

    cdef void* key
    cdef readonly int curve

    def __cinit__(self, int curve, bytes scalar not None):
        self.key = NULL
        if not bound_to or curve not in (0, 1) or PyBytes_GET_SIZE(scalar) != 32:
            raise ValueError("a signing key is 32 octets on a known curve, and needs a libcrypto")
        if not bytes(32) < scalar < <bytes> ORDERS[curve]:
            raise ValueError("these octets are no private key")
        self.curve = curve
        self.key = eim_crypto.key_new()
        if (
            self.key == NULL
            or eim_crypto.key_set_group(self.key, groups[curve]) != 1
            or eim_crypto.key_oct2priv(self.key, <const uint8_t*> PyBytes_AS_STRING(scalar), 32) != 1
        ):
            eim_crypto.clear_errors()
            raise ValueError("these octets are no private key")

    def __dealloc__(self):
        if self.key != NULL:
            eim_crypto.key_free(self.key)

    def __repr__(self):
        return "SigningKey(...)"

    def __reduce__(self):
        raise TypeError("a signing key stays in its process")


cdef Py_ssize_t sign_all(void* key, const uint8_t* digests, Py_ssize_t many, uint8_t* signatures) noexcept nogil:
    """Sign each digest; how many were signed before one failed."""
    cdef Py_ssize_t at
    cdef void* made
    cdef const void* r = NULL
    cdef const void* s = NULL
    cdef int whole
    for at in range(many):
        made = eim_crypto.do_sign(digests + at * DIGEST, DIGEST, key)
        if made == NULL:
            return at
        eim_crypto.sig_get0(made, &r, &s)
        whole = (
            eim_crypto.bn_bn2binpad(r, signatures + at * SIGNATURE, 32) == 32
            and eim_crypto.bn_bn2binpad(s, signatures + at * SIGNATURE + 32, 32) == 32
        )
        eim_crypto.sig_free(made)
        if not whole:
            return at
    return many


def sign_batch(SigningKey key not None, bytes digests not None):
    """Sign each of the digests, 32 octets one after the other; the signatures r || s, 64 octets each, in their order.

    Raises ValueError for a length that is no multiple of 32, RuntimeError when libcrypto fails: nothing is signed then.
    """
    cdef Py_ssize_t many = PyBytes_GET_SIZE(digests) // DIGEST
    if PyBytes_GET_SIZE(digests) != many * DIGEST:
        raise ValueError("digests are 32 octets each")
    cdef bytes signatures = PyBytes_FromStringAndSize(NULL, many * SIGNATURE)
    cdef const uint8_t* source = <const uint8_t*> PyBytes_AS_STRING(digests)
    cdef uint8_t* target = <uint8_t*> PyBytes_AS_STRING(signatures)
    cdef void* held = key.key
    cdef Py_ssize_t done
    with nogil:
        done = sign_all(held, source, many, target)
        eim_crypto.clear_errors()
    if done != many:
        raise RuntimeError(f"libcrypto signed {done} of {many}")
    return signatures


cdef Py_ssize_t verify_all(
    void* group,
    const uint8_t* points,
    const uint8_t* digests,
    const uint8_t* signatures,
    Py_ssize_t many,
    uint8_t* verdicts,
) noexcept nogil:
    """One key, one signature and its two numbers serve the whole batch. -1 when there is no memory for them."""
    cdef void* key = eim_crypto.key_new()
    cdef void* signature = eim_crypto.sig_new()
    cdef void* r = eim_crypto.bn_new()
    cdef void* s = eim_crypto.bn_new()
    cdef Py_ssize_t at
    if (
        key == NULL
        or signature == NULL
        or r == NULL
        or s == NULL
        or eim_crypto.key_set_group(key, group) != 1
        or eim_crypto.sig_set0(signature, r, s) != 1
    ):
        eim_crypto.bn_free(r)
        eim_crypto.bn_free(s)
        eim_crypto.sig_free(signature)
        eim_crypto.key_free(key)
        return -1
    memset(verdicts, 0, many)
    for at in range(many):
        if points[at * POINT] != 4 or eim_crypto.key_oct2key(key, points + at * POINT, POINT, NULL) != 1:
            continue
        if (
            eim_crypto.bn_bin2bn(signatures + at * SIGNATURE, 32, r) == NULL
            or eim_crypto.bn_bin2bn(signatures + at * SIGNATURE + 32, 32, s) == NULL
        ):
            continue
        verdicts[at] = eim_crypto.do_verify(digests + at * DIGEST, DIGEST, signature, key) == 1
    eim_crypto.clear_errors()
    eim_crypto.sig_free(signature)  # and r and s, which are its own
    eim_crypto.key_free(key)
    return many


def verify_batch(int curve, bytes points not None, bytes digests not None, bytes signatures not None):
    """Which signatures hold: one octet each, 1 or 0, in their order.

    curve       P256 or BRAINPOOL, of all of them
    points      65 octets each, 04 || x || y; one off the curve makes its verdict 0
    digests     32 octets each
    signatures  64 octets each, r || s; r or s outside 1..n-1 makes the verdict 0

    Raises ValueError for lengths that don't fit together, MemoryError.
    """
    cdef Py_ssize_t many = PyBytes_GET_SIZE(digests) // DIGEST
    if not bound_to or curve not in (0, 1):
        raise ValueError("no such curve here")
    if (
        PyBytes_GET_SIZE(digests) != many * DIGEST
        or PyBytes_GET_SIZE(points) != many * POINT
        or PyBytes_GET_SIZE(signatures) != many * SIGNATURE
    ):
        raise ValueError("points are 65 octets each, digests 32 and signatures 64, as many of each")
    cdef bytes verdicts = PyBytes_FromStringAndSize(NULL, many)
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(points)
    cdef const uint8_t* d = <const uint8_t*> PyBytes_AS_STRING(digests)
    cdef const uint8_t* s = <const uint8_t*> PyBytes_AS_STRING(signatures)
    cdef uint8_t* out = <uint8_t*> PyBytes_AS_STRING(verdicts)
    cdef void* group = groups[curve]
    cdef Py_ssize_t done
    with nogil:
        done = verify_all(group, p, d, s, many, out)
    if done < 0:
        raise MemoryError("libcrypto has no memory for a key")
    return verdicts


def is_on_curve(int curve, bytes point not None):
    """Whether `point` is 65 octets, 04 || x || y, of a point on the curve (and not at infinity)."""
    if not bound_to or curve not in (0, 1):
        raise ValueError("no such curve here")
    if PyBytes_GET_SIZE(point) != POINT or PyBytes_AS_STRING(point)[0] != 4:
        return False
    cdef void* key = eim_crypto.key_new()
    cdef bint fits
    if key == NULL or eim_crypto.key_set_group(key, groups[curve]) != 1:
        eim_crypto.key_free(key)
        raise MemoryError("libcrypto has no memory for a key")
    fits = eim_crypto.key_oct2key(key, <const uint8_t*> PyBytes_AS_STRING(point), POINT, NULL) == 1
    eim_crypto.clear_errors()
    eim_crypto.key_free(key)
    return fits

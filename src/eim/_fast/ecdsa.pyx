# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""ECDSA on P-256 and brainpoolP256r1 by the bound libcrypto, in batches, without the GIL.

Where there is no libcrypto `available()` is False and whoever asks takes another provider. Nothing here is kept between
two calls but the signing keys that a caller holds.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memset

from eim._fast.libcrypto cimport DIGEST, POINT, SIGNATURE, crypto

from eim._fast.libcrypto import available, library

P256 = 0
BRAINPOOL = 1

cdef tuple ORDERS = (  # of the groups: a private key is 1 to one less
    bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    bytes.fromhex("a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7"),
)


cdef class SigningKey:
    """One private key, from its 32 octets. libcrypto clears its memory when the last reference goes."""

    def __cinit__(self, int curve, bytes scalar not None):
        self.key = NULL
        if not available() or curve not in (0, 1) or PyBytes_GET_SIZE(scalar) != 32:
            raise ValueError("a signing key is 32 octets on a known curve, and needs a libcrypto")
        if not bytes(32) < scalar < <bytes> ORDERS[curve]:
            raise ValueError("these octets are no private key")
        self.curve = curve
        self.key = crypto.key_new()
        if (
            self.key == NULL
            or crypto.key_set_group(self.key, crypto.groups[curve]) != 1
            or crypto.key_oct2priv(self.key, <const uint8_t*> PyBytes_AS_STRING(scalar), 32) != 1
        ):
            crypto.clear_errors()
            raise ValueError("these octets are no private key")

    def __dealloc__(self):
        if self.key != NULL:
            crypto.key_free(self.key)

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
        made = crypto.do_sign(digests + at * DIGEST, DIGEST, key)
        if made == NULL:
            return at
        crypto.sig_get0(made, &r, &s)
        whole = (
            crypto.bn_bn2binpad(r, signatures + at * SIGNATURE, 32) == 32
            and crypto.bn_bn2binpad(s, signatures + at * SIGNATURE + 32, 32) == 32
        )
        crypto.sig_free(made)
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
        crypto.clear_errors()
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
    cdef void* key = crypto.key_new()
    cdef void* signature = crypto.sig_new()
    cdef void* r = crypto.bn_new()
    cdef void* s = crypto.bn_new()
    cdef Py_ssize_t at
    if (
        key == NULL
        or signature == NULL
        or r == NULL
        or s == NULL
        or crypto.key_set_group(key, group) != 1
        or crypto.sig_set0(signature, r, s) != 1
    ):
        crypto.bn_free(r)
        crypto.bn_free(s)
        crypto.sig_free(signature)
        crypto.key_free(key)
        return -1
    memset(verdicts, 0, many)
    for at in range(many):
        if points[at * POINT] != 4 or crypto.key_oct2key(key, points + at * POINT, POINT, NULL) != 1:
            continue
        if (
            crypto.bn_bin2bn(signatures + at * SIGNATURE, 32, r) == NULL
            or crypto.bn_bin2bn(signatures + at * SIGNATURE + 32, 32, s) == NULL
        ):
            continue
        verdicts[at] = crypto.do_verify(digests + at * DIGEST, DIGEST, signature, key) == 1
    crypto.clear_errors()
    crypto.sig_free(signature)  # and r and s, which are its own
    crypto.key_free(key)
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
    if not available() or curve not in (0, 1):
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
    cdef void* group = crypto.groups[curve]
    cdef Py_ssize_t done
    with nogil:
        done = verify_all(group, p, d, s, many, out)
    if done < 0:
        raise MemoryError("libcrypto has no memory for a key")
    return verdicts


def is_on_curve(int curve, bytes point not None):
    """Whether `point` is 65 octets, 04 || x || y, of a point on the curve (and not at infinity)."""
    if not available() or curve not in (0, 1):
        raise ValueError("no such curve here")
    if PyBytes_GET_SIZE(point) != POINT or PyBytes_AS_STRING(point)[0] != 4:
        return False
    cdef void* key = crypto.key_new()
    cdef bint fits
    if key == NULL or crypto.key_set_group(key, crypto.groups[curve]) != 1:
        crypto.key_free(key)
        raise MemoryError("libcrypto has no memory for a key")
    fits = crypto.key_oct2key(key, <const uint8_t*> PyBytes_AS_STRING(point), POINT, NULL) == 1
    crypto.clear_errors()
    crypto.key_free(key)
    return fits

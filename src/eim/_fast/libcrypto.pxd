# cython: language_level=3
"""What of libcrypto the native core calls, bound once a process in libcrypto.pyx. Valid only where `available()`."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    POINT = 65
    DIGEST = 32
    SIGNATURE = 64

ctypedef struct Libcrypto:  # function pointers in the order of NAMES in libcrypto.pyx, then what was made with them
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
    int (*sha256_init)(void *) noexcept nogil
    int (*sha256_update)(void *, const void *, size_t) noexcept nogil
    int (*sha256_final)(unsigned char *, void *) noexcept nogil
    void *groups[2]  # EC_GROUPs by curve: 0 P-256, 1 brainpoolP256r1; never changed, so any thread may read them

cdef Libcrypto crypto

ctypedef struct Sha256:
    uint64_t room[32]  # SHA256_CTX is 112 octets in every version; ours is larger, and aligned

cdef inline void sha256(const uint8_t* data, size_t size, uint8_t* digest) noexcept nogil:
    """SHA-256 of `size` octets into the 32 at `digest`."""
    cdef Sha256 state
    crypto.sha256_init(&state)
    crypto.sha256_update(&state, data, size)
    crypto.sha256_final(digest, &state)

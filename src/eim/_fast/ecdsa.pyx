# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""ECDSA on P-256 and brainpoolP256r1 by the bound libcrypto, in batches, without the GIL.

Where there is no libcrypto `available()` is False and whoever asks takes another provider. Nothing here is kept between
two calls but the signing keys that a caller holds.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from eim._fast.libcrypto cimport DIGEST, POINT, SIGNATURE, crypto, sha256

from eim._fast.libcrypto import available, library

cdef extern from *:
    """
    #include <pthread.h>
    #include <signal.h>

    typedef pthread_t eim_thread;

    /* Start a thread that takes no signal: those are for the threads that Python knows. 1, or 0 when there is none. */
    static int eim_start(eim_thread *thread, void *(*what)(void *), void *with) {
        sigset_t all, before;
        int failed;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        failed = pthread_create(thread, NULL, what, with);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return !failed;
    }
    static void eim_join(eim_thread thread) { pthread_join(thread, NULL); }

    /* Without the GIL: of objects that somebody holds and nobody can change. */
    #define eim_octets(message) ((const unsigned char *) PyBytes_AS_STRING(message))
    #define eim_size(message) PyBytes_GET_SIZE(message)
    #define eim_items(held) (((PyTupleObject *) (held))->ob_item)
    """
    ctypedef unsigned long eim_thread
    bint eim_start(eim_thread* thread, void* (*what)(void*) noexcept nogil, void* batch) noexcept nogil
    void eim_join(eim_thread thread) noexcept nogil
    const unsigned char* eim_octets(PyObject* message) noexcept nogil
    Py_ssize_t eim_size(PyObject* message) noexcept nogil
    PyObject** eim_items(object held) noexcept

cdef enum:
    LEAST = 16  # signatures that a thread is worth: half a millisecond at least
    MOST_THREADS = 64

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


cdef struct Share:
    Work work
    void* batch
    Py_ssize_t start
    Py_ssize_t stop
    Py_ssize_t done


cdef void* do_share(void* share) noexcept nogil:
    cdef Share* mine = <Share*> share
    mine.done = mine.work(mine.batch, mine.start, mine.stop)
    return NULL


cdef Py_ssize_t in_threads(Work work, void* batch, Py_ssize_t many, int threads) noexcept nogil:
    """Do a batch in up to so many threads, this one among them; all of `many`, or less when one failed.

    They are started here and end here: nothing outlives the call, so a fork finds none. A thread has LEAST at least to
    do, which takes far longer than starting it; what no thread could be started for is done in this one.
    """
    cdef Share[MOST_THREADS] shares
    cdef eim_thread[MOST_THREADS] running
    cdef bint[MOST_THREADS] started
    cdef int number, count = <int> min(<Py_ssize_t> min(threads, <int> MOST_THREADS), many // LEAST)
    cdef Py_ssize_t done = 0
    if count < 2:
        return work(batch, 0, many)
    for number in range(count):
        shares[number] = Share(work, batch, many * number // count, many * (number + 1) // count, 0)
    for number in range(1, count):
        started[number] = eim_start(&running[number], do_share, &shares[number])
    do_share(&shares[0])
    for number in range(1, count):
        if started[number]:
            eim_join(running[number])
        else:
            do_share(&shares[number])
    for number in range(count):
        done += shares[number].done
    return done


cdef struct Batch:  # of signatures to make or to check
    void* key  # that signs
    void* group  # of the points
    const uint8_t* points
    const uint8_t* digests
    PyObject** messages  # bytes; NULL: the digests are given
    uint8_t* signatures
    uint8_t* verdicts


cdef const uint8_t* digest_of(Batch* batch, Py_ssize_t at, uint8_t* room) noexcept nogil:
    """What is signed, made in `room` when it isn't given. The messages are held by whoever called."""
    if batch.messages == NULL:
        return batch.digests + at * DIGEST
    sha256(<const uint8_t*> eim_octets(batch.messages[at]), <size_t> eim_size(batch.messages[at]), room)
    return room


cdef Py_ssize_t sign_some(void* all_of_it, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    cdef Batch* batch = <Batch*> all_of_it
    cdef uint8_t[DIGEST] room
    cdef Py_ssize_t at
    for at in range(start, stop):
        if sign_all(batch.key, digest_of(batch, at, room), 1, batch.signatures + at * SIGNATURE) != 1:
            crypto.clear_errors()
            return at - start
    return stop - start


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


def sign_batch(SigningKey key not None, bytes digests not None, int threads=1):
    """Sign each of the digests, 32 octets one after the other; the signatures r || s, 64 octets each, in their order.

    Raises ValueError for a length that is no multiple of 32, RuntimeError when libcrypto fails: nothing is signed then.
    """
    cdef Py_ssize_t many = PyBytes_GET_SIZE(digests) // DIGEST
    cdef Batch batch
    if PyBytes_GET_SIZE(digests) != many * DIGEST:
        raise ValueError("digests are 32 octets each")
    batch.digests = <const uint8_t*> PyBytes_AS_STRING(digests)
    batch.messages = NULL
    return signed(key, &batch, many, threads)


def sign_messages(SigningKey key not None, messages not None, int threads=1):
    """As `sign_batch`, of the SHA-256 of each message."""
    cdef tuple held = only_bytes(messages)
    cdef Batch batch
    batch.digests = NULL
    batch.messages = eim_items(held)
    return signed(key, &batch, len(held), threads)


cdef bytes signed(SigningKey key, Batch* batch, Py_ssize_t many, int threads):
    cdef bytes signatures = PyBytes_FromStringAndSize(NULL, many * SIGNATURE)
    cdef Py_ssize_t done
    batch.key = key.key
    batch.signatures = <uint8_t*> PyBytes_AS_STRING(signatures)
    with nogil:
        done = in_threads(sign_some, batch, many, threads)
    if done != many:
        raise RuntimeError(f"libcrypto signed {done} of {many}")
    return signatures


cdef tuple only_bytes(messages):
    """The messages as a tuple, which nobody changes while the GIL is released."""
    cdef tuple held = tuple(messages)
    for message in held:
        if type(message) is not bytes:
            raise TypeError(f"a message is bytes, not {type(message).__name__}")
    return held


cdef Py_ssize_t verify_some(void* all_of_it, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """One key, one signature and its two numbers serve them all. None done when there is no memory for these."""
    cdef Batch* batch = <Batch*> all_of_it
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
        or crypto.key_set_group(key, batch.group) != 1
        or crypto.sig_set0(signature, r, s) != 1
    ):
        crypto.bn_free(r)
        crypto.bn_free(s)
        crypto.sig_free(signature)
        crypto.key_free(key)
        return 0
    for at in range(start, stop):
        batch.verdicts[at] = holds(batch, at, key, signature, r, s)
    crypto.clear_errors()
    crypto.sig_free(signature)  # and r and s, which are its own
    crypto.key_free(key)
    return stop - start


cdef bint holds(Batch* batch, Py_ssize_t at, void* key, void* signature, void* r, void* s) noexcept nogil:
    cdef uint8_t[DIGEST] room
    cdef const uint8_t* point = batch.points + at * POINT
    cdef const uint8_t* octets = batch.signatures + at * SIGNATURE
    return (
        point[0] == 4
        and crypto.key_oct2key(key, point, POINT, NULL) == 1
        and crypto.bn_bin2bn(octets, 32, r) != NULL
        and crypto.bn_bin2bn(octets + 32, 32, s) != NULL
        and crypto.do_verify(digest_of(batch, at, room), DIGEST, signature, key) == 1
    )


def verify_batch(int curve, bytes points not None, bytes digests not None, bytes signatures not None, int threads=1):
    """Which signatures hold: one octet each, 1 or 0, in their order.

    curve       P256 or BRAINPOOL, of all of them
    points      65 octets each, 04 || x || y; one off the curve makes its verdict 0
    digests     32 octets each
    signatures  64 octets each, r || s; r or s outside 1..n-1 makes the verdict 0
    threads     among how many the batch is shared at most, when it is worth it

    Raises ValueError for lengths that don't fit together, MemoryError.
    """
    cdef Py_ssize_t many = PyBytes_GET_SIZE(digests) // DIGEST
    cdef Batch batch
    if PyBytes_GET_SIZE(digests) != many * DIGEST:
        raise ValueError("points are 65 octets each, digests 32 and signatures 64, as many of each")
    batch.digests = <const uint8_t*> PyBytes_AS_STRING(digests)
    batch.messages = NULL
    return judged(curve, points, signatures, &batch, many, threads)


def verify_messages(int curve, bytes points not None, messages not None, bytes signatures not None, int threads=1):
    """As `verify_batch`, of the SHA-256 of each message."""
    cdef tuple held = only_bytes(messages)
    cdef Batch batch
    batch.digests = NULL
    batch.messages = eim_items(held)
    return judged(curve, points, signatures, &batch, len(held), threads)


cdef bytes judged(int curve, bytes points, bytes signatures, Batch* batch, Py_ssize_t many, int threads):
    if not available() or curve not in (0, 1):
        raise ValueError("no such curve here")
    if PyBytes_GET_SIZE(points) != many * POINT or PyBytes_GET_SIZE(signatures) != many * SIGNATURE:
        raise ValueError("points are 65 octets each, digests 32 and signatures 64, as many of each")
    cdef bytes verdicts = PyBytes_FromStringAndSize(NULL, many)
    cdef Py_ssize_t done
    batch.group = crypto.groups[curve]
    batch.points = <const uint8_t*> PyBytes_AS_STRING(points)
    batch.signatures = <uint8_t*> PyBytes_AS_STRING(signatures)
    batch.verdicts = <uint8_t*> PyBytes_AS_STRING(verdicts)
    with nogil:
        done = in_threads(verify_some, batch, many, threads)
    if done != many:
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

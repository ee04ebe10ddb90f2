# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The libcrypto that this process has loaded already, bound by name: no header, no link step.

The functions are looked up when the module is imported, first in the libcrypto that is in the process already (Python's
hashlib and ssl bring theirs), then in the system's. Where there is none, or one without a function that is needed,
`available()` is False and whoever asks takes another provider.
"""

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stddef.h>

    /* Fill `slots` from the library at `path`: 1, or 0 when it is not there or lacks one of them. */
    static int eim_bind(const char *path, void **slots) {
        static const char *names[] = {
            "OpenSSL_version_num", "EC_GROUP_new_by_curve_name", "EC_KEY_new", "EC_KEY_free", "EC_KEY_set_group",
            "EC_KEY_oct2key", "EC_KEY_oct2priv", "ECDSA_SIG_new", "ECDSA_SIG_free", "ECDSA_SIG_set0", "ECDSA_SIG_get0",
            "ECDSA_do_verify", "ECDSA_do_sign", "BN_new", "BN_free", "BN_bin2bn", "BN_bn2binpad", "ERR_clear_error",
            "SHA256_Init", "SHA256_Update", "SHA256_Final",
        };
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        size_t i;
        if (library == NULL) return 0;
        for (i = 0; i < sizeof names / sizeof *names; i++) {
            if ((slots[i] = dlsym(library, names[i])) == NULL) {
                dlclose(library);
                return 0;
            }
        }
        return 1;
    }
    """
    int eim_bind(const char *path, void **slots) noexcept

cdef enum:
    NID_P256 = 415
    NID_BRAINPOOL = 927

cdef str bound_to = ""


cdef str bind():
    """Bind the first libcrypto that has all functions and both curves; its path, empty when there is none."""
    cdef bytes path
    for path in candidates():
        if eim_bind(path, <void**> &crypto):
            crypto.groups[0] = crypto.group_new(NID_P256)
            crypto.groups[1] = crypto.group_new(NID_BRAINPOOL)
            crypto.clear_errors()
            if crypto.groups[0] != NULL and crypto.groups[1] != NULL:
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
    """Whether a libcrypto was bound: what uses it may be called only then."""
    return bound_to != ""


def library():
    """Which libcrypto is used, and its version as OpenSSL numbers it; ("", 0) when there is none."""
    return (bound_to, crypto.version()) if bound_to else ("", 0)

"""What a batch of ECDSA costs, against a C loop of libcrypto's own calls with one key prepared beforehand.

The loop is compiled where it runs (a C compiler is needed) and uses the same libcrypto. Thread CPU time, rounds in
turn, medians of ratios; `openssl speed` is shown for orientation when it is there.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench import _records
from bench._measuring import Size, size
from eim._fast import ecdsa

_STANDARD: Final = Size(rounds=9, operations=2_000, euiccs=0)  # operations: signatures of a batch
_SLOWER: Final = {ecdsa.P256: 1, ecdsa.BRAINPOOL: 5}
_NAMES: Final = {ecdsa.P256: "P-256", ecdsa.BRAINPOOL: "brainpoolP256r1"}
_COSTS: Final = {ecdsa.P256: "p256", ecdsa.BRAINPOOL: "brainpool"}
_NIDS: Final = {ecdsa.P256: 415, ecdsa.BRAINPOOL: 927}
_OCTETS: Final = 200  # of a message
_LOOP: Final = r"""
#include <dlfcn.h>
#include <stddef.h>
#define GET(type, name, ...) type (*name)(__VA_ARGS__) = dlsym(so, #name)

static void *so, *key, *sig;

int prepare(const char *path, int nid, const unsigned char *point, const unsigned char *rs,
            const unsigned char *scalar) {
    so = dlopen(path, RTLD_NOW);
    if (!so) return 0;
    GET(void *, EC_KEY_new_by_curve_name, int);
    GET(int, EC_KEY_oct2key, void *, const unsigned char *, size_t, void *);
    GET(int, EC_KEY_oct2priv, void *, const unsigned char *, size_t);
    GET(void *, ECDSA_SIG_new, void);
    GET(int, ECDSA_SIG_set0, void *, void *, void *);
    GET(void *, BN_bin2bn, const unsigned char *, int, void *);
    key = EC_KEY_new_by_curve_name(nid);
    sig = ECDSA_SIG_new();
    return EC_KEY_oct2key(key, point, 65, NULL) && EC_KEY_oct2priv(key, scalar, 32)
        && ECDSA_SIG_set0(sig, BN_bin2bn(rs, 32, NULL), BN_bin2bn(rs + 32, 32, NULL));
}

int verify(const unsigned char *digest, int times) {
    GET(int, ECDSA_do_verify, const unsigned char *, int, const void *, void *);
    int good = 0;
    while (times--) good += ECDSA_do_verify(digest, 32, sig, key) == 1;
    return good;
}

int sign(const unsigned char *digest, int times) {
    GET(void *, ECDSA_do_sign, const unsigned char *, int, void *);
    GET(void, ECDSA_SIG_free, void *);
    int good = 0;
    while (times--) {
        void *made = ECDSA_do_sign(digest, 32, key);
        good += made != NULL;
        ECDSA_SIG_free(made);
    }
    return good;
}
"""


class Case:
    """One curve: keys, digests and sound signatures, and the C loop over the same key."""

    def __init__(self, lane: int, folder: Path, many: int) -> None:
        self.many = many
        self.lane = lane
        private = ec.generate_private_key(ec.SECP256R1() if lane == ecdsa.P256 else ec.BrainpoolP256R1())
        scalar = private.private_numbers().private_value.to_bytes(32, "big")
        self.point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.key = ecdsa.SigningKey(lane, scalar)
        self.messages = [os.urandom(_OCTETS) for _ in range(self.many)]
        self.digests = b"".join(hashlib.sha256(message).digest() for message in self.messages)
        self.signatures = ecdsa.sign_batch(self.key, self.digests)
        self.points = self.point * self.many
        self.loop = _compiled(folder, lane)
        path, _ = ecdsa.library()
        first = self.signatures[:64]
        if not self.loop.prepare(path.encode(), _NIDS[lane], self.point, first, scalar):
            raise SystemExit("the C loop can't use this libcrypto")

    def verify(self, threads: int = 1) -> None:
        """A point parsed, a message hashed and a signature verified, each."""
        found = ecdsa.verify_messages(self.lane, self.points, self.messages, self.signatures, threads)
        if found != b"\x01" * self.many:
            raise SystemExit("a sound signature was refused")

    def sign(self) -> None:
        ecdsa.sign_batch(self.key, self.digests)

    def loop_verify(self) -> None:
        if self.loop.verify(self.digests[:32], self.many) != self.many:
            raise SystemExit("the C loop refused a sound signature")

    def loop_sign(self) -> None:
        self.loop.sign(self.digests[:32], self.many)


def _compiled(folder: Path, lane: int) -> ctypes.CDLL:
    """A loop of its own for each lane: it keeps its key in itself."""
    source, library = folder / f"loop{lane}.c", folder / f"loop{lane}.so"
    source.write_text(_LOOP)
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return ctypes.CDLL(str(library))


def competed(ours: Callable[[], None], theirs: Callable[[], None], many: int, rounds: int) -> tuple[float, float]:
    """(microseconds of ours, theirs / ours): more than 1 is better than the C loop."""
    spent: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        pair = []
        for call in (ours, theirs):
            start = time.thread_time()
            call()
            pair.append((time.thread_time() - start) / many * 1e6)
        spent.append((pair[0], pair[1]))
    return statistics.median(a for a, _ in spent[1:]), statistics.median(b / a for a, b in spent[1:])


def scaling(case: Case, rounds: int) -> tuple[float, float, float]:
    """(microseconds of one thread, of two, how much faster two are), by the clock."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        case.verify()
        one = time.perf_counter() - start
        start = time.perf_counter()
        case.verify(2)
        found.append((one, time.perf_counter() - start))
    one, two = (statistics.median(column) / case.many * 1e6 for column in zip(*found, strict=True))
    return one, two, statistics.median(a / b for a, b in found)


def speed() -> str:
    """What `openssl speed` says, of its own libcrypto."""
    if shutil.which("openssl") is None:
        return "no openssl command"
    command = ["openssl", "speed", "-seconds", "1", "ecdsap256"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join(done.stdout.splitlines()[-1].split()[-2:]) if done.returncode == 0 else "openssl speed failed"


def main(wanted: Size) -> None:
    if not ecdsa.available():
        raise SystemExit("no libcrypto was found: there is nothing to measure")
    path, version = ecdsa.library()
    conditions = (
        f"{path} {version:x}, Python {platform.python_version()}, {wanted.rounds} rounds, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for lane in (ecdsa.P256, ecdsa.BRAINPOOL):
            case = Case(lane, Path(folder), max(wanted.operations // _SLOWER[lane], 1))
            verify, of_verify = competed(case.verify, case.loop_verify, case.many, wanted.rounds)
            sign, of_sign = competed(case.sign, case.loop_sign, case.many, wanted.rounds)
            one, two, faster = scaling(case, wanted.rounds)
            print(
                f"ecdsa {_NAMES[lane]:<16} verify {verify:6.1f} us ({of_verify:.2f} of the C loop)  "
                f"sign {sign:6.1f} us ({of_sign:.2f})  two threads {faster:.2f}x  ({conditions})"
            )
            _records.cost(f"verify_{_COSTS[lane]}", verify, 0.0, conditions)
            _records.cost(f"sign_{_COSTS[lane]}", sign, 0.0, conditions)
            if lane == ecdsa.P256:
                _records.record("verify_batch", verify, verify * of_verify, of_verify, conditions)
                _records.record("verify_threads", two, one, faster, conditions)
    print(f"openssl speed ecdsap256 (sign/s verify/s): {speed()}")


if __name__ == "__main__":
    main(size(_STANDARD))

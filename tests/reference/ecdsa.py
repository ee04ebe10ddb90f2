"""ECDSA by the book (SEC 1 section 4.1.4), in affine coordinates: slow and obvious, the twin of eim._fast.ecdsa."""

from typing import Final, TypeAlias

import msgspec

Point: TypeAlias = tuple[int, int] | None  # None: infinity


class Curve(msgspec.Struct, frozen=True):
    """y^2 = x^3 + ax + b over the integers modulo p; `g` generates a group of prime order n."""

    p: int
    a: int
    b: int
    g: tuple[int, int]
    n: int


P256: Final = Curve(
    p=0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF,
    a=-3,
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    g=(
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    n=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
BRAINPOOL: Final = Curve(  # RFC 5639 section 3.4
    p=0xA9FB57DBA1EEA9BC3E660A909D838D726E3BF623D52620282013481D1F6E5377,
    a=0x7D5A0975FC2C3057EEF67530417AFFE7FB8055C126DC5C6CE94A4B44F330B5D9,
    b=0x26DC5C6CE94A4B44F330B5D9BBD77CBF958416295CF7E1CE6BCCDC18FF8C07B6,
    g=(
        0x8BD2AEB9CB7E57CB2C4B482FFC81B7AFB9DE27E1E3BD23C23A4453BD9ACE3262,
        0x547EF835C3DAC4FD97F8461A14611DC9C27745132DED8E545C1D54C72F046997,
    ),
    n=0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
)


def verify(curve: Curve, point: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` (r || s) is one of the key `point` (04 || x || y) over `digest`."""
    q, r, s = read_point(curve, point), int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if q is None or not (1 <= r < curve.n and 1 <= s < curve.n):
        return False
    w = pow(s, -1, curve.n)
    found = _add(curve, _times(curve, int.from_bytes(digest, "big") * w, curve.g), _times(curve, r * w, q))
    return found is not None and found[0] % curve.n == r


def read_point(curve: Curve, octets: bytes) -> Point:
    """The point, when it is one of the curve's; None otherwise."""
    x, y = int.from_bytes(octets[1:33], "big"), int.from_bytes(octets[33:], "big")
    if octets[:1] != b"\x04" or len(octets) != 65 or x >= curve.p or y >= curve.p:
        return None
    return (x, y) if (y * y - (x * x * x + curve.a * x + curve.b)) % curve.p == 0 else None


def _times(curve: Curve, k: int, point: Point) -> Point:
    k, total = k % curve.n, None
    while k:
        total = _add(curve, total, point) if k & 1 else total
        point, k = _add(curve, point, point), k >> 1
    return total


def _add(curve: Curve, first: Point, second: Point) -> Point:
    if first is None or second is None:
        return first or second
    (x1, y1), (x2, y2) = first, second
    if x1 == x2 and (y1 + y2) % curve.p == 0:
        return None
    slope = (3 * x1 * x1 + curve.a, 2 * y1) if first == second else (y2 - y1, x2 - x1)
    m = slope[0] * pow(slope[1], -1, curve.p)
    x = (m * m - x1 - x2) % curve.p
    return x, (m * (x1 - x) - y1) % curve.p

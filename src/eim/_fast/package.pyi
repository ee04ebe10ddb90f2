from collections.abc import Callable, Iterable

from eim._fast.ecdsa import SigningKey

_Item = tuple[bytes, int, bytes | None, int | None, bytes]

def seal_batch(key: SigningKey, eim_id: bytes, items: Iterable[_Item]) -> list[bytes]: ...
def seal_each(sign: Callable[[bytes], bytes], eim_id: bytes, items: Iterable[_Item]) -> list[bytes]: ...

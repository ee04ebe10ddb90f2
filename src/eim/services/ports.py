"""What services need from the outside, fulfilled by adapters and joined in `app`."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

Clock = Callable[[], datetime]  # aware, UTC


class Signer(Protocol):
    """Holds one identity's private key."""

    def sign(self, tbs: bytes) -> bytes:
        """ECDSA over SHA-256 of `tbs`, as r || s of 64 octets. Raises KeyUnusable."""
        ...


class Keys(Protocol):
    """Finds the key of an identity."""

    def load(self, name: str) -> Signer:
        """The signer of the key called `name`. Raises KeyUnusable."""
        ...

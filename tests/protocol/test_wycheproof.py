"""Wycheproof's ECDSA vectors through our own verification, with each provider (reliability 37).

The files lie beside the checkout and are never part of it. Each that is missing there is skipped by name.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from eim._fast import ecdsa as native
from eim.protocol.ecdsa import (
    CRYPTOGRAPHY,
    Curve,
    NativeProvider,
    Provider,
    PublicKey,
    public_key_from_spki,
    verify,
    verify_der,
)

BESIDE: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "wycheproof"
PROVIDERS: Final[Mapping[str, Provider]] = {"cryptography": CRYPTOGRAPHY} | (
    {"native": NativeProvider()} if native.available() else {}
)
FILES: Final[Mapping[str, tuple[Curve, Callable[[PublicKey, bytes, bytes, Provider], bool]]]] = {
    "ecdsa_secp256r1_sha256_p1363_test.json": (Curve.P256, verify),
    "ecdsa_secp256r1_sha256_test.json": (Curve.P256, verify_der),
    "ecdsa_brainpoolP256r1_sha256_p1363_test.json": (Curve.BRAINPOOL, verify),
    "ecdsa_brainpoolP256r1_sha256_test.json": (Curve.BRAINPOOL, verify_der),
}
# What the project's pass mark names: cases in the file that every checkout of the vectors has.
COUNTED: Final = {"ecdsa_secp256r1_sha256_p1363_test.json": {"valid": 173, "invalid": 89}}


def groups(name: str) -> list[dict[str, Any]]:
    path = BESIDE / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    found: list[dict[str, Any]] = json.loads(path.read_text())["testGroups"]
    return found


def spki_of(group: Mapping[str, Any]) -> bytes:
    """Newer files have publicKeyDer, older ones keyDer."""
    return bytes.fromhex(group.get("publicKeyDer") or group["keyDer"])


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", FILES)
def test_every_case_gets_its_verdict(name: str, provider: str) -> None:
    """What is "acceptable" (an odd coding in older files) may go either way; nothing else may."""
    curve, check = FILES[name]
    judge, wrong, seen = PROVIDERS[provider], list[int](), Counter[str]()
    for group in groups(name):
        key = public_key_from_spki(spki_of(group), judge)
        assert key.curve is curve
        for case in group["tests"]:
            seen[case["result"]] += 1
            verdict = check(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]), judge)
            if case["result"] != "acceptable" and verdict != (case["result"] == "valid"):
                wrong.append(case["tcId"])
    assert wrong == []
    assert seen["valid"] > 0
    assert seen["invalid"] > 0
    assert dict(seen) == COUNTED.get(name, dict(seen))


def test_every_provider_agrees_with_every_other_on_every_case() -> None:
    for name, (_, check) in FILES.items():
        if not (BESIDE / name).exists():
            continue
        for group in groups(name):
            for case in group["tests"]:
                message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
                verdicts = {
                    check(public_key_from_spki(spki_of(group), judge), message, signature, judge)
                    for judge in PROVIDERS.values()
                }
                assert len(verdicts) == 1, (name, case["tcId"])

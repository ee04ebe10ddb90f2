"""Keys that everyone has: the test certificates of GSMA SGP.26 and the samples that eIM projects ship.

A card that trusts one of them obeys anyone, and a CI among them vouches for any card. They serve in test mode only.
"""

import hashlib
from enum import Enum
from typing import Final


class Mode(Enum):
    """Whether published test keys and test roots may be used."""

    PRODUCTION = "production"
    TEST = "test"


# SHA-256 of the DER SubjectPublicKeyInfo, and the key's name: version and curve of SGP.26, samples of eIM projects, and
# the keys of test chains made under the published CI keys.
TEST_KEYS: Final = frozenset(
    bytes.fromhex(line.split()[0])
    for line in """
42875400d01b73479c8185a5bf935d5bf6d313b6a6a7059a40513b0ff63116a2 dptls-dates/CERT_S_SM_DP2_TLS_NIST_2025-06 to 2026-08
c6b0946eac5d4430c370aadc52e1f2f010b74e445fd6b2bc5d5d8e48948512b9 eim-samples/sample_eim_cert_brainpool
de54865fe20869f4a85426ec3a875f441db5b427727907f129406177610c6926 eim-samples/sample_eim_cert_nist
6194ebc8919ec1242086539331b9b919260db69f0aaf5fe92034cd253f8547b9 generated-brp/SK_EIM_TLS_BRP
35354aee61cbd18631e61ff415f6804b8cd849577411f2edc29cdaadfb46bfb0 generated-brp/SK_S_EIMsign_ECDSA_BRP
7af9183af2f7a09da9e677a677288b179eb5aa405cb824ef1547eaf558434e0b generated-brp/SK_S_SM_DP_TLS_2054_BRP
18a612342afa442e7b711e7f2adb60bec984be48ce3f0bc484b2588f4ce42295 generated-brp/SK_S_SM_DS_TLS_BRP
8c83d1265eb37eb85f526e218399e4f393d1fc3154da34151c12414ae54cf3cf generated-brp/SK_S_SM_DSauth_ECDSA_BRP
e1a3bc50afe6a8fc360a847af309195a144116bc6590efd0237c7220fed92e99 generated-nist/SK_EIM_TLS_NIST
d22066eb6650470146eee5a318055d80594f833e0e266095f3777de3c1b2d97b generated-nist/SK_S_SM_DP_TLS_2054_NIST
d65f2c15607af58602b6265b1b58fbc0226a261bb8948c716736b382f1575a4f generated-nist/SK_S_SM_DS_TLS_NIST
bd1e308b8c1cec9a7ffb15589e7fcad9004e4a7a93955a7aa635849ba464db6e generated-nist/SK_S_SM_DSauth_ECDSA_NIST
a4538101ea9ff14ad8ebe1de23a6d1086e4c856b116faba9dfffab7ffd15ec12 invalid-nist/CERT_UNKNOWN_CI_ECDSA_NIST
dd94eafd8c23448a960c9bd708d175af687a6be1936463eccf4eb57eede7a602 single-fault-nist/00_good_control.euicc
baa784e1112d08270559ad01c2b3cd035f1a47ec81df2eea35a41597887966f4 single-fault-nist/20_euicc_p384_key.euicc
31535c3a8453601f6d808363850cc7a71e1036eeac9f2d759d10b2c50e7e5779 single-fault-nist/32_euicc_issued_by_euicc.euicc
bcf3b94cf477e73bfdf3c1da08a5c92fc5aba906c45238f31ee8e990c108cdaf v1.5-brp/SK_CI_ECDSA_BRP
bd1d210f9f09842d95f061f7ff4381a596ffc757bb9f2c87eacf6a772a933346 v1.5-brp/SK_EUICC_ECDSA_BRP
76f277633b6316a1f7d8f4dabc3575a935649ab84fe19b7cf72bbe89a1e3e06a v1.5-brp/SK_EUM_ECDSA_BRP
6ee321176cef5c37f178a1184461718740bac3abccd96645b9f8f37329f31b92 v1.5-brp/SK_S_SM_DP2auth_ECDSA_BRP
732d4d815da01e0a1dabe9a0090bc95d9e699dc0ccf49a1fb09fe4069fb037b2 v1.5-brp/SK_S_SM_DP_TLS_BRP
c701352cc50a580de57743f8b851f2bbfba43b0da91f7a9582d7640d0361d979 v1.5-brp/SK_S_SM_DPauth_ECDSA_BRP
bd77d7283230167e64670e03ddcb3f3b5f1b966785934f781f3a788c49d2bb35 v1.5-brp/SK_S_SM_DPpb_ECDSA_BRP
80dbfcd67b4322590df6de16077983ccafda7381d3f25c8f7b5c3d7d5c420d55 v1.5-nist/SK_CI_ECDSA_NIST
b014e2adb6cd4e05d0b5bdd0b9ad9f9f89b14ce07ca4b247de91289de4183470 v1.5-nist/SK_EUICC_ECDSA_NIST
cf95add35d149297cfdeecc4da59aba5a58331b034e0d1a823aae0274a818c8d v1.5-nist/SK_EUM_ECDSA_NIST
fc867a25cad72e04fd1e1820a50c461c0c7ae6340cd895d69f34913dccec7e44 v1.5-nist/SK_S_SM_DP2auth_ECDSA_NIST
c2416486b2fc48c65c43551336fa2d50cb63d05820b774119fa4ccbcb8fa0708 v1.5-nist/SK_S_SM_DP_TLS_NIST
fdca08b05aac62cdd7a77ca48b759e43798a9790b9eca8d7d88ea30c726e81d6 v1.5-nist/SK_S_SM_DPauth_ECDSA_NIST
a02da93ebe79742ab058918687dea2a64fca12e465b93ad5c738dcde5551d753 v1.5-nist/SK_S_SM_DPpb_ECDSA_NIST
d3177a090298936291c6bf22a74debb843782124561d3cf592cedf1b62b47053 v3-variant-o-nist/SK_S_EIMsign_ECDSA_NIST
""".strip().splitlines()
)


def fingerprint(spki: bytes) -> bytes:
    """SHA-256 over a DER SubjectPublicKeyInfo, 32 octets."""
    return hashlib.sha256(spki).digest()


def is_published_test_key(spki: bytes) -> bool:
    """Whether the DER SubjectPublicKeyInfo `spki` is that of a key whose private half anyone can download."""
    return fingerprint(spki) in TEST_KEYS

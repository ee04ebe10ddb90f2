"""ES9+ towards SM-DP+, as an LPA would speak it (SGP.22 sections 5.6, 6.5, 6.6)."""

import base64
from importlib.metadata import version
from typing import Final

import msgspec

from eim.asn1 import der
from eim.connectors.transport import Asked, Reply, Transport
from eim.domain.smdp import Binding, Smdp
from eim.domain.webhook import Target
from eim.services.ports import Answered

_PATH: Final = {Binding.JSON: "/gsma/rsp2/es9plus/handleNotification", Binding.ASN1: "/gsma/rsp2/asn1"}
_MEDIA: Final = {Binding.JSON: "application/json;charset=UTF-8", Binding.ASN1: "application/x-gsma-rsp-asn1"}
_AGENT: Final = f"gsma-rsp-lpad eim/{version('eim')}"
_REQUEST: Final = 0xA2  # RemoteProfileProvisioningRequest
_HANDLE_NOTIFICATION: Final = 0xBF3D
_PENDING: Final = 0xA0  # pendingNotification is a CHOICE, so its automatic tag is explicit
_NO_CONTENT: Final = 204
_OK: Final = 200
_EXECUTED: Final = "Executed"  # -Success, -WithWarning


class _Status(msgspec.Struct):
    status: str


class _Header(msgspec.Struct, rename="camel"):
    function_execution_status: _Status


class _Answer(msgspec.Struct):
    header: _Header


class Es9Plus:
    """Speaks ES9+ over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def room(self, smdp: Smdp) -> int:
        """How many calls to it make sense now; 0 while it is left alone."""
        return self._transport.room(smdp.target)

    async def handle_notification(self, smdp: Smdp, octets: bytes) -> Answered:
        """Give it one PendingNotification TLV, which travels as it is. Safe to repeat; every failure is an answer."""
        at = smdp.target
        target = Target(at.scheme, at.host, at.port, _PATH[smdp.binding])
        headers = {
            "Content-Type": _MEDIA[smdp.binding],
            "User-Agent": _AGENT,
            "X-Admin-Protocol": f"gsma/rsp/v{smdp.protocol}",
        }
        body = _body(smdp.binding, octets)
        reply = await self._transport.post(Asked(target, smdp.reach, smdp.roots.value, headers, body))
        failure = reply.failure or _refused(smdp.binding, reply)
        return Answered(failure, reply.status, reply.retry_after, reply.tried)


def _body(binding: Binding, octets: bytes) -> bytes:
    if binding is Binding.ASN1:
        return der.wrap(_REQUEST, der.wrap(_HANDLE_NOTIFICATION, der.wrap(_PENDING, octets)))
    return msgspec.json.encode({"pendingNotification": base64.b64encode(octets).decode()})


def _refused(binding: Binding, reply: Reply) -> str | None:
    """Why an answer of 2xx does not say that it was taken; None: it does. Due is 204; 200 is seen, empty or not."""
    if reply.status == _NO_CONTENT or (reply.status == _OK and not reply.body):
        return None
    if reply.status != _OK or binding is Binding.ASN1:
        return f"status {reply.status} with an answer that is none of HandleNotification"
    try:
        said = msgspec.json.decode(reply.body, type=_Answer).header.function_execution_status.status
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "status 200 with an answer that is none of HandleNotification"
    return None if said.startswith(_EXECUTED) else "it answers that it did not execute it"

"""Whatever the interface can, the command line can: each route is called by a command, with all that it takes.

A new route needs a line in COMMANDS, or one with its reason in LEFT_OUT; a new parameter needs an option or a reason.
"""

import json
import re
import shlex
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from click.testing import CliRunner

from eim.cli import main
from eim.web.endpoints import Endpoint
from eim.web.operator import OperatorServices, endpoints_of

_ID: Final = "7b0f4d0e-6f3f-4f4e-8a55-0d3e8b0a2a11"
_EID: Final = "89049032000001000000000000000128"
_AT: Final = "2027-01-31T12:00:00+00:00"
_ALL_OF_ONE: Final = (
    "--label l --tag t --group g --time-zone Europe/Berlin --identity i --association-token 1 --counter 1 "
    "--initial-counter 1 --euicc-certificate FILE --eum-certificate FILE --unverifiable --allow-invalid-check-digits"
)
_ORDER: Final = (
    f"--iccid 8988307000000000001F --eid {_EID} --all --tag t --urgent --skip --force because --confirm 1 "
    f"--not-before {_AT} --expires-at {_AT}"
)

COMMANDS: Final[Mapping[str, str]] = {
    "addEuicc": f"devices add {_EID} {_ALL_OF_ONE}",
    "addEuiccs": f"devices add {_EID} {_EID} {_ALL_OF_ONE}",
    "listEuiccs": (
        f"devices list --tag t --label l --group g --service-provider p --iccid 8988307000000000001F --identity i "
        f"--speaks 1.2 --plmn 62F210 --introduced --busy --unverifiable --seen-after {_AT} --seen-before {_AT} "
        f"--created-after {_AT} --created-before {_AT}"
    ),
    "getEuicc": f"devices show {_EID}",
    "editEuicc": (
        f"devices edit {_EID} --label l --tag t --group g --time-zone Europe/Berlin --unverifiable --reason because"
    ),
    "offboardEuicc": f"devices offboard {_EID} --reason because --force",
    "listProfiles": f"devices show {_EID}",
    "listEvents": f"devices show {_EID}",
    "importEuiccs": "devices import FILE --counter-margin 5 --allow-invalid-check-digits",
    "getImport": f"devices imported {_ID}",
    "listImportProblems": f"devices imported {_ID}",
    "listUnknownCallers": "devices unknown",
    "adoptUnknownCaller": f"devices unknown --adopt {_EID} --label l --tag t --group g --identity i",
    "adoptUnknownCallers": (
        f"devices unknown --adopt {_EID} --adopt {_EID} --label l --tag t --group g --identity i --confirm 2"
    ),
    "findProfiles": "devices holding 8988307000000000001F",
    "order": f"order enable {_ORDER}",
    "previewOrder": f"order enable {_ORDER} --preview",
    "orderChain": f"order chain --eid {_EID} --step list-profiles --urgent --force because --confirm 1",
    "listOperations": (
        f"operations list --state done --kind enable --eid {_EID} --order {_ID} --iccid 8988307000000000001F "
        f"--ordered-by token:a --reason ok --created-after {_AT} --created-before {_AT} --open"
    ),
    "withdraw": f"operations withdraw {_ID}",
    "getOperation": f"operations show {_ID}",
    "getOrder": f"orders show {_ID}",
    "stopOrder": f"orders stop {_ID}",
    "withdrawOrder": f"orders withdraw {_ID}",
    "getSummary": "devices summary",
    "createToken": f"token create a --scope euiccs:read --expires-at {_AT}",
    "listTokens": "token list",
    "rotateToken": f"token rotate {_ID} --grace 5",
    "revokeToken": f"token revoke {_ID}",
    "createTenant": "tenants create a --identity i --euiccs 5 --tokens 5 --orders-a-day 5",
    "listTenants": "tenants list",
    "getTenant": "tenants limit 2 --euiccs 5",
    "limitTenant": "tenants limit 2 --euiccs 5",
    "createTenantToken": f"tenants token 2 a --scope euiccs:read --expires-at {_AT}",
    "listIdentities": "identities list",
    "retireIdentity": "identities retire 1 --reason because --force",
    "getIdentity": "identities show 1",
    "searchAudit": f"audit search --actor a --action order. --subject s --since {_AT} --until {_AT}",
    "getTimeline": f"devices timeline {_EID}",
    "traceEuicc": f"devices trace {_EID} --minutes 5 --exchanges 5",
    "getTrace": f"devices trace {_EID} --show",
    "clearTrace": f"devices trace {_EID} --delete",
    "readEvents": f"events --type eim.operation.done --eid {_EID} --tag t --since {_AT}",
    "createWebhook": "webhooks create https://a.example --description d --type eim.operation.done --tag t",
    "listWebhooks": "webhooks list",
    "getWebhook": f"webhooks show {_ID}",
    "changeWebhook": (
        f"webhooks change {_ID} --url https://a.example --description d --type eim.operation.done --tag t --enable"
    ),
    "deleteWebhook": f"webhooks delete {_ID}",
    "rotateWebhookSecret": f"webhooks rotate {_ID} --overlap 5",
    "testWebhook": f"webhooks test {_ID}",
    "replayWebhook": f"webhooks replay {_ID} --since {_AT} --dead-letters",
    "listDeadLetters": f"webhooks dead {_ID}",
    "resume": f"operations resume {_ID}",
    "listNotifications": (
        f"notifications list --state held --eid {_EID} --iccid 8988307000000000001F --event enable --address a.example"
    ),
    "getNotification": f"notifications show {_ID}",
    "retryNotification": f"notifications retry {_ID}",
    "giveUpNotification": f"notifications give-up {_ID} --reason because",
    "addSmdp": (
        "smdps add a.example --description d --binding json --roots gsma --network 10.0.0.0/8 --protocol 2.1.0"
    ),
    "listSmdps": "smdps list",
    "getSmdp": "smdps show a.example",
    "changeSmdp": (
        "smdps change a.example --description d --binding json --roots gsma --network 10.0.0.0/8 --protocol 2.1.0 "
        "--enable"
    ),
    "removeSmdp": "smdps remove a.example",
    "listBarred": "devices barred",
    "listKeys": "associations keys 1",
    "moveToNewestKey": f"associations move 1 --reason because --tag t --eid {_EID} --new-count --confirm 1",
    "loadKey": "associations load 1 2 --reason because",
    "retireKeys": "associations retire-keys 1 2 --reason because",
    "resumeEuicc": f"associations resume {_EID} --reason because",
    "beginHandover": f"handover out FILE --eid {_EID} --reason because --confirm 1 --after-contact",
    "listHandovers": "handover list",
    "confirmHandover": f"handover confirm {_ID} --eid {_EID}",
    "abortHandover": f"handover abort {_ID} --reason because",
    "getHandover": f"handover show {_ID} --stage confirmed --limit 5",
    "quarantineEuicc": f"devices quarantine {_EID} --reason because",
    "releaseEuicc": f"devices release {_EID} --reason because",
    "addDenial": (
        f"deny add --eid {_EID} --ein 89049032 --eum-key-id AA --fingerprint AA --serial 01 --issuer-key-id AA "
        f"--reason because --expires-at {_AT}"
    ),
    "listDenials": "deny list --ended",
    "liftDenial": f"deny lift {_ID} --reason because",
}
LEFT_OUT: Final[Mapping[str, str]] = {
    "cursor": "commands go from page to page by themselves, or say so when there is more",
    "limit": "as above",
    "after": "as above, for the problems of an import; of an order it stands with --after-event in its own test",
    "after_event": "see `after`: an order after another is of one eUICC and no mass order",
    "fields": "tables choose their columns, --json prints all",
    "order.eid": "`eids` with one",
    "previewOrder.eid": "`eids` with one",
    "order.lines": "--file with an ICCID a line, which excludes --iccid",
    "previewOrder.lines": "see order.lines",
    "getDenial": "`deny list` shows the same of each",
    "addSmdp.enabled": "one is added to be called; `smdps change --disable` stops that",
    "addEuiccs.on_error": "`devices import` takes good lines and reports bad ones",
}
_ANSWERS: Final[Mapping[str, object]] = {  # what must be answered so that a command gets to its next call
    f"GET /v1/euiccs/{_EID}/profiles": {"items": []},
    f"GET /v1/euiccs/{_EID}/events": {"items": [], "next": None},
    f"GET /v1/imports/{_ID}": {
        "id": _ID, "records": 9, "accepted": 1, "refused": 2, "by": "a", "created_at": _AT, "changed_at": _AT,
        "finished_at": _AT, "problems": [{"line": 1, "code": "a", "detail": "b"}],
    },
    "GET /v1/tenants/2": {"etag": "a", "id": 2, "name": "b", "limits": {}, "created_at": _AT},
}  # fmt: skip


class Call(msgspec.Struct, frozen=True):
    method: str
    path: str
    said: frozenset[str]  # names of the query's and the body's fields


class Recorder:
    """A server that notes what it is asked, and answers little."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = self._body()
                said = {name for name, _ in parse_qsl(parts.query)} | (set(body) if isinstance(body, dict) else set())
                recorder.calls.append(Call(self.command, parts.path, frozenset(said)))
                known = _ANSWERS.get(f"{self.command} {parts.path}")
                problem = {"type": "t", "title": "t", "status": 400, "code": "recorded", "detail": "recorded"}
                content = json.dumps(known or problem).encode()
                self.send_response(200 if known else 400)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _body(self) -> object:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while (size := int(self.rfile.readline(), 16)) > 0:
                        self.rfile.read(size + 2)
                    self.rfile.readline()
                    return None
                octets = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                return json.loads(octets) if octets else None

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the library's names

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


def _endpoints() -> list[Endpoint]:
    nothing = cast("dict[str, Any]", dict.fromkeys(OperatorServices.__struct_fields__))
    return endpoints_of(OperatorServices(**nothing))


def test_no_command_is_named_for_a_route_that_is_gone() -> None:
    assert set(COMMANDS) - {each.route.name for each in _endpoints()} == set()


@pytest.mark.parametrize("endpoint", _endpoints(), ids=lambda each: each.route.name)
def test_a_route_is_called_by_a_command_with_all_that_it_takes(
    endpoint: Endpoint, recorder: Recorder, tmp_path: Path
) -> None:
    name = endpoint.route.name
    if name in LEFT_OUT:
        return
    assert name in COMMANDS, f"{name} is called by no command: add its line to COMMANDS, or its reason to LEFT_OUT"
    file = tmp_path / "lines.ndjson"
    file.write_text("{}\n")
    recorder.calls.clear()
    words = shlex.split(COMMANDS[name].replace("FILE", str(file)))
    done = CliRunner().invoke(main, [*words, "--server", recorder.address, "--token", "eim_x"])
    path = re.compile(re.sub(r"\{\w+\}", "[^/:]+", endpoint.route.path.replace(".", r"\.")))
    found = [c for c in recorder.calls if c.method == endpoint.route.method and path.fullmatch(c.path)]
    assert found, (done.output, recorder.calls)
    takes = {*endpoint.query.__struct_fields__, *endpoint.body.__struct_fields__}
    said = frozenset[str]().union(*(call.said for call in found))
    missing = {field for field in takes - said if field not in LEFT_OUT and f"{name}.{field}" not in LEFT_OUT}
    assert missing == set(), f"{COMMANDS[name].split()[:2]} has no way to say {missing}"

"""docs/events.md: its table is the types', and its receiver runs and believes what we send, and nothing else."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from msgspec.structs import fields as fields_of

from eim.domain.event import Happening, Origin, cloud_event, is_type, kind_of, kinds_of
from eim.domain.event_data import DATA
from eim.domain.webhook import Secret, signatures
from tests.operator_side import eid_of

_PAGE = (Path(__file__).parents[1] / "docs" / "events.md").read_text(encoding="utf-8")


def test_the_table_is_made_of_the_types() -> None:
    rows = [line for line in _PAGE.splitlines() if line.startswith("| `eim.")]
    assert len(rows) == len(Happening)
    for kind, row in zip(Happening, rows, strict=True):
        fields = ", ".join(
            f"`{f.encode_name}`" if f.required else f"(`{f.encode_name}`)" for f in fields_of(DATA[kind])
        )
        assert row == f"| `{kind.type}` | {kind.version} | {kind.meaning} | {fields} |"


def test_a_kind_that_is_not_listed_is_refused() -> None:
    assert kind_of("operation.done") is Happening.OPERATION_DONE
    with pytest.raises(ValueError, match=r"operation\.doen"):
        kind_of("operation.doen")


def test_filters_name_types_or_all_of_a_noun() -> None:
    assert kinds_of(["eim.operation.done"]) == ("operation.done",)
    assert set(kinds_of(["eim.operation.*", "eim.webhook.tested"])) > {"operation.failed", "webhook.tested"}
    assert len(kinds_of([])) == len(Happening)
    assert is_type("eim.*")
    assert not any(map(is_type, ("", "*", "operation.done", "eim.operation", "eim.opera.*", "eim.operation.done.*")))


def _post(port: int, headers: Mapping[str, str], body: bytes) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def test_the_receiver_of_the_page_believes_signed_events_and_no_others(tmp_path: Path) -> None:
    secret, other = Secret(b"k" * 32, None), Secret(b"x" * 32, None)
    found = re.search(r"```python\n(.*?)```", _PAGE, re.DOTALL)
    assert found is not None
    program = found[1].replace("whsec_...", secret.text).replace("8090", "0")
    program = program.replace("HTTPServer((", "server = HTTPServer((").replace(
        ", Receiver).serve_forever()", ", Receiver)"
    )
    program += "    print(server.server_port, flush=True)\n    server.serve_forever()\n"
    (tmp_path / "receiver.py").write_text(program, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "receiver.py")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        origin = Origin(uuid4(), eid_of(1), datetime.now(UTC), "eim.example.com")
        body = msgspec.json.encode(cloud_event(origin, "operation.done", {"n": 1}))
        ident, at = str(origin.id), int(time.time())

        def headers(secrets: tuple[Secret, ...], moment: int = at) -> dict[str, str]:
            signed = signatures(secrets, ident, moment, body)
            return {"webhook-id": ident, "webhook-timestamp": str(moment), "webhook-signature": signed}

        assert _post(port, headers((other,)), body) == 401
        assert _post(port, headers((secret,)), body + b" ") == 401
        assert _post(port, headers((secret,), at - 600), body) == 401
        assert _post(port, headers((other, secret)), body) == 204
        assert _post(port, headers((secret,)), body) == 204
        assert process.stdout.readline().startswith("eim.operation.done eid/")
    finally:
        process.kill()
        said = process.communicate()[0]
    assert said == ""  # the repeat was recognised

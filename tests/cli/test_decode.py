import base64
import json
from pathlib import Path

from click.testing import CliRunner, Result

from eim.cli import main
from tests.protocol import captures

POLL = "BF4F12 5A10 89049032123451234512345678901235"
TRIGGER = "BF5422 A020 801E 4C50413A3124736D64702E6578616D706C652E636F6D2453454352455431"


def run(*words: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["decode", *words], input=stdin)


def test_hex_with_blanks_needs_no_quotes() -> None:
    done = run(*POLL.split())
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        " 0  BF4F  getEimPackageRequest",
        " 3    5A  eidValue: 89049032123451234512345678901235",
    ]


def test_a_message_comes_as_base64_and_from_standard_input() -> None:
    octets = bytes.fromhex(POLL)
    expected = run(POLL).output
    assert run(base64.b64encode(octets).decode()).output == expected
    assert run("-", stdin=octets).output == expected
    assert run("-", stdin=POLL.encode() + b"\n").output == expected


def test_a_file_holds_octets_hex_or_a_whole_http_message(tmp_path: Path) -> None:
    octets, file = bytes.fromhex(POLL), tmp_path / "message"
    head = b"POST /gsma/rsp2/asn1 HTTP/1.1\r\nHost: eim.example.com\r\n\r\n"
    for content in (octets, POLL.encode(), head + octets, base64.encodebytes(octets)):
        file.write_bytes(content)
        assert run(str(file)).output == run(POLL).output


def test_a_signature_says_what_it_covers() -> None:
    done = run(captures.of(7, "response").hex())
    assert "over octets 8..70 (30 euiccPackageSigned) || associationToken" in done.output


def test_a_code_is_masked_unless_asked_for() -> None:
    assert "SECRET1" not in run(TRIGGER).output
    assert "1$smdp.example.com$****" in run(TRIGGER).output
    assert "1$smdp.example.com$SECRET1" in run(TRIGGER, "--show-secrets").output
    assert "53454352" not in run(TRIGGER, "--json").output


def test_what_follows_the_message_is_said() -> None:
    done = run("BF4F03020101 4142")
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == "the message ends at octet 6; 2 more don't belong to it: 4142"


def test_a_cut_message_is_shown_as_far_as_it_goes_and_fails() -> None:
    done = run("BF4F12 5A10 8904")
    assert done.exit_code == 1
    assert "eidValue" in done.output
    assert "its length says 18 octets, 4 are there" in done.output


def test_json_has_the_same_tree() -> None:
    told = json.loads(run(POLL, "--json").output)
    assert told["entries"][0]["name"] == "getEimPackageRequest"
    assert told["entries"][0]["entries"][0]["value"] == "89049032123451234512345678901235"


def test_words_that_are_nothing_are_wrong_usage() -> None:
    done = run("no", "message")
    assert done.exit_code == 2
    assert "neither hex nor base64" in done.output

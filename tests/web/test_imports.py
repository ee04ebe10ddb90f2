"""Files of eUICCs over the interface: CSV and JSON lines, good and bad, again and in pieces."""

import json
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import httpx2
import pytest

from eim.web.records import MOST, Format, Record, Splitter
from tests.database import Database
from tests.operator_side import eid_text

CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def upload(
    client: httpx2.AsyncClient, content: object, headers: dict[str, str], **query: object
) -> httpx2.Response:
    return await client.post("/v1/euiccs:import", content=content, headers=headers, params=query)  # type: ignore[arg-type]


async def rows(database: Database) -> list[dict[str, object]]:
    found = await database.owner().fetch("SELECT * FROM euiccs ORDER BY eid")
    return [dict(row) for row in found]


async def test_columns_come_in_any_order_with_marks_and_quotes(client: httpx2.AsyncClient, database: Database) -> None:
    file = (
        "\ufeffTime_Zone,tags,EID,label,group,counter,initial_counter,association_token,unverifiable\r\n"
        f'Europe/Berlin,north;meter,{eid_text(1)},"a ""quoted"", label",site 7,4711,10,5,TRUE\r\n'
        f",,{eid_text(2)},,,,,,\r\n"
        "\r\n"
        f'UTC,one|two,{eid_text(3)},"two\r\nlines",,,12,,'
    ).encode()
    done = (await upload(client, file, CSV, counter_margin=100)).json()
    assert (done["records"], done["accepted"], done["refused"], done["problems"]) == (3, 3, 0, [])
    first, second, third = await rows(database)
    assert (first["label"], first["tags"], first["group_name"]) == ('a "quoted", label', ["north", "meter"], "site 7")
    assert (first["time_zone"], first["counter"], first["association_token"]) == ("Europe/Berlin", 4811, 5)
    assert first["unverifiable"] is True
    assert (second["label"], second["tags"], second["counter"], second["introduced_at"]) == (None, [], 0, None)
    assert (third["label"], third["tags"], third["counter"]) == ("two\nlines", ["one", "two"], 12)
    assert await database.owner().fetchval("SELECT count(*) FROM euicc_tags") == 4


@pytest.mark.parametrize("separator", [";", "\t"])
async def test_what_other_spreadsheets_write_is_read(client: httpx2.AsyncClient, separator: str) -> None:
    file = separator.join(["eid", "label"]) + "\n" + separator.join([eid_text(1), "one"]) + "\n"
    assert (await upload(client, file.encode(), CSV)).json()["accepted"] == 1


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"", "no heading"),
        (b"label,tags\na,b\n", "no column 'eid'"),
        (b"eid,color\n", "column 'color' is unknown"),
        (b"eid,eid\n", "named twice"),
        ("eid,label\n".encode("utf-16"), "UTF-16"),
        (b"\xff\xff\xff\n", "no heading in UTF-8"),
    ],
)
async def test_a_file_that_can_not_be_meant_is_refused_whole(
    client: httpx2.AsyncClient, file: bytes, says: str
) -> None:
    answer = await upload(client, file, CSV)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    other = await upload(client, b"x", {"Content-Type": "application/json"})
    assert other.status_code == 415
    assert (await upload(client, b"x", {"Content-Type": "text/csv; charset=latin1"})).status_code == 400


async def test_each_bad_line_is_reported_by_its_number_and_the_good_ones_are_taken(
    client: httpx2.AsyncClient, database: Database
) -> None:
    lines = [
        json.dumps({"eid": eid_text(1)}).encode(),
        b"{",
        json.dumps({"eid": eid_text(2), "color": "red"}).encode(),
        json.dumps({"eid": eid_text(3)[:-2] + "00"}).encode(),
        b'{"eid": "\xff"}',
        json.dumps({"eid": eid_text(1)}).encode(),
        json.dumps({"eid": eid_text(4), "time_zone": "Europe/Nowhere"}).encode(),
        json.dumps({"eid": eid_text(5), "counter": 8_388_600}).encode(),
        b'{"eid": "' + b"9" * MOST + b'"}',
        json.dumps({"eid": eid_text(6), "counter": 5, "initial_counter": 6}).encode(),
        json.dumps({"eid": eid_text(7)}).encode(),
    ]
    done = (await upload(client, b"\n".join(lines), NDJSON)).json()
    assert (done["records"], done["accepted"], done["refused"]) == (11, 2, 9)
    said = {each["line"]: each["detail"] for each in done["problems"]}
    assert sorted(said) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    for line, words in {
        3: "color",
        4: "check digits",
        7: "Europe/Nowhere",
        8: "8,388,607",
        9: "longer than",
        10: "below",
    }.items():
        assert words in said[line]
    assert [row["eid"] for row in await rows(database)] == [bytes.fromhex(eid_text(n)) for n in (1, 7)]
    page = (await client.get(f"/v1/imports/{done['id']}/problems", params={"limit": 4, "after": 4})).json()
    assert ([each["line"] for each in page["items"]], page["next"]) == ([5, 6, 7, 8], 8)
    assert (await client.get(f"/v1/imports/{UUID(int=1)}/problems")).status_code == 404


async def test_the_same_file_again_is_answered_the_same_and_does_nothing(
    client: httpx2.AsyncClient, database: Database
) -> None:
    file = b"eid\n" + b"\n".join(eid_text(n).encode() for n in range(2_500))
    first = (await upload(client, file, CSV | key("k"))).json()
    again = (await upload(client, file, CSV | key("k"))).json()
    assert first == again
    assert first["accepted"] == 2_500
    for other in (file + b"\n" + eid_text(9_999).encode(), file[:-33], file.replace(b"1", b"2")):
        answer = await upload(client, other, CSV | key("k"))
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-key-reused")
    assert (await upload(client, file, CSV | key("k"), counter_margin=7)).status_code == 409
    assert await database.owner().fetchval("SELECT count(*) FROM euiccs") == 2_500


async def test_an_interrupted_upload_goes_on_where_it_ended(client: httpx2.AsyncClient, database: Database) -> None:
    lines = [f"{eid_text(n)}\n".encode() for n in range(3_500)]

    async def torn() -> AsyncIterator[bytes]:
        yield b"eid\n" + b"".join(lines[:2_300])
        raise ConnectionResetError

    assert (await upload(client, torn(), CSV | key("torn"))).status_code >= 400
    assert await database.owner().fetchval("SELECT count(*) FROM euiccs") == 2_000
    done = (await upload(client, b"eid\n" + b"".join(lines), CSV | key("torn"))).json()
    assert (done["records"], done["accepted"], done["refused"]) == (3_500, 3_500, 0)
    assert done["finished_at"] is not None


def pieces(octets: bytes, size: int) -> Iterator[bytes]:
    return (octets[at : at + size] for at in range(0, len(octets), size))


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_records_are_the_same_however_the_octets_come(size: int) -> None:
    octets = b'eid,label\r\n1,"a\nb"\n\n2,"c""d"\n3,e'
    splitter = Splitter(Format.CSV)
    found = [record for piece in pieces(octets, size) for record in splitter.feed(piece)]
    found += splitter.finish()
    assert [(r.number, r.octets) for r in found] == [
        (1, b"eid,label"), (2, b'1,"a\nb"'), (4, b""), (5, b'2,"c""d"'), (6, b"3,e"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", Format)
def test_what_has_no_end_costs_bounded_memory_and_one_record(kind: Format) -> None:
    splitter = Splitter(kind)
    found: list[Record] = []
    for _ in range(100):
        found += splitter.feed(b"x" * 10_000)
        assert len(splitter._rest) <= MOST + 10_000
    found += splitter.feed(b"\nnext\n")
    assert [(r.number, r.too_long) for r in found] == [(1, True), (2, False)]
    assert found[1].octets == b"next"


def test_a_quotation_mark_that_is_never_closed_ends_with_the_limit() -> None:
    splitter = Splitter(Format.CSV)
    found = list(splitter.feed(b'1,"open\n' + b"22\n" * 50_000 + b"last\n"))
    assert found[0].too_long
    assert found[0].number == 1
    assert found[-1] == Record(50_002, b"last")

"""What is made or begun says where it is found from then on."""

from typing import Final

import msgspec

from eim.web.operator import operator_app
from tests.database import Database
from tests.operator_side import client_of, eid_text
from tests.web.samples import SAMPLES, Sample, table_of

_MADE: Final = {
    "addDenial", "addEuicc", "addSmdp", "adoptUnknownCaller", "beginHandover", "createTenant", "createWebhook",
    "importEuiccs", "order",
}  # fmt: skip


def sample_of(name: str) -> Sample:
    """The route's own; the card of the one for hand-overs is in a hand-over already."""
    found = SAMPLES[name]
    return Sample(body={**(found.body or {}), "eids": ["EID"]}) if name == "beginHandover" else found


async def test_the_location_of_what_was_made_can_be_read(database: Database) -> None:
    async with table_of(database) as table:
        making = [each for each in table.endpoints() if each.route.found_at is not None]
        assert {each.route.name for each in making} == _MADE
        async with client_of(operator_app(table.services), table.own.all) as client:
            await client.post("/v1/euiccs", json={"eid": eid_text(5)})
            for endpoint in making:
                if endpoint.route.name == "adoptUnknownCaller":  # its sample is nobody who calls
                    continue
                rows = msgspec.structs.replace(table.own.rows, eid=eid_text(5))
                made = await sample_of(endpoint.route.name).ask(client, endpoint, rows)
                assert made.status_code == endpoint.route.status, (endpoint.route.name, made.text)
                found = await client.get(made.headers["location"])
                assert found.status_code == 200, (endpoint.route.name, made.headers["location"])

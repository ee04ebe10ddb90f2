"""How long a file of eUICCs takes to be onboarded: `./dev bench importing --euiccs 100000`, beside reading it only."""

import time
from collections.abc import AsyncIterator
from typing import Final

import uvloop

from bench._estate import database
from bench._measuring import Size, conditions, line, size
from eim.domain.ids import format_eid
from eim.errors import UntrustedCertificate
from eim.protocol.trust import TrustedEuicc
from eim.services.onboarding import Onboarding
from eim.services.tokens import SETUP
from eim.services.uploads import Terms, Uploads
from eim.sim.pki import EIN, eids
from eim.store.connect import DbRole
from eim.web.records import Format, csv_reader, heading, lines, records

_STANDARD: Final = Size(rounds=1, operations=0, euiccs=100_000)
_PIECE: Final = 65_536


async def pieces(octets: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(octets), _PIECE):
        yield octets[start : start + _PIECE]


def nobody(euicc: bytes, eum: bytes) -> TrustedEuicc:
    raise UntrustedCertificate(f"{len(euicc) + len(eum)} octets of certificates that no benchmark brings", "euicc-none")


async def main(wanted: Size) -> None:
    rows = (f"{format_eid(eid)},meter {n},north;meter,{n % 9000},5" for n, eid in enumerate(eids(EIN, wanted.euiccs)))
    octets = ("eid,label,tags,counter,association_token\n" + "\n".join(rows)).encode()
    began = time.perf_counter()
    of = records(pieces(octets), Format.CSV)
    read = csv_reader(heading(await anext(of, None)))
    counted = len([each async for each in lines(of, read)])
    parsed = time.perf_counter() - began
    async with database() as made:
        await made.seed_identity()
        pool = made.pool(DbRole.OPERATOR)
        of = records(pieces(octets), Format.CSV)
        terms = Terms(Format.CSV, columns=heading(await anext(of, None)).columns)
        began = time.perf_counter()
        done = await Uploads(pool, Onboarding(pool, nobody)).take(SETUP, None, terms, lines(of, read))
        took = time.perf_counter() - began
        assert done.accepted == counted == wanted.euiccs
    about = conditions(f"{wanted.euiccs:,} lines", "durable commits", "1,000 lines a transaction", "one connection")
    line("importing", f"{took:.1f} s", f"{counted / took:,.0f} lines/s", f"{parsed:.1f} s of it reading", about)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))

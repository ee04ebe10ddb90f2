"""One request a route that is meant: for the tests that go over the whole table of the interface.

A new route needs an entry here: what its path names, and a body and query with which it does something.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID, uuid4

import httpx2
import msgspec

from eim.domain.ids import DEFAULT_TENANT, TenantId, bucket_of
from eim.services.tokens import Caller, NewToken, Scope
from eim.store import notifications
from eim.store.connect import DbRole, transaction
from eim.store.notifications import Taken
from eim.web.endpoints import Endpoint
from eim.web.operator import OperatorServices, endpoints_of, operator_app
from tests.database import Database
from tests.operator_side import TENANTS_OWN, A, B, client_of, eid_of, eid_text, onboard, services_of

_JSON: Final = "application/json"


class Rows(msgspec.Struct, frozen=True):
    """What a tenant has one of each."""

    eid: str
    operation: str
    parked: str
    order: str
    token: str
    webhook: str
    upload: str
    tenant: str
    identity: str
    notification: str
    smdp: str
    denial: str
    handover: str


class Sample(msgspec.Struct, frozen=True):
    """How a route is asked about the rows of a tenant. `names`: which field of Rows each parameter of the path is."""

    names: Mapping[str, str] = {}
    body: Mapping[str, object] | None = None
    query: Mapping[str, str] = {}
    content: str | None = None  # instead of a JSON body, as CSV
    others: int = 404  # what names another tenant's rows gets

    def path(self, endpoint: Endpoint, rows: Rows) -> str:
        path = endpoint.route.path
        for parameter, name in self.names.items():
            path = path.replace("{" + parameter + "}", str(getattr(rows, name)))
        assert "{" not in path, f"{endpoint.route.name}: say in SAMPLES what its path names"
        return path

    async def ask(self, client: httpx2.AsyncClient, endpoint: Endpoint, rows: Rows) -> httpx2.Response:
        content, headers = None, {}
        if self.content is not None:
            content, headers = self.content.format(eid=rows.eid), {"Content-Type": "text/csv"}
        elif self.body is not None:
            written = msgspec.json.encode(self.body).decode()
            content, headers = written.replace("EID", rows.eid).replace("ORDER", rows.order), {"Content-Type": _JSON}
        path = self.path(endpoint, rows)
        return await client.request(
            endpoint.route.method, path, content=content, headers=headers, params=dict(self.query)
        )


_EID: Final = {"eid": "eid"}
_TOKEN: Final = {"name": "new", "scopes": ["euiccs:read"]}
_ORDER: Final = {"operation": "listProfileInfo", "eid": "EID"}
_CHAIN: Final = {
    "eids": ["EID"],
    "steps": [{"operation": "listProfileInfo"}, {"operation": "ipaEuiccDataRequest", "after_event": "contact"}],
}
_WEBHOOK: Final = {"id": "webhook"}

SAMPLES: Final[Mapping[str, Sample]] = {
    "addEuicc": Sample(body={"eid": eid_text(77)}, others=409),
    "addEuiccs": Sample(body={"euiccs": [{"eid": eid_text(78)}]}, others=422),
    "listEuiccs": Sample(),
    "getEuicc": Sample(_EID),
    "editEuicc": Sample(_EID, {"label": "renamed"}),
    "offboardEuicc": Sample(_EID, query={"reason": "scrapped", "force": "true"}),
    "listProfiles": Sample(_EID),
    "listEvents": Sample(_EID),
    "importEuiccs": Sample(content="eid\n" + eid_text(79) + "\n"),
    "getImport": Sample({"id": "upload"}),
    "listImportProblems": Sample({"id": "upload"}),
    "listUnknownCallers": Sample(),
    "adoptUnknownCaller": Sample(_EID, {}),
    "adoptUnknownCallers": Sample(body={"eids": ["EID"]}),
    "listBarred": Sample(),
    "quarantineEuicc": Sample(_EID, {"reason": "it was stolen"}),
    "releaseEuicc": Sample(_EID, {"reason": "it was found"}),
    "addDenial": Sample(body={"ein": "89999999", "reason": "recalled"}),
    "listDenials": Sample(),
    "getDenial": Sample({"id": "denial"}),
    "liftDenial": Sample({"id": "denial"}, query={"reason": "a mistake"}),
    "findProfiles": Sample(query={"iccid": A}),
    "order": Sample(body=_ORDER, others=422),
    "previewOrder": Sample(body=_ORDER),
    "orderChain": Sample(body=_CHAIN, others=422),
    "listOperations": Sample(),
    "getOperation": Sample({"id": "operation"}),
    "withdraw": Sample({"id": "operation"}),
    "resume": Sample({"id": "parked"}),
    "getOrder": Sample({"id": "order"}),
    "stopOrder": Sample({"id": "order"}),
    "withdrawOrder": Sample({"id": "order"}),
    "getSummary": Sample(),
    "createToken": Sample(body=_TOKEN),
    "listTokens": Sample(),
    "rotateToken": Sample({"id": "token"}, {}),
    "revokeToken": Sample({"id": "token"}),
    "createTenant": Sample(body={"name": "third"}),
    "listTenants": Sample(),
    "getTenant": Sample({"tenant": "tenant"}),
    "limitTenant": Sample({"tenant": "tenant"}, {"limits": {"euiccs": 1000}}),
    "createTenantToken": Sample({"tenant": "tenant"}, _TOKEN),
    "listIdentities": Sample(),
    "getIdentity": Sample({"identity": "identity"}),
    "retireIdentity": Sample({"identity": "identity"}, {"reason": "old", "force": True}),
    "listKeys": Sample({"identity": "identity"}),
    "moveToNewestKey": Sample({"identity": "identity"}, {"reason": "older than a year"}),
    "loadKey": Sample({"identity": "identity"}, {"number": 0, "reason": "trial"}),
    "retireKeys": Sample({"identity": "identity"}, {"number": 0, "reason": "trial"}),
    "resumeEuicc": Sample(_EID, {"reason": "it was another's test"}),
    "beginHandover": Sample(body={"direction": "in", "eids": [eid_text(1)], "reason": "sold", "eim_id": "a.example"}),
    "listHandovers": Sample(),
    "getHandover": Sample({"id": "handover"}),
    "confirmHandover": Sample({"id": "handover"}, {}),
    "abortHandover": Sample({"id": "handover"}, {"reason": "not sold"}),
    "searchAudit": Sample(),
    "traceEuicc": Sample(_EID, {"minutes": 1}),
    "getTrace": Sample(_EID),
    "clearTrace": Sample(_EID),
    "getTimeline": Sample(_EID),
    "readEvents": Sample(),
    "createWebhook": Sample(body={"url": "https://hooks.example.com/new"}),
    "listWebhooks": Sample(),
    "getWebhook": Sample(_WEBHOOK),
    "changeWebhook": Sample(_WEBHOOK, {"description": "other"}),
    "deleteWebhook": Sample(_WEBHOOK),
    "rotateWebhookSecret": Sample(_WEBHOOK, {}),
    "testWebhook": Sample(_WEBHOOK),
    "replayWebhook": Sample(_WEBHOOK, {"dead_letters": True}),
    "listDeadLetters": Sample(_WEBHOOK),
    "listNotifications": Sample(),
    "getNotification": Sample({"id": "notification"}),
    "retryNotification": Sample({"id": "notification"}),
    "giveUpNotification": Sample({"id": "notification"}, {"reason": "the server is gone"}),
    "addSmdp": Sample(body={"address": "another.example.com"}),
    "listSmdps": Sample(),
    "getSmdp": Sample({"address": "smdp"}),
    "changeSmdp": Sample({"address": "smdp"}, {"description": "other"}),
    "removeSmdp": Sample({"address": "smdp"}),
}
# Routes that end what the others need, in this order; they are asked last.
ENDING: Final = (
    *("giveUpNotification", "removeSmdp"),
    *("retireIdentity", "rotateToken", "revokeToken", "deleteWebhook", "withdraw", "offboardEuicc"),
)
ABSENT: Final = Rows(
    *(eid_text(999), str(uuid4()), str(uuid4()), str(uuid4()), str(uuid4()), str(uuid4()), str(uuid4())),
    *("32000", "32000", str(uuid4()), "absent.example.com", str(uuid4()), str(uuid4())),
)


class Side(msgspec.Struct, frozen=True):
    """A tenant with its rows, and a token of each scope."""

    tenant: TenantId
    rows: Rows
    all: str  # a token with every scope that the tenant may have
    by_scope: Mapping[Scope, str]


class Table(msgspec.Struct, frozen=True):
    """The whole interface, and two tenants that share it."""

    services: OperatorServices
    own: Side
    other: Side

    def endpoints(self) -> list[Endpoint]:
        """Every route; those that end something come last."""
        every = endpoints_of(self.services)
        return sorted(every, key=lambda e: ENDING.index(e.route.name) + 1 if e.route.name in ENDING else 0)


@asynccontextmanager
async def table_of(database: Database) -> AsyncIterator[Table]:
    await database.seed_identity()
    await database.owner().execute("INSERT INTO tenants (id, name) VALUES (2, 'other')")
    await database.seed_identity(eim_id="other.example.com", tenant=TenantId(2))
    services = services_of(database)
    own = await _side(database, services, DEFAULT_TENANT, 1)
    yield Table(services, own, await _side(database, services, TenantId(2), 2))


async def _side(database: Database, services: OperatorServices, tenant: TenantId, number: int) -> Side:
    scopes = frozenset(Scope) if tenant == DEFAULT_TENANT else TENANTS_OWN
    boss = Caller(tenant, "token:boss", scopes)
    await onboard(database, [number], boss)
    await _profiles(database, tenant, number)
    every = (await services.tokens.create(boss, NewToken(f"boss-{tenant}", scopes))).secret
    victim = await services.tokens.create(boss, NewToken(f"victim-{tenant}", frozenset({Scope.EUICCS_READ})))
    async with client_of(operator_app(services), every) as client:
        order, other = [
            (await client.post("/v1/operations", json=_ORDER | {"eid": eid_text(number)})).json() for _ in range(2)
        ]
        parked = other["operations"][0]["operation"]
        await database.owner().execute("UPDATE operations SET held = 'operator' WHERE id = $1", UUID(parked))
        hook = (await client.post("/v1/webhooks", json={"url": f"https://hooks.example.com/{tenant}"})).json()
        denial = (await client.post("/v1/denials", json={"ein": "89888888", "reason": "recalled"})).json()
        away = {"direction": "in", "eids": [eid_text(number)], "reason": "sold", "eim_id": "a.example.com"}
        handover = (await client.post("/v1/handovers", json=away)).json()
        file = f"eid\n{eid_text(100 + number)}\nnonsense\n"
        await client.post("/v1/smdps", json={"address": f"smdp{tenant}.example.com"})
        upload = (await client.post("/v1/euiccs:import", content=file, headers={"Content-Type": "text/csv"})).json()
    identity = await database.owner().fetchval("SELECT id FROM identities WHERE tenant = $1", tenant)
    rows = Rows(
        eid=eid_text(number),
        operation=order["operations"][0]["operation"],
        parked=parked,
        order=order["order"],
        token=str(victim.id),
        webhook=hook["webhook"]["id"],
        upload=upload["id"],
        tenant=str(tenant),
        identity=str(identity),
        notification=str(await _notification(database, tenant, number)),
        smdp=f"smdp{tenant}.example.com",
        denial=denial["id"],
        handover=handover["id"],
    )
    by_scope = {
        scope: (await services.tokens.create(boss, NewToken(f"{scope.name}-{tenant}", frozenset({scope})))).secret
        for scope in scopes
    }
    return Side(tenant, rows, every, by_scope)


async def _notification(database: Database, tenant: TenantId, number: int) -> UUID:
    eid, taken = eid_of(number), Taken(bytes([number]), b"\x30\x00", "otherSignedNotification", 1)
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        made = await notifications.insert(db, bucket_of(eid), eid, tenant, taken)
    assert made is not None
    return made


async def _profiles(database: Database, tenant: TenantId, number: int) -> None:
    eid, owner = eid_of(number), database.owner()
    for iccid, state in ((A, "enabled"), (B, "disabled")):
        await owner.execute(
            "INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider) "
            "VALUES ($1, $2, $3, decode($4, 'hex'), $5, $6)",
            bucket_of(eid), eid, tenant, "".join(iccid[i + 1] + iccid[i] for i in range(0, 20, 2)), state,
            f"Carrier of tenant {tenant}",
        )  # fmt: skip
    await owner.execute("UPDATE euiccs SET inventory_at = now() WHERE bucket = $1 AND eid = $2", bucket_of(eid), eid)

"""/v1/tenants: who shares this installation, and what each may have. For the installation's own tenant only."""

from collections.abc import Mapping

from eim import api, api_access
from eim.domain.ids import TenantId
from eim.errors import NotFound
from eim.services.tenants import Tenants, Wanted
from eim.services.tokens import NewToken, Scope
from eim.store.tenants import Limits, Tenant
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.tokens import created


class TenantDesk:
    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    def endpoints(self) -> list[Endpoint]:
        scope, one = Scope.TENANTS, "/v1/tenants/{tenant}"
        create = Route("POST", "/v1/tenants", scope, "createTenant", "Make a tenant.", 201, "/v1/tenants/{0.id}")
        page = Route("GET", "/v1/tenants", scope, "listTenants", "The tenants of this installation.")
        read = Route("GET", one, scope, "getTenant", "One tenant.")
        limit = Route("PATCH", one, scope, "limitTenant", "Replace a tenant's limits (If-Match).")
        token = Route("POST", f"{one}/tokens", scope, "createTenantToken", "Make a token in this tenant.", 201)
        return [
            endpoint(create, api_access.NewTenant, api.Nothing, api_access.TenantView, self.create),
            endpoint(page, api.Nothing, api.Nothing, api_access.TenantList, self.list),
            endpoint(read, api.Nothing, api.Nothing, api_access.TenantView, self.read),
            endpoint(limit, api_access.TenantChange, api.Nothing, api_access.TenantView, self.limit),
            endpoint(token, api_access.NewToken, api.Nothing, api_access.TokenCreated, self.token),
        ]

    async def create(self, call: Call[api_access.NewTenant, api.Nothing]) -> api_access.TenantView:
        wanted = Wanted(call.body.name, _limits(call.body.limits), call.body.identity)
        return _view(await self._tenants.create(call.caller, wanted, call.repeat))

    async def list(self, call: Call[api.Nothing, api.Nothing]) -> api_access.TenantList:
        return api_access.TenantList(tuple(map(_view, await self._tenants.list(call.caller))))

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api_access.TenantView:
        return _view(await self._tenants.read(call.caller, _tenant(call.path)))

    async def limit(self, call: Call[api_access.TenantChange, api.Nothing]) -> api_access.TenantView:
        tenant, limits = _tenant(call.path), _limits(call.body.limits)
        return _view(await self._tenants.limit(call.caller, tenant, limits, call.match))

    async def token(self, call: Call[api_access.NewToken, api.Nothing]) -> api_access.TokenCreated:
        new = NewToken(call.body.name, frozenset(call.body.scopes), call.body.expires_at)
        return created(await self._tenants.create_token(call.caller, _tenant(call.path), new, call.repeat))


def small_id(path: Mapping[str, str], name: str) -> int:
    """The number in a path. Raises NotFound: what is none of ours names nothing."""
    text = path[name]
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 32_768):
        raise NotFound(f"there is no {name} {text}")
    return int(text)


def _tenant(path: Mapping[str, str]) -> TenantId:
    return TenantId(small_id(path, "tenant"))


def _limits(said: api_access.TenantLimits) -> Limits:
    return Limits(said.euiccs, said.tokens, said.orders_a_day)


def _view(tenant: Tenant) -> api_access.TenantView:
    limits = api_access.TenantLimits(tenant.limits.euiccs, tenant.limits.tokens, tenant.limits.orders_a_day)
    return api_access.TenantView(tenant.limits.version, tenant.id, tenant.name, limits, tenant.created_at)

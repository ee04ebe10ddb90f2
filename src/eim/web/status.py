"""The status page: one page of HTML that needs no script, for a person with a token as password."""

import asyncio
import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from eim.domain.ids import format_eid
from eim.errors import Unauthenticated
from eim.services.estate import EstateReader, Summary
from eim.services.tokens import Scope, Tokens
from eim.store.events import Happened
from eim.web import problems
from eim.web.auth import authenticate_person, require

_EVENTS: Final = 20
_REFRESH_S: Final = 5
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2733;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #d7dee6}td.n{text-align:right}
svg{display:block;width:100%;height:.8rem}rect{fill:#2f6fb0}code{font-size:.9em;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{color:#d9e2ec;background:#12181f}th,td{border-color:#33404d}rect{fill:#6aa9e9}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class StatusPage:
    def __init__(self, estate: EstateReader, tokens: Tokens) -> None:
        self._estate = estate
        self._tokens = tokens

    async def get(self, request: Request) -> Response:
        """The page; a browser without a token is asked for one."""
        try:
            caller = await authenticate_person(request, self._tokens)
        except Unauthenticated as error:
            response = problems.answer(error)
            response.headers["WWW-Authenticate"] = 'Basic realm="eim: any name, a token as password", charset="UTF-8"'
            return response
        for scope in (Scope.EUICCS_READ, Scope.OPERATIONS_READ):
            require(caller, scope)
        summary, events = await asyncio.gather(self._estate.summary(caller), self._estate.last_events(caller, _EVENTS))
        return HTMLResponse(_page(summary, events), headers=_HEADERS)


def _page(summary: Summary, events: Iterable[Happened]) -> str:
    carriers = {carrier or "(no name)": many for carrier, many in summary.carriers.items()}
    states = {state.value: many for state, many in summary.operations.items()}
    total = summary.introduced + summary.not_introduced
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{_REFRESH_S}">'
        '<meta name="viewport" content="width=device-width"><title>eim</title>'
        f"<style>{_STYLE}</style></head><body><h1>eim</h1>"
        f"<p>{total} eUICCs, {summary.introduced} of them introduced.</p>"
        f"<h2>Estate by carrier</h2>{_bars('Carrier', carriers)}"
        f"<h2>Operations by state</h2>{_bars('State', states)}"
        f"<h2>Last events</h2>{_events(events)}</body></html>"
    )


def _bars(heading: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return "<p>Nothing yet.</p>"
    most = max(1, *counts.values())
    rows = (
        f'<tr><td>{escape(name)}</td><td class="n">{many}</td><td>'
        f'<svg aria-hidden="true"><rect width="{100 * many // most}%" height="100%"/></svg></td></tr>'
        for name, many in counts.items()
    )
    return f"<table><tr><th>{escape(heading)}</th><th>Count</th><th></th></tr>{''.join(rows)}</table>"


def _events(events: Iterable[Happened]) -> str:
    rows = (
        f"<tr><td>{happened.at:%Y-%m-%d %H:%M:%S} UTC</td><td>{escape(happened.kind)}</td>"
        f"<td><code>{format_eid(happened.eid) if happened.eid else '-'}</code></td></tr>"
        for happened in events
    )
    return f"<table><tr><th>When</th><th>What</th><th>EID</th></tr>{''.join(rows)}</table>"

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
from eim.domain.operation import State
from eim.errors import Unauthenticated
from eim.services.estate import EstateReader, Summary
from eim.services.tokens import Scope, Tokens
from eim.services.unknown import UnknownCallers
from eim.store.events import Happened
from eim.web import problems
from eim.web.auth import authenticate_person, require

_EVENTS: Final = 20
_REFRESH_S: Final = 5
_STATES: Final = frozenset(State)
_TOLD: Final = ("kind", "event", "reason", "why")  # what of an event's data stands beside it
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2733;background:#fff}
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:2rem 0 .25rem}p{margin:.25rem 0;color:#5a6875}
table{border-collapse:collapse;width:100%}th{font-weight:500;color:#5a6875}
th,td{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid #e4e9ee;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums}.w{width:99%;white-space:normal;padding-right:0}
svg{display:block;width:100%;height:.7rem}rect{fill:#2f6fb0}
.done rect{fill:#2e8b57}.failed rect{fill:#c0392b}.in_doubt rect{fill:#d98a00}
.accepted rect,.withdrawn rect,.expired rect{fill:#93a1ae}code{font-size:.9em}
@media(prefers-color-scheme:dark){body{color:#d9e2ec;background:#12181f}th,td{border-color:#26313c}th,p{color:#93a1ae}}
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
    def __init__(self, estate: EstateReader, tokens: Tokens, unknown: UnknownCallers) -> None:
        self._estate = estate
        self._tokens = tokens
        self._unknown = unknown

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
        summary, events, unknown = await asyncio.gather(
            self._estate.summary(caller), self._estate.last_events(caller, _EVENTS), self._unknown.count(caller)
        )
        return HTMLResponse(_page(summary, events, unknown), headers=_HEADERS)


def _page(summary: Summary, events: Iterable[Happened], unknown: int) -> str:
    carriers = {carrier or "(no name)": many for carrier, many in summary.carriers.items()}
    states = {state.value: many for state, many in summary.operations.items() if many}
    total = summary.introduced + summary.not_introduced
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{_REFRESH_S}">'
        '<meta name="viewport" content="width=device-width"><title>eim</title>'
        f"<style>{_STYLE}</style></head><body><h1>{total:,} eUICCs</h1>"
        f"<p>{summary.introduced:,} introduced, {summary.not_introduced:,} waiting for their first visit</p>"
        f"{_strangers(unknown)}"
        f"<h2>Enabled profiles by carrier</h2>{_bars('Carrier', carriers)}"
        f"<h2>Operations by state</h2>{_bars('State', states)}"
        f"<h2>Last events</h2>{_events(events)}</body></html>"
    )


def _strangers(unknown: int) -> str:
    """Whoever runs the eIM should know that somebody calls it in vain."""
    if not unknown:
        return ""
    return f"<p>{unknown:,} EIDs call us and nobody onboarded them: <code>eim devices unknown</code></p>"


def _bars(heading: str, counts: Mapping[str, int]) -> str:
    """A bar each, as long as its share of all. A state's name is the class that colours its bar."""
    if not counts:
        return "<p>Nothing yet.</p>"
    total = max(1, sum(counts.values()))
    rows = (
        f'<tr><td>{escape(name)}</td><td class="n">{many:,}</td><td class="n">{100 * many / total:.1f} %</td>'
        f'<td class="w"><svg class="{name if name in _STATES else ""}" aria-hidden="true">'
        f'<rect width="{100 * many / total:.2f}%" height="100%" rx="2"/></svg></td></tr>'
        for name, many in counts.items()
    )
    head = f'<tr><th>{escape(heading)}</th><th class="n">Count</th><th class="n">Share</th><th></th></tr>'
    return f"<table>{head}{''.join(rows)}</table>"


def _events(events: Iterable[Happened]) -> str:
    rows = (
        f"<tr><td>{happened.at:%Y-%m-%d %H:%M:%S}</td><td>{escape(happened.kind)}</td>"
        f'<td class="w">{escape(_told(happened.data))}</td>'
        f"<td><code>{format_eid(happened.eid) if happened.eid else '-'}</code></td></tr>"
        for happened in events
    )
    return f"<table><tr><th>When, UTC</th><th>What</th><th></th><th>EID</th></tr>{''.join(rows)}</table>"


def _told(data: Mapping[str, object]) -> str:
    return " ".join(str(data[name]) for name in _TOLD if data.get(name) is not None)

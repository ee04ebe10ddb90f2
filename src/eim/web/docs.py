"""The description of the interface as one page: no script, nothing loaded from anywhere."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

Json = Mapping[str, Any]  # a part of the OpenAPI document

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1c2733;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}summary{cursor:pointer;padding:.3rem 0}
details{border-bottom:1px solid #d7dee6}details>*{margin-left:1rem}summary{margin-left:0}a{color:#2f6fb0}
code{font-size:.9em;overflow-wrap:anywhere}b.m{display:inline-block;width:4.5rem}table{border-collapse:collapse}
th,td{text-align:left;vertical-align:top;padding:.15rem .75rem .15rem 0}td.q{color:#5b6b7b}
@media(prefers-color-scheme:dark){body{color:#d9e2ec;background:#12181f}details{border-color:#33404d}a{color:#6aa9e9}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(document: Json) -> str:
    """The whole document, each call and each type to be unfolded."""
    info, schemas = document["info"], document["components"]["schemas"]
    calls = "".join(
        _call(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()
    )
    types = "".join(_type(name, schema) for name, schema in sorted(schemas.items()))
    problems = "".join(
        f"<tr><td>{status}</td><td>{escape(said['description'])}</td></tr>"
        for status, said in document["components"]["responses"].items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(info["title"])} API</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(info['title'])} {escape(info['version'])}: the API</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="/v1/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
        f"<h2>Calls</h2>{calls}<h2>Problems</h2><table>{problems}</table><h2>Types</h2>{types}</body></html>"
    )


def _call(path: str, method: str, operation: Json) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    takes = "".join(f"<p>Takes {_named(content['schema'])}.</p>" for content in body.values())
    given = ((status, said) for status, said in operation["responses"].items() if status.startswith("2"))
    gives = "".join(
        f"<p>Gives {status} {' '.join(_named(content['schema']) for content in said.get('content', {}).values())}.</p>"
        for status, said in given
    )
    about = f"<p>{escape(operation['description'])}</p>" if "description" in operation else ""
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b class="m">{method.upper()}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"{about}{_parameters(operation)}{takes}{gives}</details>"
    )


def _parameters(operation: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}{', needed' if each['required'] else ''}</td>"
        f'<td>{_named(each["schema"])}</td><td class="q">{escape(_about(each))}</td></tr>'
        for each in operation.get("parameters", [])
    )
    return f"<table>{rows}</table>" if rows else ""


def _type(name: str, schema: Json) -> str:
    needed = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{'needed' if field in needed else ''}</td>"
        f'<td>{_named(kind)}</td><td class="q">{escape(_about(kind))}</td></tr>'
        for field, kind in schema.get("properties", {}).items()
    )
    about = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    title = f"<summary><code>{escape(name)}</code></summary>"
    return f'<details id="type-{escape(name)}">{title}{about}<table>{rows}</table></details>'


def _about(said: Json) -> str:
    return str(said.get("description") or said.get("schema", {}).get("description") or "")


def _named(schema: Json) -> str:
    """A schema in a few words, with a link where it is a type of its own."""
    return " or ".join(dict.fromkeys(_words(schema)))


def _words(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f'<a href="#type-{escape(name)}">{escape(name)}</a>'
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _words(each)
    elif "enum" in schema:
        yield " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    elif schema.get("type") == "array":
        yield f"list of {_named(schema.get('items', {}))}"
    elif isinstance(kind := schema.get("additionalProperties"), Mapping):
        yield f"map to {_named(kind)}"
    else:
        yield escape(str(schema.get("format") or schema.get("type") or "anything"))

"""docs/configuration.md, made from the types: what is documented is what is read."""

from collections.abc import Iterator
from typing import Final

from msgspec import NODEFAULT

from eim.config_loading import toml
from eim.config_settings import Section, Setting, sections

_HEAD: Final = """# Configuration

<!-- Made by `eim config reference`; a test compares. Change the types in src/eim/config.py instead. -->

`eim serve` needs no configuration at all. What differs from the defaults comes from a TOML file (`--config FILE`, or
`EIM_CONFIG=FILE`), and from environment variables, which win. Everything is checked before anything starts, and all
problems are listed at once; an unknown setting is refused, with the nearest known one.

- A relative path starts at the folder of the file that names it, in a variable at the working directory.
- A list in a variable has commas: `EIM_TRUST_ROOTS=/etc/eim/ci-a.pem,/etc/eim/ci-b.pem`. An empty variable is not set.
- `eim config show --sources` prints what holds and where it comes from, passwords masked; `eim config check` judges
  and also reads the files that are named.
- In Kubernetes set `enableServiceLinks: false`: a Service called `eim-device` would otherwise set `EIM_DEVICE_PORT`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for section in sections() for line in _section(section))]).rstrip() + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## [{section.name}]"
    yield ""
    yield " ".join(section.meaning.split())
    yield ""
    yield "| setting | variable | default | what |"
    yield "| --- | --- | --- | --- |"
    for setting in section.settings:
        what = f"{setting.meaning} Write {setting.expected}.".replace("|", "\\|")
        yield f"| `{setting.name}` | `{setting.variable}` | {_default(setting)} | {what} |"
    yield ""


def _default(setting: Setting) -> str:
    if setting.default is NODEFAULT:
        return "see there"
    text = toml(setting.default)
    return f"`{text}`" if text not in (None, "[]") else "none"

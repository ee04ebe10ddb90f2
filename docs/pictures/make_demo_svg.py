"""Record the end of `eim demo` as docs/pictures/demo.svg: python docs/pictures/make_demo_svg.py [devices]"""

import asyncio
import io
import re
import sys
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from eim import demo, logs
from eim.config import LogFormat, LogLevel

_PICTURE: Final = Path(__file__).with_name("demo.svg")
_COLUMNS: Final = 110  # of the longest line
_FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> int:
    devices = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    logs.configure(LogLevel.ERROR, LogFormat.TEXT, "demo")
    # No terminal, so that of all pictures that the demo draws only the last of each kind is recorded.
    console = Console(record=True, file=io.StringIO(), width=_COLUMNS, force_terminal=False, legacy_windows=False)
    wish = demo.Wish(devices, cannot_attach=0.04, sleepers=0.01, seed=0, keep=False)
    code = asyncio.run(demo.run(wish, console))
    console.print()  # or the frame cuts the underscores of the last line
    title = f"./dev demo --devices {devices}"
    drawn = console.export_svg(title=title, theme=MONOKAI, code_format=_without_web_fonts(), unique_id="demo")
    _PICTURE.write_text("\n".join(line.rstrip() for line in drawn.splitlines()) + "\n")
    return code


def _without_web_fonts() -> str:
    """Rich's frame, in whatever font the reader has: a picture fetches nothing."""
    plain = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return plain.replace("Fira Code, monospace", _FONT)


if __name__ == "__main__":
    sys.exit(main())

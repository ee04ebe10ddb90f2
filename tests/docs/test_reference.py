"""Pages that are made of the code say what the code says."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Final

_MAKER: Final = Path(__file__).parents[2] / "docs" / "make_reference.py"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", _MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_commands_calls_and_errors_are_current() -> None:
    for page, content in maker().pages().items():
        assert page.read_text() == content, "run: python docs/make_reference.py"


def test_links_between_pages_lead_somewhere() -> None:
    root = _MAKER.parents[1]
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        for target in _links(page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _links(text: str) -> list[str]:
    targets = [part.partition(")")[0].partition("#")[0] for part in text.split("](")[1:]]
    return [target for target in targets if target and not target.startswith("http")]

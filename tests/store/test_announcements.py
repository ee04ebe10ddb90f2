"""What lets a poll find something says so: each place in our SQL that may is named here, with who announces it.

Whoever adds one decides that. `tests/announced.py` watches the same while tests run: EIM_TEST_ANNOUNCED=1.
"""

import re
from pathlib import Path
from typing import Final

import eim
from eim.store.migrate import load

_STORE: Final = Path(eim.__file__).parent / "store"
# As the short question sees it: store/glances.py.
_MAKES: Final = re.compile(
    r"(INSERT INTO (?:operations|packages|requests))\b|SET (traced_until) ="
    r"|UPDATE \w+(?: \w)?\s+SET (state = '(?:accepted|waiting|head|sealed|out|in_doubt)')"
)
HINT: Final = "the service, by events.hint in the same transaction"
ASKER: Final = "the service, by requests.hint in the same transaction"
SEALED: Final = "nobody: it was sealed, so its package was found"
FRONT: Final = "nobody: it was in front, or its operation was accepted, in every commit before"
EXPECTED: Final = {
    ("operations.py", "INSERT INTO operations"): HINT,
    ("renewals.py", "INSERT INTO operations"): HINT,
    ("estate.py", "INSERT INTO operations"): HINT,
    ("estate.py", "INSERT INTO packages"): HINT,
    ("0075_expand_bulk_placing.sql", "INSERT INTO operations"): HINT,
    ("0095_expand_bulk_judging.sql", "INSERT INTO operations"): HINT,
    ("seeds.py", "INSERT INTO operations"): ASKER,
    ("seeds.py", "INSERT INTO packages"): ASKER,
    ("requests.py", "INSERT INTO requests"): ASKER,
    ("handovers.py", "INSERT INTO operations"): "handovers.place, by announcements.announce",
    ("traces.py", "traced_until"): "traces.switch, by announcements.announce",
    ("work.py", "INSERT INTO operations"): "nobody: it takes the place of a request, which was found",
    ("work.py", "state = 'accepted'"): "nobody: it was out, so its package was found",
    ("work.py", "state = 'sealed'"): FRONT,
    ("handouts.py", "state = 'out'"): FRONT,
    ("mailbox.py", "state = 'out'"): FRONT,
    ("work.py", "state = 'in_doubt'"): SEALED,
    ("operations.py", "state = 'in_doubt'"): SEALED,
    ("jumps.py", "state = 'accepted'"): SEALED,
    ("mailbox.py", "state = 'accepted'"): SEALED,
    ("0005_take_back.sql", "state = 'accepted'"): SEALED,
    ("0020_expand_associations.sql", "state = 'accepted'"): SEALED,
    ("packages.py", "INSERT INTO packages"): FRONT,
    ("mailbox.py", "state = 'head'"): FRONT,
    ("0002_grants.sql", "state = 'head'"): FRONT,
    ("0021_expand_life.sql", "state = 'head'"): FRONT,
    ("0036_expand_results.sql", "state = 'head'"): FRONT,
    ("0038_expand_heads.sql", "state = 'head'"): FRONT,
    ("0066_expand_heads_by_key.sql", "state = 'head'"): FRONT,
    ("0084_expand_hot_heads.sql", "state = 'head'"): FRONT,
    ("0084_expand_hot_heads.sql", "state = 'accepted'"): SEALED,
}


def test_whatever_lets_a_poll_find_something_is_announced_by_somebody() -> None:
    texts = {path.name: path.read_text() for path in sorted(_STORE.glob("*.py"))}
    texts |= {f"{each.version:04}_{each.name}.sql": each.sql for each in load()}
    found = {(name, "".join(groups)) for name, text in texts.items() for groups in _MAKES.findall(text)}
    assert found == set(EXPECTED)

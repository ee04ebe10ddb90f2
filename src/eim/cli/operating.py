"""The commands of whoever keeps an installation running."""

from typing import Final

from eim.cli.counters import backup, counters, restore
from eim.cli.doctor import doctor
from eim.cli.purge import purge
from eim.cli.remove import remove

OPERATING: Final = (backup, counters, doctor, purge, remove, restore)

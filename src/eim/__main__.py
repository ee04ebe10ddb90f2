"""`python -m eim` is `eim`."""

from eim.cli import main

main()

"""The other side of every wire. Imports protocol and below; only cli, tests and bench import it."""

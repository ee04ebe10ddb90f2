"""`eim`: everything by command. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not available now."""

from importlib.metadata import version

import click

from eim.cli.audit import audit
from eim.cli.bundle import export_file, import_bundle
from eim.cli.config import config
from eim.cli.decode import decode
from eim.cli.demo import demo
from eim.cli.devices import devices
from eim.cli.events import events
from eim.cli.keys import keys
from eim.cli.operating import OPERATING
from eim.cli.operations import operations
from eim.cli.order import order, orders
from eim.cli.seed import seed
from eim.cli.seeing import timeline, trace
from eim.cli.serve import migrate, serve
from eim.cli.sim import sim
from eim.cli.tenants import identities, tenants
from eim.cli.tokens import token
from eim.cli.webhooks import webhooks
from eim.client import ServerRefused
from eim.errors import EimError, InvalidLines, Unavailable

_COMMANDS = (
    audit,
    config,
    decode,
    demo,
    devices,
    events,
    identities,
    keys,
    migrate,
    operations,
    order,
    orders,
    seed,
    serve,
    sim,
    tenants,
    token,
    webhooks,
)
_LINES = 20  # of a bad list are told one by one


class NotNow(click.ClickException):
    """Nobody's fault: the same command may work later."""

    exit_code = 3


class Main(click.Group):
    """Turns our errors into a sentence and an exit code, wherever in a command they come from."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except EimError as error:
            raise _told(error) from error


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("eim"), prog_name="eim")
def main() -> None:
    """An open GSMA SGP.32 eIM: it manages the profiles on IoT devices' eSIMs."""


def _told(error: EimError) -> click.ClickException:
    """The error in the words of the command line."""
    return NotNow(_text(error)) if isinstance(error, Unavailable) else click.ClickException(_text(error))


def _text(error: EimError) -> str:
    lines: list[tuple[int, str]] = []
    if isinstance(error, ServerRefused):
        lines = [(bad.line, bad.detail) for bad in error.problem.bad_lines]
    if isinstance(error, InvalidLines):
        lines = list(error.lines)
    shown = [f"  line {line}: {text}" for line, text in lines[:_LINES]]
    return "\n".join([str(error), *shown, *([f"  and {len(lines) - _LINES} more"] if lines[_LINES:] else [])])


for _command in (timeline, trace):
    devices.add_command(_command)
for _command in (export_file, import_bundle, *_COMMANDS, *OPERATING):
    main.add_command(_command)

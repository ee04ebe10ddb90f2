"""`eim`: everything by command. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not available now."""

from importlib import import_module
from importlib.metadata import version

import click

from eim.client import ServerRefused
from eim.errors import EimError, InvalidLines, Unavailable

# Where each command is. What a command needs is imported when it is called: `eim devices` needs no server's code.
_COMMANDS = {
    "audit": "eim.cli.audit:audit",
    "backup": "eim.cli.counters:backup",
    "completion": "eim.cli.completion:completion",
    "config": "eim.cli.config:config",
    "counters": "eim.cli.counters:counters",
    "decode": "eim.cli.decode:decode",
    "demo": "eim.cli.demo:demo",
    "deny": "eim.cli.barring:deny",
    "devices": "eim.cli.devices:devices",
    "doctor": "eim.cli.doctor:doctor",
    "events": "eim.cli.events:events",
    "export": "eim.cli.bundle:export_file",
    "associations": "eim.cli.associations:associations",
    "handover": "eim.cli.handover:handover",
    "identities": "eim.cli.tenants:identities",
    "import": "eim.cli.bundle:import_bundle",
    "keys": "eim.cli.keys:keys",
    "migrate": "eim.cli.serve:migrate",
    "notifications": "eim.cli.notifications:notifications",
    "operations": "eim.cli.operations:operations",
    "order": "eim.cli.order_steps:order",
    "orders": "eim.cli.order:orders",
    "purge": "eim.cli.purge:purge",
    "remove": "eim.cli.remove:remove",
    "restore": "eim.cli.counters:restore",
    "seed": "eim.cli.seed:seed",
    "serve": "eim.cli.serve:serve",
    "servers": "eim.cli.servers:servers",
    "sim": "eim.cli.sim:sim",
    "smdps": "eim.cli.notifications:smdps",
    "tenants": "eim.cli.tenants:tenants",
    "token": "eim.cli.tokens:token",
    "webhooks": "eim.cli.webhooks:webhooks",
}
_LINES = 20  # of a bad list are told one by one


class NotNow(click.ClickException):
    """Nobody's fault: the same command may work later."""

    exit_code = 3


class Main(click.Group):
    """Finds commands by name, and turns our errors into a sentence and an exit code, wherever they come from."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(import_module(module), name)
        return found

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

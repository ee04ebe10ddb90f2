"""Several servers by name: kept for their owner only, chosen by --profile, overruled by --server."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eim.cli import main
from tests.cli.conftest import Eim

_NOWHERE = {"EIM_SERVER": "", "EIM_TOKEN": "", "EIM_PROFILE": "", "EIM_SERVERS_FILE": "", "XDG_CONFIG_HOME": ""}


def run(*words: str, stdin: str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(main, list(words), input=stdin, env=_NOWHERE | environment)


def kept(tmp_path: Path) -> Path:
    return tmp_path / "config" / "eim" / "servers.toml"


async def test_a_server_is_added_chosen_and_forgotten_and_no_token_is_ever_shown(eim: Eim, tmp_path: Path) -> None:
    token = tmp_path / "operator.token"
    asked = json.loads((await eim("servers", "list", "--json")).output)
    assert asked == []
    dead = "http://127.0.0.1:1"
    words = ("servers", "add", "lab", "--server", dead, "--token-file", str(token))
    said = [await eim(*words)]
    assert (await eim("devices", "list", EIM_SERVER="")).exit_code == 3, "the only one is the current one"
    said.append(await eim("servers", "list"))
    said.append(await eim("servers", "list", "--json"))
    assert [e["current"] for e in json.loads(said[-1].output)] == [True]
    said.append(await eim("servers", "remove", "lab"))
    assert [each.exit_code for each in said] == [0] * 4, [each.output for each in said]
    secret = token.read_text().strip()
    assert not [each for each in said if secret in each.output]
    assert secret not in kept(tmp_path).read_text()


async def test_the_file_is_for_its_owner_only_and_refused_when_others_may_read_it(eim: Eim, tmp_path: Path) -> None:
    token = str(tmp_path / "operator.token")
    await eim("servers", "add", "here", "--server", "http://127.0.0.1:1", "--token-file", token)
    file = kept(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    refused = await eim("devices", "list", EIM_SERVER="")
    assert (refused.exit_code, "chmod 600" in refused.output) == (1, True)
    file.chmod(0o600)
    file.write_text('[servers.a]\nserver = 7\ntoken = "eim_secret"\n')
    broken = await eim("servers", "list")
    assert (broken.exit_code, "eim_secret" in broken.output) == (1, False)


async def test_a_profile_is_used_with_its_token_and_a_server_option_wins(eim: Eim, tmp_path: Path) -> None:
    token = str(tmp_path / "operator.token")
    for name, server in (("dead", "http://127.0.0.1:1"), ("live", eim.address)):
        await eim("servers", "add", name, "--server", server, "--token-file", token)
    (tmp_path / "operator.token").unlink()
    plain = {"EIM_SERVER": ""}
    assert (await eim("devices", "list", **plain)).exit_code == 3, "the first one is the current one"
    assert (await eim("devices", "list", "--profile", "live", **plain)).exit_code == 0
    assert (await eim("devices", "list", EIM_PROFILE="live", **plain)).exit_code == 0
    assert (await eim("servers", "use", "live")).exit_code == 0
    assert (await eim("devices", "list", **plain)).exit_code == 0
    unknown = await eim("devices", "list", "--profile", "elsewhere", **plain)
    assert (unknown.exit_code, "dead, live" in unknown.output) == (1, True)
    own = await eim("devices", "list", "--profile", "live")
    assert (own.exit_code, "no token" in own.output) == (1, True), "a token went to a server that it is not for"


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        pytest.param(("--token-stdin",), "two words", id="two words"),
        pytest.param(("--token-stdin",), "", id="nothing"),
        pytest.param((), None, id="neither"),
    ],
)
def test_a_token_that_can_be_none_is_refused(tmp_path: Path, words: tuple[str, ...], stdin: str | None) -> None:
    file = str(tmp_path / "servers.toml")
    refused = run("servers", "add", "a", "--server", "http://a", *words, stdin=stdin, EIM_SERVERS_FILE=file)
    assert (refused.exit_code, "token" in refused.output) == (1, True)
    assert not (tmp_path / "servers.toml").exists()


def test_without_a_home_commands_work_and_adding_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    refused = run("servers", "add", "a", "--server", "http://a", "--token-stdin", stdin="eim_x")
    assert (refused.exit_code, "EIM_SERVERS_FILE" in refused.output) == (1, True)
    assert run("servers", "list", "--json").output.strip() == "[]"
    assert run("devices", "list", "--server", "http://127.0.0.1:1", "--token", "eim_x").exit_code == 3

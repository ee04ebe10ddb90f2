"""`eim notifications` and `eim smdps` against a real server."""

import json

from tests.cli.conftest import Eim


async def test_an_smdp_by_command_from_its_allowing_to_its_end(eim: Eim) -> None:
    added = await eim("smdps", "add", "SMDP.example.com:8443", "--roots", "web", "--network", "10.0.0.0/8")
    assert "smdp.example.com:8443 may be called; 0 notifications waited for it" in added.output
    assert "smdp.example.com:8443" in (await eim("smdps", "list")).output
    assert "is off" in (await eim("smdps", "change", "smdp.example.com:8443", "--disable")).output
    shown = json.loads((await eim("smdps", "show", "smdp.example.com:8443", "--json")).output)
    assert (shown["enabled"], shown["roots"], shown["networks"]) == (False, "web", ["10.0.0.0/8"])
    assert "is not called" in (await eim("smdps", "remove", "smdp.example.com:8443")).output
    assert (await eim("smdps", "show", "smdp.example.com:8443")).exit_code == 1
    assert (await eim("smdps", "add", "https://smdp.example.com")).exit_code == 1


async def test_notifications_by_command(eim: Eim) -> None:
    assert (await eim("notifications", "list", "--state", "held", "--json")).output.strip() == "[]"
    absent = "00000000-0000-4000-8000-000000000000"
    for words in (("show", absent), ("retry", absent), ("give-up", absent, "--reason", "gone")):
        refused = await eim("notifications", *words)
        assert refused.exit_code == 1
        assert "there is no notification" in refused.output

"""A hospital that was sent one file: put in place, started, joined."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.containers.deployment import host_address, run
from tests.containers.test_life import with_hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.containers.deployment import Deployment

pytestmark = pytest.mark.containers


def test_one_file_and_one_command(another: Callable[..., Deployment]) -> None:
    here = with_hub(another())
    said = here.peer("genconf", "node", "chu-lille", "--invite").stdout
    assert "It joins by itself, once" in said.replace("\n", " ")
    source = here.mounts("vpnserver") / "config" / "config_peers" / "node" / "chu-lille" / "config.env"
    target = here.mounts("node") / "config" / "config.env"
    shutil.copyfile(source, target)
    started = here.tool("start", "node").stdout
    assert "node: joins by its invitation" in started
    assert "node: 10.221.0.2, joined, " in started
    (peer,) = json.loads(here.peer("list", "--json").stdout)
    assert (peer["id"], peer["state"]) == ("chu-lille", "active")
    assert "INVITATION" not in target.read_text()
    assert target.stat().st_uid == here.uid
    # Its keys are changed while it stays joined, and are there after a restart.
    before = peer["public_key"]
    assert "has a new key" in here.peer("rotate", "node", "chu-lille").stdout
    here.compose("restart", "-t", "3", "node")
    wait_until(lambda: here.ping("node"), 30, "it is back")
    wait_until(lambda: here.exec("node", "wg", "show", "wg0", "public-key").stdout.strip() != before, 20, "its key")
    here.wait_healthy("node")
    # The hub is reached at another address of this machine, which the node is told.
    other = next(
        address for address in run(["hostname", "-I"]).stdout.split() if "." in address and address != host_address()
    )
    here.peer("move-hub", other)
    wait_until(lambda: f"VPN_SERVER_ENDPOINT={other}:" in target.read_text(), 60, "the node knows")
    assert f"VPN_SERVER_ENDPOINT={other}:" in source.read_text()
    wait_until(lambda: here.ping("node"), 30, "it is there still")


def test_a_file_that_is_put_in_place_while_the_container_waits(another: Callable[..., Deployment]) -> None:
    here = with_hub(another())
    here.up("researcher")
    wait_until(lambda: "waiting for" in here.compose("logs", "--no-color", "researcher").stdout, 20, "it waits")
    here.peer("genconf", "researcher", "ana", "--invite", "--valid", "10m")
    source = here.mounts("vpnserver") / "config" / "config_peers" / "researcher" / "ana" / "config.env"
    shutil.copyfile(source, here.mounts("researcher") / "config" / "config.env")
    wait_until(lambda: here.ping("researcher"), 60, "it joins by itself")
    assert "INVITATION" not in (here.mounts("researcher") / "config" / "config.env").read_text()

"""Many commands at the same time."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.bin.scripts import public_key

if TYPE_CHECKING:
    from tests.bin.scripts import Argument, Outcome, Scripts


def at_once(scripts: Scripts, commands: list[list[Argument]]) -> list[Outcome]:
    """Start all commands, then wait for all."""
    processes = [
        subprocess.Popen(
            scripts.command("configure_peer", *command),
            env=scripts.environ,
            cwd=scripts.elsewhere,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for command in commands
    ]
    return [scripts.outcome(process) for process in processes]


def test_a_hundred_at_once_get_a_hundred_addresses(fresh: Scripts) -> None:
    # On an empty state directory: they also race for making the registry.
    outcomes = at_once(fresh, [["genconf", "node", f"node{number}"] for number in range(100)])
    assert [outcome for outcome in outcomes if outcome.status != 0 or outcome.err] == []
    peers = json.loads(fresh.done("list", "--json"))
    assert len({peer["address"] for peer in peers}) == 100
    told = {outcome.out.splitlines()[0].split(" registered at ")[1] for outcome in outcomes}
    assert told == {peer["address"] for peer in peers}
    for peer in peers:
        text = (fresh.folder / "config_peers/node" / peer["id"] / "config.env").read_text()
        assert f"VPN_IP={peer['address']}\n" in text


def test_one_id_ten_times_at_once_is_one_peer_with_one_secret(fresh: Scripts) -> None:
    outcomes = at_once(fresh, [["genconf", "node", "node1"]] * 10)
    assert [outcome for outcome in outcomes if outcome.status != 0 or outcome.err] == []
    assert sum("registered at 10.221.0.2" in outcome.out for outcome in outcomes) == 1
    assert sum("was registered already at 10.221.0.2" in outcome.out for outcome in outcomes) == 9
    before = (fresh.folder / "config_peers/node/node1/config.env").read_bytes()
    fresh.done("genconf", "node", "node1")
    assert (fresh.folder / "config_peers/node/node1/config.env").read_bytes() == before


def test_one_key_for_two_peers_at_once_is_one_peers(hub: Scripts) -> None:
    hub.done("remove", "node", "node2")
    both: list[list[Argument]] = [["add", "node", name, public_key(5)] for name in ("node1", "node2")]
    outcomes = at_once(hub, both)
    assert sorted(outcome.status for outcome in outcomes) == [0, 1]
    assert sum("that public key belongs to node node" in outcome.err for outcome in outcomes) == 1

"""configure_peer.py disable, enable, rename, rotate, move-hub: parse, call, print."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vpn.lib.hub import life

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from vpn.bin import Parser
    from vpn.lib.hub.service import Hub
    from vpn.lib.registry.peer import PeerName

COMMANDS = ("disable", "enable", "rename", "rotate", "move-hub")
ROTATION_PATIENCE = 60.0
"""Seconds that ``rotate`` waits for the component: it asks its hub every 10 s."""

EXPLANATIONS = {
    "disable": (
        "take a component out for a while",
        "Its key, address and config.env stay: `enable` lets it in again.",
        "node chu-lille",
    ),
    "enable": ("let a disabled component in again", "With the key that it had.", "node chu-lille"),
    "rename": ("give a component another id", "Its address and keys stay.", "node chu-lille lille"),
    "rotate": ("have a component make new keys", "It stays joined meanwhile.", "node chu-lille"),
    "move-hub": (
        "tell all components where the hub is reached from now on",
        "Those that are joined go over within a minute.",
        "vpn2.example.org",
    ),
}
"""What each does, more of it, and an example."""


def run(hub: Hub, name: PeerName | None, arguments: argparse.Namespace) -> int:
    """Run one of these commands; the exit status."""
    if name is None:
        return _move(hub, arguments)
    command: Callable[[Hub, PeerName, argparse.Namespace], int] = {
        "disable": _disable,
        "enable": _enable,
        "rename": _rename,
        "rotate": _rotate,
    }[arguments.command]
    return command(hub, name, arguments)


def _disable(hub: Hub, name: PeerName, arguments: argparse.Namespace) -> int:
    done = life.disable(hub, name, dry_run=arguments.dry_run)
    if arguments.dry_run:
        print(f"{name}: would be disabled; its key, address and config.env would stay")
        return 0
    later = (
        "" if done.removed_key is None else ", and proven to be out" if done.proven else ". It is saved; no wg0 here"
    )
    print(f"{name}: disabled{later}" + (", its invitation is withdrawn" if done.withdrawn else ""))
    print(f"  Its key, address and config.env are kept: `enable {name}` lets it in again.")
    return 0


def _enable(hub: Hub, name: PeerName, arguments: argparse.Namespace) -> int:
    done = life.enable(hub, name, dry_run=arguments.dry_run)
    if not done.changed:
        print(f"{name}: is enabled already; nothing changed")
    elif arguments.dry_run:
        print(f"{name}: would be enabled")
    elif done.peer.public_key is None:
        print(f"{name}: enabled; it has no key yet")
    else:
        print(
            f"{name}: enabled" + (" and let in" if done.applied else ". It is saved; the hub applies it when it starts")
        )
    return 0


def _rename(hub: Hub, name: PeerName, arguments: argparse.Namespace) -> int:
    peer = life.rename(hub, name, arguments.new_id, dry_run=arguments.dry_run)
    if arguments.dry_run:
        print(f"{name}: would become {peer.name}, at {peer.address} as before")
        return 0
    print(f"{peer.name}: this is what {name} is called from now on, at {peer.address} as before")
    print(f"  {hub.config_path(peer.name)}")
    print("  The component goes on as it is; it takes its new id from this config.env if you copy it there.")
    return 0


def _rotate(hub: Hub, name: PeerName, arguments: argparse.Namespace) -> int:
    before = life.ask_rotation(hub, name, dry_run=arguments.dry_run)
    if arguments.dry_run:
        print(f"{name}: would be asked for a new key pair and a new preshared key")
        return 0
    if arguments.wait == 0:
        print(f"{name}: asked for new keys; it makes them when it next looks, within a minute while it is joined")
        return 0
    print(f"{name}: asked for new keys; waiting for them", file=sys.stderr)
    after = life.wait_for_rotation(hub, name, before, arguments.wait)
    if after is None:
        print(
            f"{name}: has not made new keys within {arguments.wait:.0f} s, and keeps its old ones until it does; is it"
            f" joined (`show {name}`), and of this release?"
        )
        return 1
    print(f"{name}: has a new key {after.public_key} and a new preshared key; its old ones are out")
    return 0


def _move(hub: Hub, arguments: argparse.Namespace) -> int:
    from vpn.lib.hub import moving

    done = moving.move(hub, arguments.address, os.environ, dry_run=arguments.dry_run)
    if arguments.dry_run:
        verb = "would be told" if done.changed else "know already"
        print(f"{_components(done.peers)} {verb} that the hub is at {done.after}; before: {done.before}")
        return 0
    if not done.changed:
        print(f"the hub is at {done.after} already; every config.env says so")
        return 0
    print(f"the hub is at {done.after} now; before: {done.before}")
    print(
        f"  {_components(done.peers)}: those that are joined go over within a minute, the others when they are back."
        " Let the hub be reached at both addresses until `list` shows all of them."
    )
    return 0


def _components(count: int) -> str:
    return f"{count} component{'' if count == 1 else 's'}"


def add_parsers(commands: argparse._SubParsersAction[Parser], types: Sequence[str]) -> None:
    """Add the parsers of these commands."""
    for command, (summary, more, example) in EXPLANATIONS.items():
        child = commands.add_parser(
            command,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}. {more}",
            epilog=f"example:\n  configure_peer.py {command} {example}",
        )
        if command == "move-hub":
            child.add_argument("address", metavar="ADDRESS", help="the hub's new public name or address")
        else:
            child.add_argument("type", metavar="TYPE", choices=types, help="management, node or researcher")
            child.add_argument("id", metavar="ID", help="the component's name, such as node1")
        if command == "rename":
            child.add_argument("new_id", metavar="NEWID", help="its new name")
        if command == "rotate":
            child.add_argument(
                "--wait",
                metavar="SECONDS",
                type=float,
                default=ROTATION_PATIENCE,
                help="for the new keys; 0: not at all",
            )
        add_dry_run(child)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the option that changes nothing."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")

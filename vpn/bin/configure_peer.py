#!/usr/bin/env python3
"""configure_peer.py: the hub's peers, from the command line."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Run by its path in a checkout: the package is two folders up. Never the folder of the scripts.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    # A command ends before there is anything to collect; looking costs it a twentieth of its time.
    gc.disable()

from vpn.bin import (
    COMPLETE,
    backups,
    batches,
    completion,
    exports,
    leave,
    listings,
    lives,
    peer_lines,
    peer_parser,
    run_guarded,
)
from vpn.lib.errors import InvalidInput, Refused, VpnError
from vpn.lib.files import state_folder
from vpn.lib.hub import settings as hub_settings, state, who
from vpn.lib.hub.outcomes import Removed, Terms
from vpn.lib.hub.service import Hub
from vpn.lib.hub.status import open_device
from vpn.lib.registry.peer import parse_name, parse_type
from vpn.lib.wireguard.keys import PublicKey

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import PeerName

WITHOUT_A_NAME = {"export": "export", "add": "let in", "move-hub": "tell"}
"""Commands that are for components without naming one, and what they cannot do where there are none."""


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (0 done, 1 refused or failed, 2 usage)."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == [COMPLETE]:
        return completion.answer("configure_peer", peer_parser.build()[0], given[1:], _values())
    # A command that is put aside with Ctrl-Z would keep its lock, and every other command waiting.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    return run_guarded("configure_peer", lambda: _run(peer_parser.parse(given)))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "completion":
        print(completion.script(arguments.shell), end="")
        return 0
    login = who.login(os.environ)
    if arguments.command == "restore":
        return backups.restore(arguments, login)
    settings = hub_settings.load(os.environ)
    name = None
    if getattr(arguments, "id", None) is not None:
        name = parse_name(parse_type(arguments.type), arguments.id)
    key = None
    if getattr(arguments, "key", None) is not None:
        key = PublicKey.parse(_standard_input() if arguments.key == "-" else arguments.key)
    terms = _terms(arguments) if "until" in arguments else Terms()
    if arguments.command == "policy":
        return _policy(settings, arguments)
    if arguments.command in ("genconf", "export"):
        _ = settings.endpoint  # refused before there is a registry
    if arguments.command == "export":
        exports.check_target(arguments)
    if arguments.command == "list":
        listings.check(arguments)
    table = None
    if getattr(arguments, "table", None) is not None:
        table, source = batches.read(arguments)
    if not state.exists(settings):
        if not _registers(arguments):
            return _nothing_registered(arguments, name)
        if table is not None and table.problems and not arguments.keep_going:
            return batches.refuse(table, source)

    def open_hub() -> Hub:
        device = open_device(settings)
        return Hub(settings, device, command=arguments.command, login=login, notify=peer_lines.notify)

    if arguments.command == "list":
        return listings.show_all(open_hub, arguments)
    with open_hub() as hub:
        if arguments.command == "audit":
            return _audit(hub, arguments)
        if arguments.command == "backup":
            return backups.backup(hub, arguments)
        if table is not None:
            return batches.run(hub, table, source, arguments)
        if arguments.command == "export":
            return exports.export(hub, name, key, arguments)
        if arguments.command in lives.COMMANDS:
            return lives.run(hub, name, arguments)
        if name is None:
            print(hub.public_key())
        elif arguments.command == "show":
            listings.show(hub, name, as_json=arguments.json)
        else:
            print("\n".join(_changed(hub, name, key, terms, arguments)))
    return 0


def _changed(hub: Hub, name: PeerName, key: PublicKey | None, terms: Terms, arguments: argparse.Namespace) -> list[str]:
    """Change one peer; what is to be said of it."""
    dry_run = arguments.dry_run
    if arguments.command == "genconf":
        configured = hub.genconf(name, terms, dry_run=dry_run)
        return peer_lines.configured(configured, hub.config_path(name), dry_run=dry_run)
    if key is not None:
        return peer_lines.added(hub.add(name, key, until=terms.until, dry_run=dry_run), dry_run=dry_run)
    change = hub.remove if arguments.command == "remove" else hub.removeconf
    done = change(name, leaked=arguments.leaked, dry_run=dry_run)
    if dry_run:
        return peer_lines.rehearsed(name, done, arguments.command)
    return (peer_lines.removed if arguments.command == "remove" else peer_lines.forgotten)(name, done)


def _terms(arguments: argparse.Namespace) -> Terms:
    """What --until, --invite and --valid ask for."""
    from vpn.lib.hub import when

    until = None if arguments.until is None else when.parse_until(arguments.until)
    valid = None
    if getattr(arguments, "invite", False):
        valid = when.parse_duration(arguments.valid or peer_parser.VALID, "--valid")
    elif getattr(arguments, "valid", None):
        raise InvalidInput("--valid is for invitations; give --invite too")
    return Terms(until, valid)


def _values() -> completion.Values:
    """What is completed where the parser does not know it: ids of registered peers."""
    from vpn.lib.registry import names

    def registered() -> list[PeerName]:
        try:
            folder = state_folder(os.environ)
        except (VpnError, OSError):
            return []
        return names.read(folder / state.REGISTRY_FOLDER / state.REGISTRY_FILE)

    def ends(_: Mapping[str, str]) -> list[str]:
        from vpn.lib.firewall.nftables import HUB
        from vpn.lib.firewall.policy import Role

        return [*(role.value for role in Role), HUB, *(f"{name.type.value}/{name.id}" for name in registered())]

    return {
        "id": lambda seen: [name.id for name in registered() if name.type.value == seen.get("type")],
        "source": ends,
        "target": ends,
        "types": lambda _: peer_parser.TYPES,
        "states": lambda _: listings.STATES,
    }


def _registers(arguments: argparse.Namespace) -> bool:
    """Whether it is for a hub that has no registry yet as well."""
    if arguments.command == "export":
        return arguments.key is not None or bool(arguments.make_key)
    return arguments.command in ("genconf", "public-key")


def _nothing_registered(arguments: argparse.Namespace, name: PeerName | None) -> int:
    """Answer for a hub that has no registry, without making one."""
    if arguments.command == "backup":
        raise Refused("there is nothing to back up: no component is registered")
    if name is None and arguments.command in WITHOUT_A_NAME:
        what = WITHOUT_A_NAME[arguments.command]
        raise Refused(f"there is nothing to {what}: no component is registered; `genconf` first")
    if name is None:
        nothing = "no components yet; register one with `configure_peer.py genconf TYPE ID`"
        print("[]" if arguments.json else nothing)
    elif arguments.command == "removeconf":
        print("\n".join(peer_lines.forgotten(name, Removed(None, None, None))))
    else:
        raise Refused(f"{name} is not registered, and nothing else is; run `genconf {name}` first")
    return 0


def _audit(hub: Hub, arguments: argparse.Namespace) -> int:
    from vpn.lib.hub import audit_view

    if arguments.verify:
        text, whole = audit_view.verify(hub.chain(), hub.records(), arguments.json)
        print(text)
        return 0 if whole else 1
    print(audit_view.as_json(hub.records()) if arguments.json else audit_view.as_table(hub.records()))
    return 0


def _policy(settings: Settings, arguments: argparse.Namespace) -> int:
    from vpn.lib.hub import matrix

    found = matrix.load(settings)
    if arguments.question is None:
        found = matrix.count(found, os.environ)
        print(matrix.as_json(found) if arguments.json else matrix.as_table(found))
    for note in found.notes:
        peer_lines.notify(state.Notice(True, note))
    if arguments.question is None:
        return 0
    ends = (arguments.source, arguments.target)
    answer = matrix.answer(settings, found.policy, ends, arguments.port, lambda name: _address(settings, name))
    print(f"{'yes' if answer.allowed else 'no'}: {answer.reason}")
    return 0 if answer.allowed else 1


def _address(settings: Settings, name: PeerName) -> IPv4Address:
    if not state.exists(settings):
        raise Refused(f"{name} is not registered, and nothing else is; run `genconf {name}` first")
    with Hub(settings, open_device(settings), command="policy", notify=peer_lines.notify) as hub:
        return hub.peer(name).address


def _standard_input() -> str:
    # One line, as `wg pubkey` prints it; more than that is no key.
    return sys.stdin.read(4096).removesuffix("\n").removesuffix("\r")


if __name__ == "__main__":
    leave(main())

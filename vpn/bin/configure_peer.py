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

from vpn.bin import Parser, backups, leave, lives, run_guarded
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.hub import settings as hub_settings, state, who
from vpn.lib.hub.invitations import shown
from vpn.lib.hub.outcomes import Added, Configured, Removed, Terms
from vpn.lib.hub.service import Hub
from vpn.lib.hub.status import open_device
from vpn.lib.registry.peer import Standing, parse_name, parse_type
from vpn.lib.wireguard.keys import PublicKey

if TYPE_CHECKING:
    import argparse
    from ipaddress import IPv4Address

    from vpn.lib.hub.settings import Settings
    from vpn.lib.hub.state import Notice
    from vpn.lib.registry.peer import PeerName

OPTIONS = {
    "genconf": {"--invite": False, "--valid": True, "--until": True, "--dry-run": False},
    "add": {"--until": True, "--dry-run": False},
    "remove": {"--leaked": False, "--dry-run": False},
    "removeconf": {"--leaked": False, "--dry-run": False},
}
"""The options of commands whose other arguments may begin with a hyphen, and whether each takes a value."""

VALID = "48h"
"""How long an invitation is good for, where nothing else is said."""

LATER = "It is saved; the hub applies it when it starts."


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (0 done, 1 refused or failed, 2 usage)."""
    given = sys.argv[1:] if argv is None else argv
    # A command that is put aside with Ctrl-Z would keep its lock, and every other command waiting.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    return run_guarded("configure_peer", lambda: _run(_parser().parse_args(_as_positions(given))))


def _as_positions(arguments: list[str]) -> list[str]:
    """After TYPE, an id or key that looks like an option is an id or key: it is refused as what it is."""
    known = OPTIONS.get(arguments[0], {}) if arguments else {}
    if len(arguments) < 3 or "--" in arguments or not known or arguments[1][:1] == "-":
        return arguments
    options, positions = [], []
    rest = iter(arguments[2:])
    for given in rest:
        name = given.partition("=")[0]
        if name not in known:
            positions.append(given)
            continue
        options.append(given)
        if known[name] and "=" not in given:
            options += [value for value in (next(rest, None),) if value is not None]
    return [*arguments[:2], *options, "--", *positions]


def _run(arguments: argparse.Namespace) -> int:
    login = who.login(os.environ)
    if arguments.command == "restore":
        return backups.restore(arguments, login)
    settings = hub_settings.load(os.environ)
    name = None
    if "id" in arguments:
        name = parse_name(parse_type(arguments.type), arguments.id)
    key = None
    if "key" in arguments:
        key = PublicKey.parse(_standard_input() if arguments.key == "-" else arguments.key)
    if arguments.command == "policy":
        return _policy(settings, arguments)
    if arguments.command == "genconf":
        _ = settings.endpoint  # refused before there is a registry
    elif arguments.command != "public-key" and not state.exists(settings):
        return _nothing_registered(arguments, name)
    with Hub(settings, open_device(settings), command=arguments.command, login=login, notify=_notify) as hub:
        if arguments.command == "audit":
            return _audit(hub, arguments)
        if arguments.command == "backup":
            return backups.backup(hub, arguments)
        if arguments.command in lives.COMMANDS:
            return lives.run(hub, name, arguments)
        if name is None:
            _print_all(hub, arguments)
        elif arguments.command == "show":
            _show(hub, name, arguments.json)
        elif arguments.command == "genconf":
            terms = _terms(arguments)
            _print_configured(
                hub.genconf(name, terms, dry_run=arguments.dry_run), hub.config_path(name), arguments.dry_run
            )
        elif key is not None:
            _print_added(
                hub.add(name, key, until=_terms(arguments).until, dry_run=arguments.dry_run), arguments.dry_run
            )
        elif arguments.dry_run:
            change = hub.remove if arguments.command == "remove" else hub.removeconf
            _print_rehearsed(name, change(name, leaked=arguments.leaked, dry_run=True), arguments.command)
        elif arguments.command == "remove":
            _print_removed(name, hub.remove(name, leaked=arguments.leaked))
        else:
            _print_forgotten(name, hub.removeconf(name, leaked=arguments.leaked))
    return 0


def _terms(arguments: argparse.Namespace) -> Terms:
    """What --until, --invite and --valid ask for."""
    from vpn.lib.hub import when

    until = None if arguments.until is None else when.parse_until(arguments.until)
    valid = None
    if getattr(arguments, "invite", False):
        valid = when.parse_duration(arguments.valid or VALID, "--valid")
    elif getattr(arguments, "valid", None):
        raise InvalidInput("--valid is for invitations; give --invite too")
    return Terms(until, valid)


def _nothing_registered(arguments: argparse.Namespace, name: PeerName | None) -> int:
    """Answer for a hub that has no registry, without making one."""
    if arguments.command == "backup":
        raise Refused("there is nothing to back up: no component is registered")
    if name is None:
        nothing = "no components yet; register one with `configure_peer.py genconf TYPE ID`"
        print("[]" if arguments.json else nothing)
    elif arguments.command == "removeconf":
        _print_forgotten(name, Removed(None, None, None))
    else:
        raise Refused(f"{name} is not registered, and nothing else is; run `genconf {name}` first")
    return 0


def _print_all(hub: Hub, arguments: argparse.Namespace) -> None:
    if arguments.command == "public-key":
        print(hub.public_key())
        return
    from vpn.lib.hub import listing

    views = listing.view(hub)
    print(listing.as_json(views) if arguments.json else listing.as_table(views))


def _show(hub: Hub, name: PeerName, as_json: bool) -> None:
    from vpn.lib.hub import listing

    view = listing.view_one(hub, name)
    print(listing.one_as_json(view) if as_json else listing.one_as_text(view, hub.config_path(name)))


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
        _notify(state.Notice(True, note))
    if arguments.question is None:
        return 0
    ends = (arguments.source, arguments.target)
    answer = matrix.answer(settings, found.policy, ends, arguments.port, lambda name: _address(settings, name))
    print(f"{'yes' if answer.allowed else 'no'}: {answer.reason}")
    return 0 if answer.allowed else 1


def _address(settings: Settings, name: PeerName) -> IPv4Address:
    if not state.exists(settings):
        raise Refused(f"{name} is not registered, and nothing else is; run `genconf {name}` first")
    with Hub(settings, open_device(settings), command="policy", notify=_notify) as hub:
        return hub.peer(name).address


def _print_configured(done: Configured, path: Path, dry_run: bool) -> None:
    name = done.peer.name
    if dry_run:
        what = "would be registered" if done.new else "is registered already"
        print(f"{name}: {what} at {done.peer.address}; nothing is changed")
        return
    print(f"{name}: {'registered' if done.new else 'was registered already'} at {done.peer.address}")
    print(f"  {path}")
    if done.peer.until is not None:
        print(f"It expires on {shown(done.peer.until)}.")
    if done.invitation is not None:
        print(
            "Next: hand this file to the component by a safe way, and have it put in place and started. It joins by"
            f" itself, once, until {shown(done.invitation.expires)}."
        )
    elif done.peer.public_key is None:
        print(
            f"Next: copy this file to the component as its config.env, start the component, then here:\n"
            f"  configure_peer.py add {name} PUBLICKEY"
        )


def _print_added(done: Added, dry_run: bool) -> None:
    name = done.peer.name
    if dry_run:
        former = "" if done.replaced is None else f", in place of {done.replaced}"
        print(
            f"{name}: {'would get this key' + former if done.changed else 'has this key already'}; nothing is changed"
        )
        return
    if not done.changed:
        print(f"{name}: has this key already; nothing changed")
        return
    if done.replaced is not None:
        print(f"{name}: the former key {done.replaced} is replaced and out")
    if done.peer.standing is not Standing.ENABLED:
        print(f"{name}: its key is saved, but it is {done.peer.standing.value}: `enable {name}` lets it in")
        return
    print(f"{name}: added with address {done.peer.address}" + (" and let in" if done.applied else f". {LATER}"))


def _print_leaked(done: Removed) -> None:
    if done.leaked is not None:
        print(f"  The key {done.leaked} is marked as leaked: it is refused for ever, whoever comes with it.")


def _print_rehearsed(name: PeerName, done: Removed, command: str) -> None:
    if done.peer is None:
        print(f"{name}: is not registered; nothing to forget")
        return
    parts = [f"lose its key {done.removed_key}"] if done.removed_key is not None else []
    parts += ["lose its invitation"] if done.withdrawn else []
    parts += [f"be forgotten, with its address {done.peer.address}"] if command == "removeconf" else []
    parts += [f"have the key {done.leaked} refused for ever"] if done.leaked is not None else []
    print(f"{name}: would {', and '.join(parts) or 'not change'}; nothing is changed")


def _print_removed(name: PeerName, done: Removed) -> None:
    if done.withdrawn:
        print(f"{name}: its invitation is withdrawn")
    if done.removed_key is None:
        if not done.withdrawn:
            print(f"{name}: has no key; nothing to remove")
        _print_leaked(done)
        return
    print(f"{name}: removed" + (", and proven to be out" if done.proven else f". {LATER}"))
    _print_leaked(done)
    again = "`add`" if done.leaked is None else "`add` with another key"
    print(f"  Its address and config.env are kept: {again} lets it in again, `removeconf {name}` forgets it.")


def _print_forgotten(name: PeerName, done: Removed) -> None:
    if done.peer is None:
        print(f"{name}: is not registered; nothing to forget")
        _print_leaked(done)
        return
    out = "" if done.removed_key is None else ", and proven to be out" if done.proven else f". {LATER}"
    print(f"{name}: forgotten, its address {done.peer.address} is free{out}")
    _print_leaked(done)


def _notify(notice: Notice) -> None:
    print(f"configure_peer: {'warning: ' if notice.warning else ''}{notice.text}", file=sys.stderr)


def _standard_input() -> str:
    # One line, as `wg pubkey` prints it; more than that is no key.
    return sys.stdin.read(4096).removesuffix("\n").removesuffix("\r")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="configure_peer.py",
        description="Manage the peers of the VPN's hub. Run it on the hub; the order is genconf, then add.",
        epilog="State directory: /config, or VPN_CONFIG_DIR. Exit status: 0 done, 1 refused or failed, 2 usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="configure_peer.py")
    peer_commands = {
        "genconf": "register a component and write its config.env (again)",
        "add": "let a registered component in by its public key",
        "remove": "take a component's key away at once; its address and config.env stay",
        "removeconf": "forget a component: key, address and config.env",
        "show": "all that is known of one component",
    }
    for command, explanation in peer_commands.items():
        child = commands.add_parser(command, help=explanation, description=explanation)
        child.add_argument(
            "type", metavar="TYPE", choices=("management", "node", "researcher"), help="management, node or researcher"
        )
        child.add_argument("id", metavar="ID", help="the component's name, such as node1")
        if command == "add":
            child.add_argument(
                "key", metavar="PUBLICKEY", help="what the component prints; - reads it from standard input"
            )
        if command == "show":
            child.add_argument("--json", action="store_true", help="for programs")
        if command == "genconf":
            child.add_argument(
                "--invite", action="store_true", help="let the component hand over its key by itself, once"
            )
            child.add_argument(
                "--valid", metavar="DURATION", help=f"of the invitation: 30m, 48h, 7d ({VALID} by default)"
            )
        if command in ("genconf", "add"):
            child.add_argument(
                "--until",
                metavar="DATE",
                help="when the component expires: 2027-01-31, 2027-01-31T18:00 (UTC), or never",
            )
        if command in OPTIONS:
            lives.add_dry_run(child)
        if command in ("remove", "removeconf"):
            child.add_argument("--leaked", action="store_true", help="refuse its key for ever, whoever comes with it")
    audit = commands.add_parser("audit", help="who changed what, and when", description="who changed what, and when")
    audit.add_argument("--verify", action="store_true", help="exit 1 if an entry was changed, added or taken away")
    audit.add_argument("--json", action="store_true", help="for programs")
    listing = commands.add_parser("list", help="all components", description="all components")
    listing.add_argument("--json", action="store_true", help="for programs")
    policy = commands.add_parser(
        "policy", help="who may reach whom", description="who may reach whom, and what was denied"
    )
    policy.add_argument("--json", action="store_true", help="for programs")
    questions = policy.add_subparsers(dest="question", metavar="check", prog="configure_peer.py policy")
    check = questions.add_parser(
        "check",
        help="exit 0 if FROM may reach the port of TO",
        description="whether FROM may reach PORT of TO, and why",
    )
    end = "mqtt, restful, management, node, researcher, hub, or TYPE/ID of a peer"
    check.add_argument("source", metavar="FROM", help=end)
    check.add_argument("target", metavar="TO", help="likewise")
    check.add_argument("port", metavar="PORT", help="such as 1883 or 53/udp")
    backups.add_parsers(commands)
    lives.add_parsers(commands)
    commands.add_parser("public-key", help="the hub's public key", description="the hub's public key")
    return parser


if __name__ == "__main__":
    leave(main())

"""The arguments of configure_peer.py, and its help."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vpn.bin import Parser, backups, batches, completion, exports, listings, lives

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001  (it has no other name)

PROGRAM = "configure_peer.py"
TYPES = ("management", "node", "researcher")
PEER_COMMANDS = {
    "genconf": (
        "register a component and write its config.env (again)",
        "Register a component at the next free address, and write its config.env (again).",
        """examples:
  configure_peer.py genconf node chu-lille
      then copy config_peers/node/chu-lille/config.env to the hospital, by a safe way: it holds a secret
  configure_peer.py genconf node chu-lille --invite
      with an invitation in that file: the component hands over its key by itself
  configure_peer.py genconf --from peers.csv
      all or nothing; a first line type,id,until,invite, of which until and invite may be missing or empty; then such as
      node,chu-lille,2027-12-31,48h (until the end of that day, UTC; invited for so long: 48h, 3d, yes, no)""",
    ),
    "add": (
        "let a registered component in by its public key",
        "Let a registered component in by its public key. Another key that it had is out at once.",
        """examples:
  configure_peer.py add node chu-lille 9eUh3Y/mlDJlZf+l3eRYUn7vtDSGW1T0qEXdRMAbwBo=
  ssh chu-lille vpn_client.py public-key | configure_peer.py add node chu-lille -
  configure_peer.py add --from keys.csv
      all or nothing; a first line type,id,key""",
    ),
    "remove": (
        "take a component's key away at once; its address and config.env stay",
        "Take a component's key away at once. Its address and config.env stay: `add` lets it in again.",
        """examples:
  configure_peer.py remove node chu-lille
  configure_peer.py remove node chu-lille --leaked      its key was seen by others: never again""",
    ),
    "removeconf": (
        "forget a component: key, address and config.env",
        "Forget a component: key, address and config.env. `remove` is enough to keep it out.",
        """example:
  configure_peer.py removeconf node chu-lille""",
    ),
    "show": (
        "show all that is known of one component",
        "Show all that is known of one component, without secrets.",
        """examples:
  configure_peer.py show node chu-lille
  configure_peer.py show node chu-lille --json""",
    ),
}

IN_TABLES = {
    "genconf": (
        ("type", "id"),
        "type,id,until,invite",
        " [--until DATE] [--invite [--valid DURATION]] [--dry-run]",
    ),
    "add": (("type", "id", "key"), "type,id,key", " PUBLICKEY [--until DATE] [--dry-run]"),
}
"""Commands that take many peers as well: what stands in the place of a table, its columns, and more of the usage."""

OF_PEERS = (*PEER_COMMANDS, "export", "disable", "enable", "rename", "rotate")
"""Commands that take TYPE and ID."""

VALID = "48h"
"""How long an invitation is good for, where nothing else is said."""


def parse(given: list[str]) -> argparse.Namespace:
    """The arguments, checked; SystemExit with status 2 for wrong ones, with 0 after ``--help``."""
    # To make the parsers of all commands takes longer than most commands.
    only = given[0] if given and any(given[0] in names for names, _ in _groups()) else None
    parser, commands = build(only)
    arguments = parser.parse_args(_as_positions(given, commands))
    if arguments.command == "export":
        exports.check(arguments)
    elif arguments.command in IN_TABLES:
        batches.check(arguments, IN_TABLES[arguments.command][0])
    return arguments


def _as_positions(arguments: list[str], commands: Mapping[str, Parser]) -> list[str]:
    """After TYPE, an id or key that looks like an option is an id or key: it is refused as what it is.

    The options that the command has, its help among them, come first: argparse gives nothing to an argument that may
    be left out when an option stands before it.
    """
    if not arguments or arguments[0] not in OF_PEERS:
        return arguments
    known = commands[arguments[0]].options
    options: list[str] = []
    positions: list[str] = []
    rest = iter(arguments[1:])
    for argument in rest:
        if argument == "--":
            positions += rest
            break
        name, equals, _ = argument.partition("=")
        if name in known:
            options.append(argument)
            if known[name].nargs is None and not equals:
                options += [value for value in (next(rest, None),) if value is not None]
        elif positions or not argument.startswith("-"):
            positions.append(argument)
        else:
            options.append(argument)
    return [arguments[0], *options, "--", *positions]


def build(only: str | None = None) -> tuple[Parser, Mapping[str, Parser]]:
    """The parser, and those of the commands; of all, or of the one that is asked for and what comes with it."""
    parser = Parser(
        prog=PROGRAM,
        description="Manage the peers of the VPN's hub. Run it on the hub; the order is genconf, then add.",
        epilog="""examples:
  configure_peer.py genconf node chu-lille              registers it and writes its config.env
  configure_peer.py add node chu-lille PUBLICKEY        lets it in
  configure_peer.py list                                who is there
  configure_peer.py add --help                          more of one command

State directory: /config, or VPN_CONFIG_DIR. Exit status: 0 done, 1 refused or failed, 2 usage.""",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=PROGRAM)
    for names, add in _groups():
        if only is None or only in names:
            add(commands)
    return parser, commands.choices


def _groups() -> Iterator[tuple[tuple[str, ...], Callable[[Commands], object]]]:
    """The commands, and what adds their parsers."""
    for command in PEER_COMMANDS:
        yield (command,), partial(_add_peer_command, command)
    yield ("list",), partial(listings.add_parser, types=TYPES)
    yield ("export",), partial(exports.add_parser, types=TYPES)
    yield ("policy",), _add_policy
    yield ("audit",), _add_audit
    yield backups.COMMANDS, backups.add_parsers
    yield lives.COMMANDS, partial(lives.add_parsers, types=TYPES)
    yield (
        ("public-key",),
        lambda commands: _command(commands, "public-key", "print the hub's public key", ["public-key"]),
    )
    yield ("completion",), completion.add_parser


def _add_peer_command(command: str, commands: Commands) -> None:
    summary, description, epilog = PEER_COMMANDS[command]
    child = commands.add_parser(command, help=summary, description=description, epilog=epilog)
    many = command in IN_TABLES
    child.add_argument(
        "type", metavar="TYPE", nargs="?" if many else None, choices=TYPES, help="management, node or researcher"
    )
    child.add_argument("id", metavar="ID", nargs="?" if many else None, help="the component's name, such as node1")
    if command == "add":
        child.add_argument(
            "key", metavar="PUBLICKEY", nargs="?", help="what the component prints; - reads it from standard input"
        )
    if command == "show":
        child.add_argument("--json", action="store_true", help="for programs")
    if command == "genconf":
        child.add_argument("--invite", action="store_true", help="let the component hand over its key by itself, once")
        child.add_argument("--valid", metavar="DURATION", help=f"of the invitation: 30m, 48h, 7d ({VALID} by default)")
    if many:
        child.add_argument(
            "--until", metavar="DATE", help="when the component expires: 2027-01-31, 2027-01-31T18:00 (UTC), or never"
        )
        _, columns, more = IN_TABLES[command]
        batches.add_arguments(child, columns)
        child.usage = (
            f"{PROGRAM} {command} TYPE ID{more}\n       {PROGRAM} {command} --from FILE [--keep-going] [--dry-run]"
        )
        child.set_defaults(complain=child.error)
    if command in ("remove", "removeconf"):
        child.add_argument("--leaked", action="store_true", help="refuse its key for ever, whoever comes with it")
    if command != "show":
        lives.add_dry_run(child)


def _add_audit(commands: Commands) -> None:
    audit = _command(commands, "audit", "show who changed what, and when", ["audit", "audit --verify"])
    audit.add_argument("--verify", action="store_true", help="exit 1 if an entry was changed, added or taken away")
    audit.add_argument("--json", action="store_true", help="for programs")


def _command(commands: Commands, name: str, summary: str, examples: Iterable[str], more: str = "") -> Parser:
    lines = "".join(f"\n  configure_peer.py {example}" for example in examples)
    description = f"{summary[0].upper()}{summary[1:]}. {more}".strip()
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example{'s' if lines.count(chr(10)) > 1 else ''}:{lines}",
    )


def _add_policy(commands: Commands) -> None:
    policy = _command(
        commands,
        "policy",
        "show who may reach whom",
        ["policy", "policy check node/chu-lille mqtt 1883"],
        "And what was denied since the hub's rules were loaded.",
    )
    policy.add_argument("--json", action="store_true", help="for programs")
    questions = policy.add_subparsers(dest="question", metavar="check", prog="configure_peer.py policy")
    check = questions.add_parser(
        "check",
        help="tell whether FROM may reach the port of TO",
        description="Tell whether FROM may reach PORT of TO, and why. Exit status: 0 yes, 1 no.",
        epilog="""examples:
  configure_peer.py policy check node mqtt 1883
  configure_peer.py policy check node/chu-lille researcher/paris 50051""",
    )
    end = "mqtt, restful, management, node, researcher, hub, or TYPE/ID of a peer"
    check.add_argument("source", metavar="FROM", help=end)
    check.add_argument("target", metavar="TO", help="likewise")
    check.add_argument("port", metavar="PORT", help="such as 1883 or 53/udp")

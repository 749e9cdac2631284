"""``export`` of configure_peer.py: a peer's configuration in the format that its client reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vpn.bin import peer_lines
from vpn.lib import files
from vpn.lib.errors import DeviceMissing, InvalidInput, Refused, Unproven, VpnError
from vpn.lib.hub.outcomes import Added
from vpn.lib.wireguard.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from vpn.bin import Parser
    from vpn.lib.hub.client_config import Client
    from vpn.lib.hub.service import Hub
    from vpn.lib.registry.peer import Peer, PeerName

FORMATS = ("env", "wg-quick", "qr", "json")
PICTURES = (".png", ".svg")
EPILOG = """examples:
  configure_peer.py export node laptop --make-key --format qr
      registers node laptop, lets it in with a key that is made here, and draws what WireGuard's app scans
  configure_peer.py export node laptop --public-key KEY --output laptop.conf
      likewise with a key that the laptop made; its private key goes into laptop.conf there
  configure_peer.py export --all /media/stick/peers
      everybody's config.env, for a move by hand

What is exported holds secrets: a FILE is readable by its owner only (0600). Hand it over by a safe way."""


def add_parser(commands: argparse._SubParsersAction[Parser], types: tuple[str, ...]) -> None:
    """The arguments."""
    child = commands.add_parser(
        "export",
        help="print a component's configuration for WireGuard's own client, or for a phone",
        description="Print a component's configuration in the format that its client reads, or write it to a file.",
        epilog=EPILOG,
        usage="configure_peer.py export TYPE ID [--format FORMAT] [--public-key KEY | --make-key]\n"
        "                                [--output FILE [--force]]\n"
        "       configure_peer.py export --all DIR",
    )
    child.add_argument("type", metavar="TYPE", nargs="?", choices=types, help="management, node or researcher")
    child.add_argument("id", metavar="ID", nargs="?", help="the component's name, such as laptop")
    child.add_argument(
        "--format",
        metavar="FORMAT",
        choices=FORMATS,
        default="wg-quick",
        help="env: config.env as genconf writes it; wg-quick: for `wg-quick up` and WireGuard's apps (the default);"
        " qr: that as a QR code; json: for programs",
    )
    key = child.add_mutually_exclusive_group()
    key.add_argument(
        "--public-key",
        dest="key",
        metavar="KEY",
        help="register it, and let it in with this key; - reads it from standard input",
    )
    key.add_argument(
        "--make-key",
        action="store_true",
        help="make its key here, and let it in: who reads the output is that component",
    )
    child.add_argument(
        "--output", metavar="FILE", default="-", help="where to write it; a QR code into a .png or .svg (default: -)"
    )
    child.add_argument("--force", action="store_true", help="even if FILE is there: it is replaced")
    child.add_argument("--all", metavar="DIR", help="every component's config.env, as DIR/TYPE/ID/config.env")
    child.set_defaults(complain=child.error)


def check(arguments: argparse.Namespace) -> None:
    """Complain of options that do not go together."""
    complain: Callable[[str], object] = arguments.complain
    if arguments.all is not None:
        if arguments.type is not None or arguments.key is not None or arguments.make_key:
            complain("--all is of every component: give it a DIR and nothing else")
        if arguments.output != "-" or arguments.format not in ("env", "wg-quick"):
            complain("--all writes everybody's config.env: give it a DIR and nothing else")
    elif arguments.id is None:
        complain(f"the following arguments are required: {'ID' if arguments.type else 'TYPE, ID'}")
    elif arguments.make_key and arguments.format == "env":
        complain("config.env has no place for a private key: give another --format, or no --make-key")


class Target(NamedTuple):
    """Where it is written to; ``path`` is None for stdout."""

    path: Path | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Target:
        """Checked as far as that is possible before anything is changed. Raises InvalidInput and Refused."""
        if arguments.output == "-":
            return cls(None)
        path = Path(arguments.output)
        if not path.name:
            raise InvalidInput(f"{arguments.output[:60]!a} is no name of a file; give another")
        if path.is_dir():
            raise Refused(f"{path} is a folder; give the name of a file")
        if not path.parent.is_dir():
            raise Refused(f"{path.parent} is no folder; make it, or give another FILE")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise Refused(f"{path.parent} may not be written to; give another FILE, or run this as its owner")
        if arguments.format == "qr" and path.suffix not in PICTURES:
            raise InvalidInput(f"{path} is no name of a picture: a QR code goes into a .png or .svg, or to stdout")
        if not arguments.force and (path.exists() or path.is_symlink()):
            raise Refused(f"{path} is there already; give another name, or --force to replace it")
        return cls(path)

    def say(self, lines: list[str]) -> None:
        """Tell what was done: on stderr where stdout has the output."""
        for line in lines:
            if self.path is None:
                peer_lines.remark(line)
            else:
                print(line)


def check_target(arguments: argparse.Namespace) -> None:
    """Raise Refused where the output has no place, before there is any. Whoever ``exports`` checks it again."""
    if arguments.all is None:
        Target.of(arguments)


def export(hub: Hub, name: PeerName | None, key: PublicKey | None, arguments: argparse.Namespace) -> int:
    """Run ``export``."""
    from vpn.lib.hub import client_config

    if name is None:
        path = Path(arguments.all)
        count = client_config.export_all(hub, path)
        print(f"{path}: the config.env of {count} component{'' if count == 1 else 's'}, with their secrets")
        return 0
    target = Target.of(arguments)
    if arguments.make_key:
        _with_a_new_key(hub, name, target, arguments.format)
        return 0
    peer = _registered(hub, name) if key is None else _let_in(hub, name, key, target)
    client = client_config.Client(peer, hub.settings, hub.public_key(), invitation=hub.invitation(name))
    _write(client, target, arguments.format)
    if peer.public_key is None and arguments.format != "env":
        peer_lines.remark(f"{name} has no key yet: `add {name} PUBLICKEY` lets it in")
    if arguments.format == "qr":
        peer_lines.remark(
            "the code has no private key in it, and WireGuard's app takes none without; --make-key makes one here",
            warning=True,
        )
    return 0


def _registered(hub: Hub, name: PeerName) -> Peer:
    peer = hub.peer(name)
    misplaced = hub.settings.plan.misplaced(name, peer.address)
    if misplaced is not None:
        raise Refused(f"{name} is registered, but {misplaced}; put the settings back, or `removeconf` it first")
    return peer


def _let_in(hub: Hub, name: PeerName, key: PublicKey, target: Target) -> Peer:
    """``genconf`` and ``add``; of a new peer all or nothing."""
    if hub.find(name) is not None:
        hub.genconf(name)
        done = hub.add(name, key)
    else:
        (configured,) = hub.genconf_all([name], {name: key})
        target.say([f"{name}: registered at {configured.peer.address}"])
        done = Added(configured.peer, True, None, _carried(hub))
    target.say(peer_lines.added(done))
    return done.peer


def _carried(hub: Hub) -> bool:
    """Whether wg0 is there, and has taken what it was given."""
    try:
        hub.observe()
    except DeviceMissing:
        return False
    return True


def _with_a_new_key(hub: Hub, name: PeerName, target: Target, form: str) -> None:
    """The output comes first: a key that is let in, and that nobody has, would shut the component out."""
    from vpn.lib.hub.client_config import Client

    private_key = PrivateKey.generate()
    public_key = private_key.public_key()
    configured = hub.genconf(name)
    peer = configured.peer._replace(public_key=public_key)
    _write(Client(peer, hub.settings, hub.public_key(), private_key), target, form)
    try:
        done = hub.add(name, public_key)
    except VpnError as error:
        if target.path is not None and not isinstance(error, Unproven):
            target.path.unlink(missing_ok=True)
        raise
    registered = [f"{name}: registered at {peer.address}"] if configured.new else []
    target.say([*registered, *peer_lines.added(done)])
    where = "the output" if target.path is None else target.path
    peer_lines.remark(
        f"{where} holds the private key of {name}: who reads it is {name} for this VPN. The hub keeps no copy of that"
        " key; delete the output when it is where it belongs",
        warning=True,
    )


def _write(client: Client, target: Target, form: str) -> None:
    from vpn.lib.hub import client_config, peer_config

    if form == "qr":
        _draw(client_config.wg_quick(client, comments=False), target)
        return
    if form == "env":
        text = peer_config.text(client.peer, client.settings, client.hub, client.invitation)
    else:
        text = client_config.wg_quick(client) if form == "wg-quick" else client_config.as_json(client)
    if target.path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        _save(target.path, text.encode())


def _draw(text: str, target: Target) -> None:
    from io import BytesIO, StringIO

    import segno

    # The least correction: a screen has no scratches, and the fewest dots are the easiest to scan.
    code = segno.make(text, error="l", boost_error=False, micro=False)
    if target.path is not None:
        picture = BytesIO()
        code.save(picture, kind=target.path.suffix[1:], scale=6)
        _save(target.path, picture.getvalue())
        return
    drawn = StringIO()
    code.terminal(drawn, border=2, compact=True)
    lines = drawn.getvalue().splitlines()
    if sys.stdout.isatty():
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
        if 0 < columns < len(lines[0]):
            peer_lines.remark(
                f"the code is {len(lines[0])} columns wide and this terminal {columns}: widen it and run this again,"
                " or give an --output that ends in .png",
                warning=True,
            )
        # Light dots on a dark ground, whatever the terminal's own colours: some apps read nothing else.
        lines = [f"\x1b[97;40m{line}\x1b[0m" for line in lines]
    try:
        print("\n".join(lines))
    except UnicodeEncodeError as error:
        raise Refused(
            f"this terminal's character set ({sys.stdout.encoding}) has no blocks to draw with; set LC_ALL=C.UTF-8, or"
            " give an --output that ends in .png"
        ) from error
    sys.stdout.flush()


def _save(path: Path, data: bytes) -> None:
    replaced = path.exists()
    files.write(path, data)
    print(f"{path}: {'replaced' if replaced else 'written'}, readable by its owner only")

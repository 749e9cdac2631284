"""``backup`` and ``restore`` of configure_peer.py: passphrases, and what is said."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib.errors import InvalidInput, Refused

if TYPE_CHECKING:
    import argparse

    from vpn.bin import Parser
    from vpn.lib.hub.service import Hub

COMMANDS = ("backup", "restore")
LONGEST = 4096
"""Bytes of a passphrase."""


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """The arguments of both."""
    source = "the file that holds the passphrase in one line; - reads it from standard input"
    backup = commands.add_parser(
        "backup",
        help="write all that cannot be made again into one file",
        description="Write the registry, the settings and the policy into one file, encrypted, while the hub runs. The"
        " passphrase is asked for on the terminal unless it comes from a file.",
        epilog="""examples:
  configure_peer.py backup /backups/hub-2026-11-25
  configure_peer.py backup /backups/hub-2026-11-25 --passphrase-file /root/backup-passphrase""",
    )
    backup.add_argument("file", metavar="FILE", help="where to write it")
    way = backup.add_mutually_exclusive_group()
    way.add_argument("--passphrase-file", metavar="PATH", help=source)
    way.add_argument("--plain", action="store_true", help="not encrypted: whoever can read it has all secrets")
    restore = commands.add_parser(
        "restore",
        help="make this hub what a backup holds",
        description="Make this hub what a backup holds. All is checked before anything changes, and what was there is"
        " kept.",
        epilog="""example:
  configure_peer.py restore /backups/hub-2026-11-25 --passphrase-file /root/backup-passphrase""",
    )
    restore.add_argument("file", metavar="FILE", help="what `backup` wrote")
    restore.add_argument("--passphrase-file", metavar="PATH", help=source)
    restore.add_argument("--broken-audit", action="store_true", help="even if the audit log in it is broken")


def backup(hub: Hub, arguments: argparse.Namespace) -> int:
    """Run ``backup``."""
    from vpn.lib.hub import backup as library

    path = _path(arguments.file)
    passphrase = None if arguments.plain else _passphrase(arguments.passphrase_file, twice=True)
    broken = library.make(hub, path, passphrase)
    print(f"{path}: the registry, the settings and the policy of this hub are in it")
    if arguments.plain:
        print("configure_peer: warning: it is not encrypted and holds all secrets of this hub", file=sys.stderr)
    else:
        print("  Without the passphrase nobody can read it, you neither: keep it somewhere else.")
    if broken is not None:
        line = f"the audit log is broken at entry {broken.number}; `audit --verify` says more"
        print(f"configure_peer: warning: {line}", file=sys.stderr)
    return 0


def restore(arguments: argparse.Namespace, login: int | None) -> int:
    """Run ``restore``."""
    from vpn.lib.hub import restore as library

    path = _path(arguments.file)
    done = library.restore(
        path,
        os.environ,
        lambda: _passphrase(arguments.passphrase_file, twice=False),
        library.By(login),
        broken_audit=arguments.broken_audit,
    )
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(done.made))
    print(f"{path}: restored as of {made}, {done.peers} components")
    if done.kept is not None:
        print(f"  What was here before is in {done.kept}, with its secrets.")
    if done.back:
        shown = ", ".join(map(str, done.back[:20])) + (f" and {len(done.back) - 20} more" if done.back[20:] else "")
        print(f"  In by the keys of the backup, and not so before: {shown}")
    for note in done.notes:
        print(f"configure_peer: warning: {note}", file=sys.stderr)
    print("Next: `configure_peer.py list` and `remove` whom you do not want in; a hub that runs has taken it over by")
    print("  itself, but for the settings: `kill -HUP` it, or start it.")
    return 0


def _path(text: str) -> Path:
    if not text or not text.isprintable():
        raise InvalidInput("that file name is empty, not UTF-8, or holds a control character; give another")
    return Path(text)


def _passphrase(source: str | None, *, twice: bool) -> bytes:
    """The passphrase, from a file, standard input or the terminal. Raises InvalidInput or Refused."""
    if source is None:
        if not sys.stdin.isatty():
            raise Refused("there is no terminal to ask for the passphrase; give --passphrase-file")
        import getpass

        given = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("Once more: ") != given:
            raise InvalidInput("the two passphrases differ; type them again")
        raw = given.encode(errors="surrogateescape")
    elif source == "-":
        raw = sys.stdin.buffer.read(LONGEST + 3)
    else:
        with open(source, "rb") as file:
            raw = file.read(LONGEST + 3)
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not raw or b"\n" in raw or len(raw) > LONGEST:
        raise InvalidInput(f"the passphrase is empty, longer than {LONGEST} bytes or more than one line; give another")
    return raw

#!/usr/bin/env python3
"""vpn_client.py: a component's daemon, its public key, and its health check."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Run by its path in a checkout: the package is two folders up. Never the folder of the scripts.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from vpn.bin import Parser, run_guarded
from vpn.lib.files import state_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (the application's after ``run``; else 0 done, 1 failed, 2 usage)."""
    arguments = _parser().parse_args(argv)
    commands = {
        "run": lambda: _run(arguments.application, arguments.log_format),
        "public-key": _public_key,
        "health": _health,
    }
    return run_guarded("vpn_client", commands[arguments.command])


def _run(application: Sequence[str], log_format: str) -> int:
    from vpn.lib import logs
    from vpn.lib.component.daemon import ComponentDaemon

    command = list(application[1:] if application[:1] == ["--"] else application)
    folder = state_folder(os.environ)
    return ComponentDaemon(folder, command, os.environ, logs.start("vpn_client", log_format)).run()


def _public_key() -> int:
    from vpn.lib.component import identity
    from vpn.lib.files import owner_from_environment

    folder = state_folder(os.environ)
    print(identity.load_or_make(folder, owner_from_environment(os.environ)).public_key())
    return 0


def _health() -> int:
    from vpn.lib.component import health

    problem = health.unhealthy(state_folder(os.environ), os.environ)
    print("healthy" if problem is None else f"unhealthy: {problem}")
    return 0 if problem is None else 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vpn_client.py",
        description="Join the VPN as a component, in the foreground, and run an application in it.",
        epilog="State directory: /config, or VPN_CONFIG_DIR. It needs nothing there but a config.env from the hub.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="join and stay", description="Join the VPN, then run the application.")
    run.add_argument("--log-format", choices=("human", "json"), default="human", help="of the log on stderr")
    run.add_argument("application", nargs="...", metavar="-- APPLICATION", help="and its arguments")
    commands.add_parser("public-key", help="print the key that the hub's `add` takes")
    commands.add_parser("health", help="exit 0 if the hub answers")
    return parser


if __name__ == "__main__":
    sys.exit(main())

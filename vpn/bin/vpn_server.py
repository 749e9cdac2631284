#!/usr/bin/env python3
"""vpn_server.py: the hub's daemon, its health check, and the way to its page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Run by its path in a checkout: the package is two folders up. Never the folder of the scripts.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from vpn.bin import Parser, run_guarded
from vpn.lib.hub import settings as hub_settings

if TYPE_CHECKING:
    import argparse


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (0 done or healthy, 1 failed or unhealthy, 2 usage)."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "health":
        return run_guarded("vpn_server", _health)
    if arguments.command == "page":
        return run_guarded("vpn_server", _page)
    run = _serve if arguments.command == "serve" else _run
    return run_guarded("vpn_server", lambda: run(arguments.log_format))


def _run(log_format: str) -> int:
    from vpn.lib import logs
    from vpn.lib.hub.daemon import HubDaemon

    settings = hub_settings.load(os.environ)
    return HubDaemon(settings, os.environ, logs.start("vpn_server", log_format), log_format).run()


def _serve(log_format: str) -> int:
    """Only for the daemon, which starts and ends this."""
    from vpn.lib import logs
    from vpn.lib.serving import process

    return process.run(hub_settings.load(os.environ), os.environ, logs.start("vpn_server", log_format))


def _health() -> int:
    from vpn.lib.hub import status

    problem = status.unhealthy(hub_settings.load(os.environ))
    print("healthy" if problem is None else f"unhealthy: {problem}")
    return 0 if problem is None else 1


def _page() -> int:
    from vpn.lib.serving import token

    print(token.url(hub_settings.load(os.environ)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vpn_server.py",
        description="Run the VPN's hub in the foreground, check its health, or print the address of its page.",
        epilog="State directory: /config, or VPN_CONFIG_DIR. SIGTERM ends the hub, SIGHUP reads its settings again.",
    )
    commands = ("run", "health", "page", "serve")
    parser.add_argument("command", nargs="?", choices=commands, metavar="run|health|page", default="run")
    parser.add_argument("--log-format", choices=("human", "json"), default="human", help="of the log on stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())

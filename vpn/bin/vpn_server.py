#!/usr/bin/env python3
"""vpn_server.py: the hub's daemon, its health check, its doctor, and the way to its page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run by its path in a checkout: the package is two folders up. Never the folder of the scripts.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from vpn.bin import COMPLETE, Parser, report, run_guarded
from vpn.lib.files import state_path
from vpn.lib.hub import settings as hub_settings

COMMANDS = ("run", "health", "doctor", "page")


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (0 done or healthy, 1 failed or unhealthy, 2 usage)."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == [COMPLETE]:
        from vpn.bin import completion

        return completion.answer("vpn_server", _parser(), given[1:], {"command": lambda _: COMMANDS})
    parser = _parser()
    arguments = parser.parse_args(given)
    if arguments.json and arguments.command != "doctor":
        parser.error("--json is of `doctor`")
    if arguments.command == "health":
        return run_guarded("vpn_server", _health)
    if arguments.command == "doctor":
        return run_guarded("vpn_server", lambda: _doctor(as_json=arguments.json))
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


def _doctor(*, as_json: bool) -> int:
    from vpn.lib.hub import doctor

    return report(doctor.examine(state_path(os.environ), os.environ), as_json=as_json)


def _parser() -> Parser:
    parser = Parser(
        prog="vpn_server.py",
        description="Run the VPN's hub in the foreground, tell whether it is healthy, or say what is wrong with it and"
        " what to do.",
        epilog="""examples:
  vpn_server.py                          run the hub
  vpn_server.py --log-format json
  vpn_server.py health                   `healthy`, status 0, or `unhealthy: REASON`, status 1
  vpn_server.py doctor                   each check in a line, with what to do
  vpn_server.py page                     the link to the hub's page (VPN_PAGE)

State directory: /config, or VPN_CONFIG_DIR; its config.env needs VPN_SERVER_PUBLIC_ADDR. SIGTERM ends the hub, SIGHUP
lets it read its settings and policy.toml again. Exit status: 0 done or healthy, 1 failed or unhealthy, 2 usage.""",
    )
    parser.add_argument(
        "command",
        metavar="COMMAND",
        nargs="?",
        choices=(*COMMANDS, "serve"),  # serve: what the daemon starts
        default="run",
        help="run: run the hub (the default); health: tell whether it is healthy; doctor: say what to do where it is"
        " not; page: print the link to its page",
    )
    parser.add_argument("--log-format", choices=("human", "json"), default="human", help="of the log on stderr")
    parser.add_argument("--json", action="store_true", help="of the doctor, for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""vpn_client.py: a component's daemon, its public key, its health check, and its doctor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Run by its path in a checkout: the package is two folders up. Never the folder of the scripts.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from vpn.bin import COMPLETE, Parser, report, run_guarded
from vpn.lib.errors import Refused
from vpn.lib.files import state_folder, state_path

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (the application's after ``run``; else 0 done, 1 failed, 2 usage)."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == [COMPLETE]:
        from vpn.bin import completion

        return completion.answer("vpn_client", _parser(), given[1:])
    arguments = _parser().parse_args(given)
    commands = {
        "run": lambda: _run(arguments.application, arguments.log_format),
        "public-key": _public_key,
        "health": lambda: _health(arguments.check),
        "environment": _environment,
        "doctor": lambda: _doctor(as_json=arguments.json),
    }
    return run_guarded("vpn_client", commands[arguments.command])


def _run(application: Sequence[str], log_format: str) -> int:
    from vpn.lib import logs
    from vpn.lib.component.daemon import ComponentDaemon

    folder = state_folder(os.environ)
    return ComponentDaemon(folder, _without_dashes(application), os.environ, logs.start("vpn_client", log_format)).run()


def _without_dashes(command: Sequence[str]) -> list[str]:
    return list(command[1:] if command[:1] == ["--"] else command)


def _public_key() -> int:
    from vpn.lib.component import identity
    from vpn.lib.files import owner_of_state

    folder = state_folder(os.environ)
    print(identity.load_or_make(folder, owner_of_state(os.environ, folder)).public_key())
    return 0


def _environment() -> int:
    import shlex

    from vpn.lib.component import settings as component_settings

    folder = state_folder(os.environ)
    try:
        settings = component_settings.load(folder, os.environ)
    except FileNotFoundError as error:
        raise Refused(f"{folder / component_settings.FILE} is not there; copy it from the hub first") from error
    for name, value in settings.application:
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _health(check: Sequence[str]) -> int:
    from vpn.lib.component import health

    problem = health.unhealthy(state_folder(os.environ), os.environ, _without_dashes(check))
    print("healthy" if problem is None else f"unhealthy: {problem}")
    return 0 if problem is None else 1


def _doctor(*, as_json: bool) -> int:
    from vpn.lib.component import doctor

    return report(doctor.examine(state_path(os.environ), os.environ), as_json=as_json)


def _parser() -> Parser:
    parser = Parser(
        prog="vpn_client.py",
        description="Join the VPN as a component, in the foreground, and run an application in it.",
        epilog="""examples:
  vpn_client.py run -- my-application --its-options     join, then run the application
  vpn_client.py public-key                              the key for `configure_peer.py add` on the hub
  vpn_client.py health                                  is the hub there?

State directory: /config, or VPN_CONFIG_DIR. It needs nothing there but a config.env from the hub. Exit status: the
application's after `run`; else 0 done or healthy, 1 failed or unhealthy, 2 usage.""",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="vpn_client.py")
    run = commands.add_parser(
        "run",
        help="join and stay",
        description="Join the VPN and stay in it; run the application after the first handshake, and again when its"
        " variables change.",
        epilog="""examples:
  vpn_client.py run
  vpn_client.py run -- my-application --its-options
  vpn_client.py run --log-format json -- my-application

It ends with the application, and with its exit status. SIGTERM and other signals are passed on to the application.""",
    )
    run.add_argument("--log-format", choices=("human", "json"), default="human", help="of the log on stderr")
    run.add_argument("application", nargs="...", metavar="-- APPLICATION", help="and its arguments")
    commands.add_parser(
        "public-key",
        help="print the key that the hub's `add` takes",
        description="Print this component's public key, which `configure_peer.py add` takes on the hub. It is no"
        " secret. Make the key first if there is none yet.",
        epilog="""example:
  vpn_client.py public-key""",
    )
    health = commands.add_parser(
        "health",
        help="tell whether the hub answers",
        description="Exit 0 if the hub answers, and CHECK, run with the application's environment, exits 0 too.",
        epilog="""examples:
  vpn_client.py health
  vpn_client.py health -- my-check --its-options        its first line is the reason where it fails""",
    )
    health.add_argument("check", nargs="...", metavar="-- CHECK", help="a program that says why the application fails")
    commands.add_parser(
        "environment",
        help="print the application's variables",
        description="Print the application's variables as lines for a shell's `eval`. The preshared key is not among"
        " them.",
        epilog="""example:
  vpn_client.py environment""",
    )
    commands.add_parser(
        "doctor",
        help="say what keeps this component from working, and what to do",
        description="Look at all that this component needs, change nothing, and say what to do. Exit 1 if anything"
        " failed.",
        epilog="""examples:
  vpn_client.py doctor
  vpn_client.py doctor --json                           for programs""",
    ).add_argument("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())

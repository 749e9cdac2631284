#!/usr/bin/env python3
"""fedbiomed_vpn: images, containers and files of a deployment, from the host that they run on."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if sys.version_info < (3, 11):  # noqa: UP036  (not installed by pip, which would have looked)
    sys.exit(
        "fedbiomed_vpn: this Python is too old; run it with Python 3.11 or newer (python3.11 fedbiomed_vpn.py ...)"
    )

if __name__ == "__main__":
    # Run by its path in a checkout: the package is two folders up. Never the folder of the scripts.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from vpn.bin import COMPLETE, deploy_parser, run_guarded
from vpn.bin.deploy_parser import PROGRAM
from vpn.lib.deploy.components import COMPONENTS, chosen
from vpn.lib.deploy.console import Console
from vpn.lib.deploy.engine import Engine, follow
from vpn.lib.deploy.folder import locate
from vpn.lib.deploy.processes import Processes
from vpn.lib.errors import Interrupted, Refused

if TYPE_CHECKING:
    import argparse


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (0 done, 1 refused, failed or not well, 2 usage)."""
    given = sys.argv[1:] if argv is None else argv
    parser = deploy_parser.build()
    if given[:1] == [COMPLETE]:
        from vpn.bin import completion

        return completion.answer(PROGRAM, parser, given[1:], {"names": lambda _: COMPONENTS})
    arguments, rest = parser.parse_known_args(given)
    # argparse takes no components that stand behind an option.
    if "names" not in arguments or any(word.startswith("-") for word in rest):
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    else:
        arguments.names += rest
    # What ends us ends what we started, and leaves nothing half written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_guarded(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    processes = Processes(os.environ)
    try:
        return _dispatch(arguments, processes)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run it again to go on") from None
    finally:
        processes.stop()


def _dispatch(arguments: argparse.Namespace, processes: Processes) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    console = Console(sys.stdout, sys.stderr, os.environ)
    command = arguments.command
    if command == "import":
        from vpn.lib.deploy.importing import import_archive

        import_archive(processes, console, arguments.archive, arguments.into)
        return 0
    if command == "doctor":
        return _doctor(processes, console, arguments)
    engine = Engine(locate(arguments.folder, os.environ, Path.cwd()), processes)
    if command == "status":
        return _status(engine, console, as_json=arguments.json)
    if command == "notebook":
        return _notebook(engine, console, arguments)
    if command == "export":
        return _export(engine, console, arguments)
    if command == "configure":
        from vpn.lib.deploy.configure import configure

        if configure(engine, console, arguments.public_address, arguments.port).changed:
            console.say("  A hub that runs takes it over, and hands it out, with `fedbiomed_vpn start`.")
        return 0
    return _on_components(engine, console, arguments)


def _on_components(engine: Engine, console: Console, arguments: argparse.Namespace) -> int:
    components = chosen(arguments.names, engine.deployment.services)
    if arguments.command == "build":
        from vpn.lib.deploy.build import build

        build(engine, console, components)
    elif arguments.command == "start":
        from vpn.lib.deploy.start import start

        ids = {"node": arguments.node_id, "researcher": arguments.researcher_id}
        start(
            engine,
            console,
            components,
            ids=ids,
            address=arguments.public_address,
            port=arguments.port,
            wait=arguments.wait,
        )
    elif arguments.command == "clean":
        from vpn.lib.deploy.clean import clean

        clean(engine, console, components, arguments.level, yes=arguments.yes, stdin=sys.stdin)
    else:
        return _over_compose(engine, console, arguments, [component.name for component in components])
    return 0


def _over_compose(engine: Engine, console: Console, arguments: argparse.Namespace, names: list[str]) -> int:
    """``stop``, ``restart`` and ``logs``: of the containers that there are."""
    there = list(engine.containers(COMPONENTS[name] for name in names))
    missing = [name for name in arguments.names if name not in there]
    if arguments.command == "stop":
        if there:
            engine.compose("stop", *there)
        console.done(f"stopped: {', '.join(there)}" if there else "there is nothing to stop")
        return 0
    if missing:
        raise Refused(
            f"{', '.join(missing)}: there is no container; `fedbiomed_vpn start {' '.join(missing)}` makes it"
        )
    if not there:
        raise Refused("nothing is started; `fedbiomed_vpn start` starts all of it")
    if arguments.command == "restart":
        engine.compose("restart", *there)
        console.done(f"restarted: {', '.join(there)}")
        return 0
    options = ["--tail", str(arguments.tail)]
    options += ["--follow"] if arguments.follow else []
    options += [] if console.colour else ["--no-color"]
    command = [*engine.compose_command, "logs", *options, *there]
    return 0 if follow(engine.processes, command, engine.deployment.folder) == 0 else 1


def _status(engine: Engine, console: Console, *, as_json: bool) -> int:
    from vpn.lib.deploy import status

    seen = status.look(engine)
    if as_json:
        console.say(status.as_json(seen))
    else:
        status.show(seen, console)
    return 0 if seen.well else 1


def _doctor(processes: Processes, console: Console, arguments: argparse.Namespace) -> int:
    from vpn.lib import findings
    from vpn.lib.deploy import doctor

    found = doctor.examine(processes, lambda: locate(arguments.folder, os.environ, Path.cwd()))
    console.say(findings.as_json(found) if arguments.json else findings.as_text(found, colour=console.colour))
    return findings.status(found)


def _notebook(engine: Engine, console: Console, arguments: argparse.Namespace) -> int:
    from vpn.lib.deploy import notebook

    if arguments.password:
        notebook.require_running(engine)
        notebook.set_password(engine, notebook.ask_password(sys.stdin))
        console.done("the password is set; a notebook that runs asks for it after `fedbiomed_vpn restart researcher`")
    else:
        console.say(notebook.url(engine))
    return 0


def _export(engine: Engine, console: Console, arguments: argparse.Namespace) -> int:
    from vpn.lib.deploy import exporting

    target = arguments.file or Path(exporting.default_name())
    exporting.export(engine, console, target, with_config=arguments.with_config)
    return 0


if __name__ == "__main__":
    sys.exit(main())

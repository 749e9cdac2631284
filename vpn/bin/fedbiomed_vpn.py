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

from vpn.bin import Parser, run_guarded
from vpn.lib.deploy.components import COMPONENTS, chosen
from vpn.lib.deploy.console import Console
from vpn.lib.deploy.engine import Engine, follow
from vpn.lib.deploy.folder import locate
from vpn.lib.deploy.processes import Processes
from vpn.lib.errors import Interrupted, Refused

if TYPE_CHECKING:
    import argparse

PROGRAM = "fedbiomed_vpn"


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status (0 done, 1 refused, failed or not well, 2 usage)."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
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


def seconds(text: str) -> float:
    """A time to wait. Raises ValueError, which argparse turns into its line; the function's name is in that."""
    value = float(text)
    if not 0 <= value <= 3600:
        raise ValueError(text)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Build, start, watch and clean the containers of a consortium's machine. Components: "
        + ", ".join(COMPONENTS)
        + ".",
        epilog="A whole consortium on this machine: `fedbiomed_vpn build`, then `fedbiomed_vpn start`, then"
        " `fedbiomed_vpn status`. Exit status: 0 done, 1 refused, failed or (status) not well, 2 usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=PROGRAM)
    common = Parser(add_help=False)
    common.add_argument(
        "--folder",
        metavar="DIR",
        help="the folder with docker-compose.yml (default: this one if it has it, else the project's own)",
    )

    def add(name: str, explanation: str, *, components: bool = False, more: str = "") -> argparse.ArgumentParser:
        parents = [] if name == "import" else [common]
        child = commands.add_parser(
            name, help=explanation, description=f"{explanation}. {more}".strip(), parents=parents
        )
        if components:
            child.add_argument("names", nargs="*", metavar="NAME", help="components (default: all of this machine)")
        return child

    add(
        "build",
        "make the images",
        components=True,
        more="FEDBIOMED=none leaves Fed-BioMed out of the node's and researcher's, FEDBIOMED=VERSION chooses it;"
        " CONTAINER_UID, CONTAINER_GID, CONTAINER_USER and CONTAINER_GROUP say whom their files belong to (default:"
        " you).",
    )
    hub = Parser(add_help=False)
    hub.add_argument(
        "--public-address", metavar="ADDRESS", help="the name or address at which components reach the hub"
    )
    hub.add_argument("--port", type=int, metavar="N", help="the hub's UDP port")
    commands.add_parser(
        "configure",
        help="set the hub's address and port",
        description="Set the hub's address and port. Without --public-address: what is set stays, else this machine's"
        " own address is taken, which is enough for components on this machine.",
        parents=[common, hub],
    )
    start = commands.add_parser(
        "start",
        help="start components and let them join",
        description="Start components; where the hub runs here, register them, hand them their config.env, let them in,"
        " and wait until they are joined and healthy. Where it does not, say what has to be done on the hub."
        " Repeating it changes nothing.",
        parents=[common, hub],
    )
    start.add_argument("names", nargs="*", metavar="NAME", help="components (default: all of this machine)")
    start.add_argument("--node-id", default="node1", metavar="ID", help="what the node is registered as (node1)")
    start.add_argument(
        "--researcher-id",
        default="researcher1",
        metavar="ID",
        help="what the researcher is registered as (researcher1)",
    )
    start.add_argument("--wait", type=seconds, default=60.0, metavar="SECONDS", help="the limit of each wait (60)")
    add("stop", "stop components; `start` goes on with them", components=True)
    add("restart", "stop and start components", components=True)
    logs = add("logs", "what the components said", components=True)
    logs.add_argument("-f", "--follow", action="store_true", help="and what they go on to say, until Ctrl-C")
    logs.add_argument("--tail", type=int, default=200, metavar="N", help="the last N lines of each (200)")
    add(
        "status", "how each component is", more="Exit status 0 if all that are there run and are healthy."
    ).add_argument("--json", action="store_true", help="for programs")
    add(
        "doctor",
        "what keeps this deployment from working, and what to do",
        more="Looks at this machine and lets each container that runs look at itself; changes nothing. Exit status 1 if"
        " anything failed.",
    ).add_argument("--json", action="store_true", help="for programs")
    add("notebook", "where the researcher's notebook is, with its token").add_argument(
        "--password", action="store_true", help="set a password: asked for, or one line of standard input"
    )
    export = add("export", "a node's image and files as one archive, for another machine")
    export.add_argument("what", choices=("node",), help="node")
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: fedbiomed-vpn-node-DATE.tar")
    export.add_argument("--with-config", action="store_true", help="with the node's config.env, which is secret")
    importing = add("import", "make a node of an archive that `export` wrote")
    importing.add_argument("archive", type=Path, metavar="ARCHIVE")
    importing.add_argument(
        "--into", type=Path, default=Path("fedbiomed-vpn-node"), metavar="DIR", help="default: ./fedbiomed-vpn-node"
    )
    clean = add(
        "clean",
        "remove components again",
        more="Says what will be gone, and asks. Level 1: containers. Level 2: also configuration, keys and data."
        " Level 3: also images.",
    )
    clean.add_argument("level", type=int, choices=(1, 2, 3), metavar="LEVEL", help="1, 2 or 3")
    clean.add_argument("names", nargs="*", metavar="NAME", help="components (default: all of this machine)")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return parser


if __name__ == "__main__":
    sys.exit(main())

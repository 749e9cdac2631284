"""The arguments of fedbiomed_vpn, and its help."""

from __future__ import annotations

from pathlib import Path

from vpn.bin import Parser
from vpn.lib.deploy.components import COMPONENTS

PROGRAM = "fedbiomed_vpn"


def seconds(text: str) -> float:
    """A time to wait. Raises ValueError, which argparse turns into its line; the function's name is in that."""
    value = float(text)
    if not 0 <= value <= 3600:
        raise ValueError(text)
    return value


def build() -> Parser:
    """The parser."""
    parser = Parser(
        prog=PROGRAM,
        description="Build, start, watch and clean the containers of a consortium's machine. Components: "
        + ", ".join(COMPONENTS)
        + ".",
        epilog="""examples:
  fedbiomed_vpn build                    a whole consortium on this machine: the images,
  fedbiomed_vpn start                    up and joined,
  fedbiomed_vpn status                   and how it is
  fedbiomed_vpn start --help             more of one command

Exit status: 0 done, 1 refused, failed or (status) not well, 2 usage.""",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=PROGRAM)
    common = Parser(add_help=False)
    common.add_argument(
        "--folder",
        metavar="DIR",
        help="the folder with docker-compose.yml (default: this one if it has it, else the project's own)",
    )
    hub = Parser(add_help=False)
    hub.add_argument(
        "--public-address", metavar="ADDRESS", help="the name or address at which components reach the hub"
    )
    hub.add_argument("--port", type=int, metavar="N", help="the hub's UDP port")

    def add(
        name: str,
        summary: str,
        *examples: str,
        parents: tuple[Parser, ...] = (common,),
        components: bool = False,
        more: str = "",
    ) -> Parser:
        lines = "".join(f"\n  {PROGRAM} {example}" for example in examples)
        child = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
            epilog=f"example{'s' if len(examples) > 1 else ''}:{lines}",
            parents=list(parents),
        )
        if components:
            child.add_argument("names", nargs="*", metavar="NAME", help="components (default: all of this machine)")
        return child

    add(
        "build",
        "make the images",
        "build",
        "build node researcher",
        components=True,
        more="FEDBIOMED=none leaves Fed-BioMed out of the node's and researcher's, FEDBIOMED=VERSION chooses it;"
        " CONTAINER_UID, CONTAINER_GID, CONTAINER_USER and CONTAINER_GROUP say whom their files belong to (default:"
        " you).",
    )
    add(
        "configure",
        "set the hub's address and port",
        "configure --public-address vpn.example.org",
        parents=(common, hub),
        more="Without --public-address: what is set stays, else this machine's own address is taken, which is enough"
        " for components on this machine.",
    )
    start = add(
        "start",
        "start components and let them join",
        "start",
        "start vpnserver mqtt restful --public-address vpn.example.org",
        "start node --node-id chu-lille",
        parents=(common, hub),
        components=True,
        more="Where the hub runs here, register them, hand them their config.env, let them in, and wait until they are"
        " joined and healthy. Where it does not, say what has to be done on the hub. Repeating it changes nothing.",
    )
    start.add_argument(
        "--node-id", metavar="ID", help="what the node is registered as (what its config.env says, else node1)"
    )
    start.add_argument(
        "--researcher-id", metavar="ID", help="what the researcher is registered as (likewise, else researcher1)"
    )
    start.add_argument("--wait", type=seconds, default=60.0, metavar="SECONDS", help="the limit of each wait (60)")
    add("stop", "stop components; `start` goes on with them", "stop", "stop node", components=True)
    add("restart", "stop and start components", "restart", "restart researcher", components=True)
    logs = add("logs", "show what the components said", "logs --follow node", "logs --tail 20", components=True)
    logs.add_argument("-f", "--follow", action="store_true", help="and what they go on to say, until Ctrl-C")
    logs.add_argument("--tail", type=int, default=200, metavar="N", help="the last N lines of each (200)")
    add(
        "status",
        "show how each component is",
        "status",
        "status --json",
        more="Exit status 0 if all that are there run and are healthy.",
    ).add_argument("--json", action="store_true", help="for programs")
    add(
        "doctor",
        "say what keeps this deployment from working, and what to do",
        "doctor",
        "doctor --json",
        more="Looks at this machine and lets each container that runs look at itself; changes nothing. Exit status 1 if"
        " anything failed.",
    ).add_argument("--json", action="store_true", help="for programs")
    add(
        "notebook", "show where the researcher's notebook is, with its token", "notebook", "notebook --password"
    ).add_argument("--password", action="store_true", help="set a password: asked for, or one line of standard input")
    export = add(
        "export",
        "write a node's image and files into one archive, for another machine",
        "export node",
        "export node chu-lille.tar --with-config",
    )
    export.add_argument("what", choices=("node",), help="node")
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: fedbiomed-vpn-node-DATE.tar")
    export.add_argument("--with-config", action="store_true", help="with the node's config.env, which is secret")
    importing = add(
        "import", "make a node of an archive that `export` wrote", "import chu-lille.tar --into /srv/node", parents=()
    )
    importing.add_argument("archive", type=Path, metavar="ARCHIVE", help="the archive")
    importing.add_argument(
        "--into", type=Path, default=Path("fedbiomed-vpn-node"), metavar="DIR", help="default: ./fedbiomed-vpn-node"
    )
    clean = add(
        "clean",
        "remove components again",
        "clean 1",
        "clean 2 node",
        more="Says what will be gone, and asks. Level 1: containers. Level 2: also configuration, keys and data."
        " Level 3: also images.",
    )
    clean.add_argument("level", type=int, choices=(1, 2, 3), metavar="LEVEL", help="1, 2 or 3")
    clean.add_argument("names", nargs="*", metavar="NAME", help="components (default: all of this machine)")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return parser

"""``export``: a node's image and files as one archive, for a machine that has neither this project nor a network."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.deploy.archive import CHUNK, COMPOSE, IMAGE, SUMS, TOP
from vpn.lib.deploy.components import COMPONENTS, NODE
from vpn.lib.deploy.console import size
from vpn.lib.errors import EngineError, InvalidInput, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vpn.lib.deploy.console import Console, Step
    from vpn.lib.deploy.engine import Engine
    from vpn.lib.deploy.folder import Deployment

RUN_COMPOSE = "docker-compose_run_node.yml"
PROJECT = "COMPOSE_PROJECT_NAME=fedbiomed-vpn${FBM_CONTAINER_INSTANCE_ID}\n"
FOLDERS = ("config", "data", "fbm-node")
PROGRAM = "vpn/bin/fedbiomed_vpn.py"
TOOL = (
    "vpn/__init__.py",
    "vpn/bin/__init__.py",
    "vpn/bin/completion.py",
    "vpn/bin/deploy_parser.py",
    PROGRAM,
    "vpn/lib/__init__.py",
    "vpn/lib/config_env.py",
    "vpn/lib/control.py",
    "vpn/lib/errors.py",
    "vpn/lib/files.py",
    "vpn/lib/findings.py",
    "vpn/lib/probes/__init__.py",
    "vpn/lib/probes/judging.py",
    "vpn/lib/probes/machine.py",
)
"""What this tool needs beside ``vpn/lib/deploy``; a test runs it from an archive."""

README = """A node of a Fed-BioMed consortium: its image, and the files that it runs from.
It needs docker and docker-compose.

By hand, in this folder:

    sha256sum -c SHA256SUMS
    docker load -i image.tar.gz
    vi node/run_mounts/config/config.env      # what `configure_peer.py genconf node node1` wrote on the hub
    docker-compose up -d node
    docker-compose exec node wg show wg0 public-key
                                              # for `configure_peer.py add node node1 KEY` on the hub
    docker-compose exec node ping -c 3 -W 1 10.220.0.1

With the tool in it (Python 3.11 and nothing else), after `docker load`:

    chmod 600 node/run_mounts/config/config.env
    python3 vpn/bin/fedbiomed_vpn.py start node
    python3 vpn/bin/fedbiomed_vpn.py status

Data sets belong into node/run_mounts/data, which is /data in the container. The containers' files belong to the account
that the image was built for; another one: CONTAINER_UID=..., CONTAINER_GID=... in the file .env.
"""


def default_name() -> str:
    """The name of an archive that is made today."""
    return f"fedbiomed-vpn-node-{time.strftime('%Y-%m-%d')}.tar"


def export(engine: Engine, console: Console, target: Path, *, with_config: bool) -> None:
    """Write the archive, whole or not at all. ``with_config`` puts the node's config.env into it, which is secret.

    Raises Refused, InvalidInput or EngineError, saying what to do, where something is missing.
    """
    image = COMPONENTS[NODE].image
    contents = _contents(engine.deployment, with_config=with_config)
    if not engine.has_image(image):
        raise Refused(f"there is no image {image}; run `fedbiomed_vpn build node`, then export again")
    if not target.parent.is_dir() or target.is_dir():
        raise InvalidInput(f"{target} is no name for a file here; choose another")
    temporary = target.with_name(files.temporary_name(target.name))
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600 if with_config else 0o644), "w+b") as file:
            with console.step(f"export {image}") as step:
                _write(engine, file, contents, image, step)
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        temporary.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    console.say(f"{target}: {size(length)}" + ("; it holds a secret (config.env)" if with_config else ""))
    console.say(f"Next, on the node's machine: `fedbiomed_vpn import {target.name}`, or")
    console.say(f"  tar xf {target.name} && cd {TOP} && cat README.txt")


def _contents(deployment: Deployment, *, with_config: bool) -> dict[str, tuple[bytes, int]]:
    """The archive's small files and their modes."""
    compose = deployment.folder / RUN_COMPOSE
    project = Path(__file__).resolve().parents[3]
    try:
        contents = {
            "README.txt": (README.encode(), 0o644),
            COMPOSE: (files.read_text(compose).encode(), 0o644),
            ".env": (PROJECT.encode(), 0o644),
        }
    except FileNotFoundError:
        raise Refused(f"{compose} is not there; export from a whole checkout of the project") from None
    for folder in FOLDERS:
        contents[f"node/run_mounts/{folder}/.gitkeep"] = (b"", 0o644)
    if with_config:
        path = deployment.config(COMPONENTS[NODE])
        try:
            contents["node/run_mounts/config/config.env"] = (files.read_text(path).encode(), 0o600)
        except FileNotFoundError:
            raise Refused(f"{path} is not there; fill it first, or export without --with-config") from None
    own = (path.relative_to(project).as_posix() for path in (project / "vpn/lib/deploy").glob("*.py"))
    for name in (*TOOL, *sorted(own)):
        contents[name] = ((project / name).read_bytes(), 0o755 if name == PROGRAM else 0o644)
    return contents


def _write(
    engine: Engine, file: io.BufferedRandom, contents: dict[str, tuple[bytes, int]], image: str, step: Step
) -> None:
    sums = {}
    for name, (data, mode) in contents.items():
        _add(file, name, data, mode)
        sums[name] = hashlib.sha256(data).hexdigest()
    sums[IMAGE] = _add_image(engine, file, image, step)
    _add(file, SUMS, "".join(f"{value}  {name}\n" for name, value in sorted(sums.items())).encode(), 0o644)
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def _header(name: str, length: int, mode: int) -> bytes:
    info = tarfile.TarInfo(f"{TOP}/{name}")
    info.size, info.mode, info.mtime = length, mode, int(time.time())
    # The old format of GNU tar: one block, also above 8 GiB.
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(length: int) -> bytes:
    return bytes(-length % tarfile.BLOCKSIZE)


def _add(file: io.BufferedRandom, name: str, data: bytes, mode: int) -> None:
    file.write(_header(name, len(data), mode) + data + _padding(len(data)))


def _add_image(engine: Engine, file: io.BufferedRandom, image: str, step: Step) -> str:
    """Add the image as docker writes it, compressed; its SHA-256. Its length is known at its end only."""
    at = file.tell()
    file.write(_header(IMAGE, 0, 0o644))
    state, length = hashlib.sha256(), 0
    with _saved(engine, image) as source:
        while chunk := source.read(CHUNK):
            file.write(chunk)
            state.update(chunk)
            length += len(chunk)
            step.news(f"{size(length)}, compressed")
    file.write(_padding(length))
    file.seek(at)
    file.write(_header(IMAGE, length, 0o644))
    file.seek(0, os.SEEK_END)
    return state.hexdigest()


@contextlib.contextmanager
def _saved(engine: Engine, image: str) -> Iterator[io.BufferedReader]:
    """``docker save | gzip``. Raises EngineError, after the last byte, where one of the two has failed."""
    processes = engine.processes
    save = processes.start(["docker", "save", image])
    try:
        assert save.stdout is not None
        assert save.stderr is not None
        zip_ = processes.start(["gzip", "-c", "-4"], stdin=save.stdout.fileno(), stderr=subprocess.DEVNULL)
        # Held by gzip alone, so that docker notices when gzip ends.
        save.stdout.close()
        try:
            assert isinstance(zip_.stdout, io.BufferedReader)
            yield zip_.stdout
            said = save.stderr.read().decode(errors="replace").strip()
            if save.wait() != 0 or zip_.wait() != 0:
                raise EngineError(
                    f"`docker save {image}` failed: {said[-300:] or 'without a word'}; nothing is written"
                )
        finally:
            processes.end(zip_)
    finally:
        processes.end(save)
    processes.pause(0)

"""``import``: an archive of ``export`` becomes a node's folder, and its image is loaded."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.deploy.archive import CHUNK, IMAGE, Member, read_through
from vpn.lib.deploy.console import size
from vpn.lib.deploy.engine import docker, explain
from vpn.lib.deploy.processes import last_line
from vpn.lib.errors import EngineError, InvalidInput, Refused, StateError, describe_os_error

if TYPE_CHECKING:
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.processes import Processes

CONFIG = "node/run_mounts/config/config.env"
KEPT = (".env", CONFIG)
"""What somebody may have edited, and an import leaves as it is."""


def import_archive(processes: Processes, console: Console, archive: Path, into: Path) -> None:
    """Check the archive, load its image, and put its files into the folder; nothing where a check fails.

    An older import in that folder is brought up to date; its ``.env``, its config.env and its data stay. Raises
    InvalidInput for a damaged, foreign or hostile archive, Refused where it would overwrite a configuration.
    """
    docker(processes, "version", "--format", "{{.Server.Version}}")
    total = 0

    with console.step(f"check {archive.name}") as step:

        def read(count: int) -> None:
            nonlocal total
            total += count
            step.news(size(total))

        members = read_through(archive, read)
    small = [member for member in members if member.name != IMAGE]
    with tarfile.open(archive, "r:") as opened:
        texts = {member.name: _text(opened, member) for member in small}
        _refuse_to_overwrite(texts, into)
        made = not into.exists()
        staged = _stage(texts, small, into)
        try:
            with console.step("docker load") as step:
                _load(processes, opened, next(member for member in members if member.name == IMAGE))
            _put(staged, into, made=made)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    console.done(f"{into}: ready")
    config = into / CONFIG
    if not (config.exists() and config.read_text(errors="replace").strip()):
        console.say(f"Next: put the config.env that the hub made for this node to\n  {config}")
    console.say(f"Then: `fedbiomed_vpn start node --folder {into}`, or in that folder `docker-compose up -d node`")


def _text(archive: tarfile.TarFile, member: Member) -> bytes:
    file = archive.extractfile(member.info)
    assert file is not None
    return file.read()


def _refuse_to_overwrite(texts: dict[str, bytes], into: Path) -> None:
    if not into.parent.is_dir():
        raise InvalidInput(f"{into.parent} is no folder; make it, or choose another with --into")
    if into.is_symlink() or (into.exists() and not into.is_dir()):
        raise Refused(f"{into} is no folder; move it away, or choose another with --into")
    if not into.exists():
        return
    if any(into.iterdir()) and not (into / "docker-compose.yml").is_file():
        raise Refused(f"{into} holds something else than a node of ours; choose another with --into")
    try:
        present = files.read_text(into / CONFIG).encode()
    except FileNotFoundError:
        return
    if CONFIG in texts and present.strip() and present != texts[CONFIG]:
        raise Refused(
            f"{into / CONFIG} is filled otherwise than in the archive; move it away, or choose another --into"
        )


def _stage(texts: dict[str, bytes], members: list[Member], into: Path) -> Path:
    """Write the files into a folder beside the target; its path."""
    staged = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    try:
        for member in members:
            path = staged / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if member.name == CONFIG else 0o755 if member.info.mode & 0o100 else 0o644
            files.write(path, texts[member.name], mode=mode)
        staged.chmod(0o755)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise StateError(f"cannot write {staged}: {describe_os_error(error)}") from error
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return staged


def _put(staged: Path, into: Path, *, made: bool) -> None:
    """Move what was staged to its place: the folder as a whole, or file by file over an older import."""
    if made:
        staged.rename(into)
        return
    for path in sorted(staged.rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to(staged)
        with files.folder(into, *name.parts[:-1], create=True) as folder:
            present = files.exists_at(folder, name.name)
            if present and name.as_posix() in KEPT and (into / name).read_bytes().strip():
                continue
            files.refuse_link(folder, name.name)
            os.rename(path, name.name, dst_dir_fd=folder)


def _load(processes: Processes, archive: tarfile.TarFile, member: Member) -> None:
    """Hand the image to docker. Raises EngineError with what docker says."""
    import subprocess

    source = archive.extractfile(member.info)
    assert source is not None
    with tempfile.TemporaryFile() as said:
        process = processes.start(["docker", "load"], stdin=subprocess.PIPE, stdout=said.fileno(), stderr=said.fileno())
        try:
            assert process.stdin is not None
            try:
                shutil.copyfileobj(source, process.stdin, CHUNK)
                process.stdin.close()
            except BrokenPipeError:
                pass  # docker has said why
            status = process.wait()
        finally:
            processes.end(process)
        processes.pause(0)
        if status != 0:
            said.seek(0)
            text = said.read().decode(errors="replace")
            raise EngineError(explain(text) or f"`docker load` failed: {last_line(text) or 'without a word'}")

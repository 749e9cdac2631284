"""A host with a deployment's folder, an engine that is a fake, and the real script."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.bin.scripts import BIN, ROOT, Outcome
from tests.fakes import engine as fake

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

TOOL = BIN / "fedbiomed_vpn.py"
RUN_NODE = "services:\n  node:\n    image: fedbiomed/vpn-node\n"
OWN_PROGRAMS = ("gzip",)
"""What the tool may use of the machine beside the engine."""

MOUNTS = {
    "vpnserver": ("config",),
    "mqtt": ("config",),
    "restful": ("config", "app"),
    "node": ("config", "data"),
    "researcher": ("config", "data"),
}
"""The folders that a checkout has."""


class Host:
    """``folder`` is the deployment's; ``bin`` is all of the PATH. A copy of another host where one is given."""

    def __init__(self, root: Path, like: Host | None = None) -> None:
        self.root = root
        self.folder = root / "docker"
        self.bin = root / "bin"
        self.state_file = root / "engine.json"
        self.python_options = ["-I", "-S"]
        self.environ = {"PATH": str(self.bin), "FAKE_ENGINE": str(self.state_file), "HOME": str(root)}
        if like is not None:
            shutil.copytree(like.root, root, symlinks=True, dirs_exist_ok=True)
            self.state_file.write_text(self.state_file.read_text().replace(str(like.root), str(root)))
            return
        self.bin.mkdir()
        for name in OWN_PROGRAMS:
            (self.bin / name).symlink_to(shutil.which(name) or "missing")
        self.program("docker", engine=True)
        self.program("docker-compose", engine=True)
        self.state_file.write_text(json.dumps(fake.NEW))
        self._copy_folder()

    def _copy_folder(self) -> None:
        source = ROOT / "docker"
        self.folder.mkdir()
        shutil.copy(source / "docker-compose.yml", self.folder)
        shutil.copy(source / ".env", self.folder)
        (self.folder / "docker-compose_run_node.yml").write_text(RUN_NODE)
        for component, mounts in MOUNTS.items():
            for mount in mounts:
                folder = self.folder / component / "run_mounts" / mount
                folder.mkdir(parents=True)
                (folder / ".gitkeep").touch()
        shutil.copy(source / "vpnserver/run_mounts/config/config.env", self.config("vpnserver"))

    def program(self, name: str, script: str = "", *, engine: bool = False) -> None:
        """Put a program on the PATH: the fake engine, or a shell script."""
        path = self.bin / name
        python = f'exec "{sys.executable}" -S -I "{fake.__file__}" "$@"'
        path.write_text(
            f"#!/bin/sh\n{f'export FAKE_PROGRAM={name}' if engine else ''}\n{python if engine else script}\n"
        )
        path.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        """The engine's."""
        state: dict[str, Any] = json.loads(self.state_file.read_text())
        return state

    def set(self, **changes: object) -> None:
        """Change the engine's state."""
        self.state_file.write_text(json.dumps({**self.state, **changes}))

    def with_images(self, *names: str) -> None:
        """As if these had been built, and the base image with them; all without a name."""
        names = names or ("vpnserver", "mqtt", "restful", "node", "researcher")
        self.set(images={f"fedbiomed/vpn-{name}": {} for name in ("base", *names)})

    def container(self, name: str, **changes: object) -> None:
        """Change a container."""
        state = self.state
        state["containers"][f"fedbiomed-vpn-{name}"].update(changes)
        self.set(**state)

    def calls(self, *beginning: str) -> list[list[str]]:
        """What the engine's programs were asked that begins so, in order."""
        return [call for _, call, _ in self.state["calls"] if call[: len(beginning)] == list(beginning)]

    def config(self, name: str) -> Path:
        """A component's config.env."""
        return self.folder / name / "run_mounts/config/config.env"

    def command(self, *arguments: str | Path) -> list[str]:
        """The tool, run by a Python that has no packages, unless ``python_options`` are others."""
        return [sys.executable, *self.python_options, str(TOOL), *map(str, arguments)]

    def run(
        self,
        *arguments: str | Path,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
        here: Path | None = None,
        through: Sequence[str] = (),
    ) -> Outcome:
        """Run the tool in the deployment's folder, or ``here``; ``through`` is a program that starts it."""
        done = subprocess.run(
            [*through, *self.command(*arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=here or self.folder,
            env={**self.environ, **(environ or {})},
            timeout=120,
            check=False,
        )
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        self.require_decent(outcome)
        return outcome

    def require_decent(self, outcome: Outcome) -> None:
        """No traceback, nothing that the fake does not know, and no secret in what is printed or in an argument."""
        said = outcome.out + outcome.err
        assert "Traceback" not in said, said
        assert "fake:" not in said, said
        assert fake.SECRET not in said + json.dumps(self.state["calls"])

    def done(self, *arguments: str | Path, **options: Any) -> str:
        """Run the tool, which has to succeed without a word on stderr; what it printed."""
        outcome = self.run(*arguments, **options)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        return outcome.out

    def refused(self, *arguments: str | Path, status: int = 1, **options: Any) -> str:
        """Run the tool, which has to fail; its one line on stderr."""
        outcome = self.run(*arguments, **options)
        assert outcome.status == status, outcome
        lines = outcome.err.splitlines()
        assert len(lines) == 1, outcome
        assert lines[0].startswith("fedbiomed_vpn: "), outcome
        assert lines[0].isprintable(), outcome
        return lines[0]

    def on_terminal(
        self,
        *arguments: str | Path,
        answers: Iterable[tuple[str, str]] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run the tool on a terminal of its own; ``answers`` are what it asks and what is typed then.

        Everything printed is in ``out``.
        """
        import pty

        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            command = self.command(*arguments)
            os.execve(command[0], command, {**self.environ, "TERM": "xterm", **(environ or {})})
        said = b""
        waiting = list(answers)
        try:
            while chunk := os.read(terminal, 4096):
                said += chunk
                if waiting and said.count(waiting[0][0].encode()):
                    os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
        except OSError:
            pass  # the other side has ended
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert not waiting, f"it never asked {waiting[0][0]!r}: {said!r}"
        outcome = Outcome(status, said.decode().replace("\r\n", "\n"), "")
        self.require_decent(outcome)
        return outcome


def mode(path: Path) -> int:
    """A file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)

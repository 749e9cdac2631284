"""Runs tests in the machine: ``python -m lab.machine.run [PYTEST ARGUMENT...]``; its exit status is the tests'."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / ".tools" / "machine"
PROJECT = ("vpn", "lab", "tests", "setup.cfg", "pyproject.toml", ".tools/bin")
"""What of the project goes into the machine."""

EMULATOR = "qemu-system-x86_64"

FAILED = 70
"""The exit status when the machine has failed, which is none of pytest's."""


class Limits(NamedTuple):
    """How many seconds the machine has: from its start to the tests' first line, and altogether."""

    boot: float = 300
    all: float = 2400


def main(arguments: Sequence[str], *, image: Path = IMAGE, limits: Limits | None = None) -> int:
    """Boot the machine, run pytest in it, and show what it says."""
    limits = limits or Limits()
    if shutil.which(EMULATOR) is None:
        print(f"{EMULATOR} is not installed; as root, `make test-kernel` installs it", file=sys.stderr)
        return FAILED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(folder / "project", arguments)
        console = folder / "console"
        with _start(image, folder / "project", console) as machine:
            try:
                assert machine.stdout is not None
                return _relay(machine.stdout, limits)
            except MachineError as error:
                sys.stdout.flush()
                print(f"make test-kernel: {error}; the end of its console:", file=sys.stderr)
                text = console.read_text(errors="replace") if console.exists() else ""
                print("\n".join(text.splitlines()[-25:]), file=sys.stderr)
                return FAILED
            finally:
                machine.kill()


class MachineError(Exception):
    """The machine did not do what it is there for; one line."""


def pack(file: Path, arguments: Sequence[str]) -> None:
    """The archive of the project with pytest's arguments, one a line, that the machine has as its second disk."""
    lines = file.with_name("arguments")
    lines.write_text("".join(f"{argument}\n" for argument in arguments))
    with tarfile.open(file, "w") as archive:
        for name in PROJECT:
            if (ROOT / name).exists():
                archive.add(ROOT / name, name)
        archive.add(lines, "arguments")


def _start(image: Path, project: Path, console: Path) -> subprocess.Popen[bytes]:
    command = [
        # It ends with this process, however that ends.
        *("setpriv", "--pdeathsig", "KILL"),
        *(EMULATOR, "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-m", "1024", "-smp", "2"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd")),
        # What emulation makes slow: another clock than the TSC, page tables of five levels, waiting for RCU with
        # each interface and namespace that goes, and what protects against faults of real processors.
        *("-append", "console=ttyS0 panic=-1 tsc=reliable no5lvl rcupdate.rcu_expedited=1 mitigations=off"),
        *("-drive", f"if=virtio,format=raw,snapshot=on,cache=unsafe,file={image / 'disk'}"),
        *("-drive", f"if=virtio,format=raw,readonly=on,file={project}"),
        *("-serial", f"file:{console}", "-serial", "stdio"),
    ]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _relay(output: IO[bytes], limits: Limits) -> int:
    """Show the machine's lines until the one that has the exit status. Raises MachineError."""
    started = time.monotonic()
    booted = False
    for line in _lines(output):
        if line is None:
            passed = time.monotonic() - started
            if not booted and passed > limits.boot:
                raise MachineError(f"the machine has not booted within {limits.boot:.0f} s")
            if passed > limits.all:
                raise MachineError(f"the tests have not ended within {limits.all:.0f} s")
            continue
        ended = re.fullmatch(r"machine: exit status (\d+)", line)
        if ended:
            return int(ended[1])
        booted = booted or line.startswith("machine: ")
        print(line, flush=True)
    raise MachineError("the machine ended without a result" if booted else "the machine did not boot")


def _lines(output: IO[bytes]) -> Iterator[str | None]:
    """The lines as they come; None when there was none for a moment, and after each."""
    rest = b""
    while True:
        if select.select([output], [], [], 0.5)[0]:
            data = os.read(output.fileno(), 65536)
            if not data:
                if rest:
                    yield rest.decode(errors="replace")
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
        yield None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

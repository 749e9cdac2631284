"""What a table of peers cannot do without, in a bare loop: ``python -m benchmarks.bare_tree FOLDER COUNT``.

As many folders, each with a file of the same size, written, renamed and synced together.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SIZE = 600
"""Bytes of a config.env."""


def main() -> None:
    """Entry point."""
    top, count = Path(sys.argv[1]), int(sys.argv[2])
    text = b"x" * SIZE
    top.mkdir()
    for number in range(count):
        folder = f"{top}/{number}"
        os.mkdir(folder)
        descriptor = os.open(f"{folder}/.config.env.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, text)
        os.close(descriptor)
        os.rename(f"{folder}/.config.env.tmp", f"{folder}/config.env")
    os.sync()


if __name__ == "__main__":
    main()

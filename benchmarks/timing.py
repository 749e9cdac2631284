"""Time pairs of commands on the host where this runs: ``python -m benchmarks.timing`` with JSON on stdin.

Input: a list of {"name": str, "command": [str, ...]}. Each is run once, right after a run of the
reference (``python3 -c pass`` with this interpreter). Output: {"name": [[seconds, reference], ...]}.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

REFERENCE = [sys.executable, "-c", "pass"]


def seconds(command: list[str]) -> float:
    """Wall time of one run. RuntimeError when the command fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode()}")
    return elapsed


def main() -> None:
    """Entry point."""
    results: dict[str, list[tuple[float, float]]] = {}
    for item in json.load(sys.stdin):
        reference = seconds(REFERENCE)
        results.setdefault(item["name"], []).append((seconds(item["command"]), reference))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()

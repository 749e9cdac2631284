"""Time the first load of addresses on the host where this runs: ``python -m benchmarks.loading`` with JSON on stdin.

Input: a list of addresses. Each is asked for once its reading of the hub is no longer kept, several times. Output: the
medians, {address: seconds}.
"""

from __future__ import annotations

import http.cookiejar
import json
import statistics
import sys
import time
import urllib.request

ROUNDS = 5
KEPT = 6.0
"""Seconds after which no reading is kept, which is for 10 times as long as it took."""


def wait(opener: urllib.request.OpenerDirector, address: str) -> None:
    """Until the address answers: what serves it is started when the hub is ready."""
    deadline = time.monotonic() + 60
    while True:
        try:
            opener.open(address).read()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def main() -> None:
    """Entry point."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    found: dict[str, list[float]] = {}
    addresses = json.load(sys.stdin)
    for address in addresses:
        wait(opener, address)  # and the page's cookie
    for _ in range(ROUNDS):
        time.sleep(KEPT)
        for address in addresses:
            started = time.perf_counter()
            opener.open(address).read()
            found.setdefault(address, []).append(time.perf_counter() - started)
    json.dump({address: statistics.median(times) for address, times in found.items()}, sys.stdout)


if __name__ == "__main__":
    main()

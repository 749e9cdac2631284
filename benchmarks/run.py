"""``make bench``: what commands cost, and how a large hub behaves. Prints tables; needs root."""

from __future__ import annotations

import base64
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from lab.consortium import ROOT, Hub, environment, script
from lab.network import Host, Network, wait_until

SMALL, LARGE = 10, 10_000
ROUNDS = 15
BATCH = 500
TABLES = ("genconf", "add")
PAGE, METRICS = "127.0.0.1:8080", "127.0.0.1:9586"


class Result(NamedTuple):
    """A measured ratio and the limit that it is held against."""

    what: str
    measured: str
    ratio: float
    limit: float


def key() -> str:
    """A public key that nobody has the private key of."""
    return base64.b64encode(os.urandom(32)).decode()


def on_host(hub: Hub, module: str, *arguments: str, given: object = None) -> dict[str, Any]:
    """Run one of these modules on the hub's host; JSON in, JSON out."""
    done = hub.host.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        input=json.dumps(given),
        timeout=300,
        environ={"PYTHONPATH": str(ROOT)},
    )
    return dict(json.loads(done.stdout))


def fill(hub: Hub, count: int) -> dict[str, float]:
    """Register and add nodes through the library, in one batch, on the hub's host: seconds by part."""
    return on_host(hub, "batch", str(count))


def commands(hub: Hub, label: str) -> dict[str, tuple[float, float]]:
    """Median (ratio to the reference, seconds) of each command."""
    items = []
    for number in range(ROUNDS):
        peer = ["node", f"bench-{label}-{number}"]
        items += [
            {"name": "genconf", "command": [*script("configure_peer"), "genconf", *peer]},
            {"name": "add", "command": [*script("configure_peer"), "add", *peer, key()]},
            {"name": "remove", "command": [*script("configure_peer"), "remove", *peer]},
        ]
    return {
        name: (
            statistics.median(own / reference for own, reference in pairs),
            statistics.median(own for own, _ in pairs),
        )
        for name, pairs in on_host(hub, "timing", given=items).items()
    }


def listing(hub: Hub) -> Result:
    """``list --json`` against ``wg show wg0 dump``."""
    items = []
    for _ in range(5):
        items += [
            {"name": "wg", "command": ["wg", "show", "wg0", "dump"]},
            {"name": "list", "command": [*script("configure_peer"), "list", "--json"]},
        ]
    timed = on_host(hub, "timing", given=items)
    medians = {name: statistics.median(own for own, _ in pairs) for name, pairs in timed.items()}
    text = f"{medians['list']:.3f} s : {medians['wg']:.3f} s"
    return Result(f"`list --json` : `wg show wg0 dump`, {LARGE} peers", text, medians["list"] / medians["wg"], 10)


def tables(hub: Hub) -> list[Result]:
    """``genconf --from`` and ``add --from`` of many, against the same files in a bare loop."""
    peers = "".join(f"node,table-{number}\n" for number in range(LARGE))
    keys = "".join(f"node,table-{number},{key()}\n" for number in range(LARGE))
    items = []
    for name, head, lines in (("genconf", "type,id", peers), ("add", "type,id,key", keys)):
        path = hub.folder.with_name(f"{name}.csv")
        path.write_text(f"{head}\n{lines}")
        bare = hub.folder.with_name(f"bare-{name}")
        items += [
            {"name": "bare", "command": [sys.executable, "-m", "benchmarks.bare_tree", str(bare), str(LARGE)]},
            {"name": name, "command": [*script("configure_peer"), name, "--from", str(path)]},
        ]
    timed = on_host(hub, "timing", given=items)
    medians = {name: statistics.median(own for own, _ in pairs) for name, pairs in timed.items()}
    return [
        Result(
            f"`{name} --from` : the files in a bare loop, {LARGE} lines",
            f"{medians[name]:.2f} s : {medians['bare']:.2f} s",
            medians[name] / medians["bare"],
            limit,
        )
        for name, limit in (("genconf", 5), ("add", 5))
    ] + [Result(f"`{name} --from`, {LARGE} lines (s)", f"{medians[name]:.2f} s", medians[name], 5) for name in TABLES]


def served(hub: Hub) -> list[Result]:
    """The page and the metrics against ``list --json``, on a hub that is started anew with them."""
    with (hub.folder / "config.env").open("a") as settings:
        settings.write(f"export VPN_PAGE={PAGE}\nexport VPN_METRICS={METRICS}\n")
    hub.start(wait=120)
    link = hub.host.run([*script("vpn_server"), "page"]).stdout.strip()
    seconds = on_host(hub, "loading", given=[link, f"http://{METRICS}/metrics"])
    timed = on_host(
        hub, "timing", given=[{"name": "list", "command": [*script("configure_peer"), "list", "--json"]}] * 5
    )
    listed = statistics.median(own for own, _ in timed["list"])
    return [
        Result(f"{name} : `list --json`, {LARGE} peers", f"{own:.3f} s : {listed:.3f} s", own / listed, 1.5)
        for name, own in zip(("the page, first load", "metrics, a scrape"), seconds.values(), strict=True)
    ]


def one_get(host: Host) -> float:
    """Seconds that the WireGuard daemon takes to answer one ``get``, through the host's own socket."""
    path = f"/proc/{host.pid}/root/run/wireguard/wg0.sock"
    times = []
    for _ in range(5):
        started = time.perf_counter()
        exchange(path, b"get=1\n\n")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def exchange(path: str, request: bytes) -> bytes:
    """One UAPI request, by the shortest possible code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"\n\n"):
            chunk = connection.recv(1 << 20)
            if not chunk:
                break
            answer += chunk
    return answer


def answers(path: str) -> bool:
    """Whether a daemon answers on the socket."""
    try:
        return bool(exchange(path, b"get=1\n\n"))
    except (FileNotFoundError, ConnectionError):
        return False


def bare_loop(network: Network, requests: list[bytes], number: int) -> float:
    """Seconds for a daemon, started here, to take the requests from a bare loop."""
    host = network.host(f"bare{number}", environment())
    host.start(["boringtun-cli", "-f", "--disable-drop-privileges", "--disable-connected-udp", "wg0"])
    path = f"/proc/{host.pid}/root/run/wireguard/wg0.sock"
    wait_until(lambda: answers(path), 10, "the bare daemon answers", pause=0.001)
    started = time.perf_counter()
    for request in requests:
        if not exchange(path, request).endswith(b"errno=0\n\n"):
            raise RuntimeError("the daemon refused")
    elapsed = time.perf_counter() - started
    host.close()
    return elapsed


def bare_requests(count: int) -> list[bytes]:
    """The peers of a hub as ``set`` requests of 500."""
    requests = [f"set=1\nprivate_key={os.urandom(32).hex()}\nlisten_port=51820\n\n".encode()]
    for start in range(0, count, BATCH):
        lines = ["set=1"]
        for number in range(start, min(start + BATCH, count)):
            high, low = divmod(number + 2, 256)
            lines.append(f"public_key={os.urandom(32).hex()}\npreshared_key={os.urandom(32).hex()}")
            lines.append(f"replace_allowed_ips=true\nallowed_ip=10.221.{high}.{low}/32")
        requests.append("\n".join(lines).encode() + b"\n\n")
    return requests


def large_hub(network: Network, folder: Path) -> list[Result]:
    """Everything with many peers."""
    results = []
    hub = Hub(network, folder / "hub")
    hub.start()
    fill(hub, SMALL)
    small = commands(hub, "small")
    results += [
        Result(f"`{name}` : `python3 -c pass`, {SMALL} peers", f"{small[name][1] * 1000:.0f} ms", small[name][0], 6)
        for name in small
    ]
    parts = fill(hub, LARGE)
    requests = bare_requests(LARGE)
    bare = statistics.median(bare_loop(network, requests, number) for number in range(3))
    own = parts["total"] - parts["daemon"]
    results.append(
        Result(f"{LARGE} peers in one batch, less the daemon's own time (s)", f"{parts['total']:.2f} s in all", own, 3)
    )
    get = one_get(hub.host)
    large = commands(hub, "large")
    for name in large:
        allowance = get if name == "remove" else 0.0
        # The same reference in both, so that the machine's drift between the two drops out.
        ratio = large[name][0] * (1 - allowance / large[name][1]) / small[name][0]
        results.append(
            Result(f"`{name}` with {LARGE} : with {SMALL} peers", f"{large[name][1] * 1000:.0f} ms", ratio, 1.2)
        )
    results.append(listing(hub))
    starts = []
    for _ in range(3):
        hub.stop()
        starts.append(hub.start(wait=120))
    start = statistics.median(starts)
    text = f"{start:.2f} s : {bare:.2f} s"
    results.append(Result(f"hub start : bare loop, {LARGE} peers", text, start / bare, 1.3))
    hub.stop()
    results += served(hub)
    # Last of all: they double the hub's peers.
    results += tables(hub)
    hub.stop()
    return results


def main() -> int:
    """Entry point."""
    if os.geteuid() != 0:
        print("make bench makes network namespaces: run it as root", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="vpn-bench-") as folder, Network(environment()) as network:
        results = large_hub(network, Path(folder))
    print("| measurement | measured | ratio | limit |\n|---|---|---|---|")
    for result in results:
        print(f"| {result.what} | {result.measured} | {result.ratio:.2f} | {result.limit:g} |")
    return 0 if all(result.ratio <= result.limit for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

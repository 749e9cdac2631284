"""What the containers may do, whom their files belong to, and what can be reached from outside of the VPN."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.containers.deployment import ADDRESSES, COMPONENTS, run

if TYPE_CHECKING:
    from tests.containers.deployment import Deployment

pytestmark = pytest.mark.containers

EVERY = pytest.mark.parametrize("name", ["vpnserver", *COMPONENTS])
NET_ADMIN = 1 << 12
DAEMONS = ("vpn_server", "vpn_client", "boringtun", "tini")
LISTENING = """
import socket, struct
for path in ("/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"):
    for line in open(path).read().splitlines()[1:]:
        words = line.split()
        address, port = words[1].split(":")
        if words[3] == ("0A" if "tcp" in path else "07"):
            if len(address) == 8:
                shown = socket.inet_ntoa(struct.pack("<I", int(address, 16)))
            else:
                shown = "::" if int(address, 16) == 0 else "v6:" + address
            print(path[10:13], shown, int(port, 16))
"""
PROCESSES = r"""
for folder in /proc/[0-9]*; do
    line=$(tr '\0' ' ' < $folder/cmdline 2> /dev/null) || continue
    echo "$(grep -E '^(Pid|PPid|Uid|CapPrm|CapEff|CapBnd|NoNewPrivs):' $folder/status | tr '\n\t' '  ')| $line"
done
"""


@EVERY
def test_nothing_is_given_but_net_admin_and_the_tun_device(deployment: Deployment, name: str) -> None:
    settings = deployment.inspect(name)["HostConfig"]
    assert [capability.removeprefix("CAP_") for capability in settings["CapAdd"]] == ["NET_ADMIN"]
    assert settings["Privileged"] is False
    assert "no-new-privileges:true" in settings["SecurityOpt"]
    assert [device["PathInContainer"] for device in settings["Devices"]] == ["/dev/net/tun"]
    assert settings["RestartPolicy"]["Name"] == "unless-stopped"


@EVERY
def test_every_process_has_net_admin_at_most_and_the_application_nothing(deployment: Deployment, name: str) -> None:
    listed = run(["docker", "exec", deployment.container(name), "sh", "-c", PROCESSES]).stdout.splitlines()
    processes = {
        values["Pid"]: (values, command)
        for status, _, command in (line.partition("| ") for line in listed)
        if "Uid" in (values := dict(re.findall(r"(\w+):\s+(\w+)", status)))
    }
    # What the engine runs beside, such as this look and the health check, is nobody's child.
    container = {"1"}
    while more := {pid for pid, (values, _) in processes.items() if values["PPid"] in container} - container:
        container |= more
    for pid in container:
        values, command = processes[pid]
        assert values["Uid"] == str(deployment.uid), command
        assert values["NoNewPrivs"] == "1", command
        own = any(daemon in command for daemon in DAEMONS)
        assert int(values["CapEff"], 16) == int(values["CapPrm"], 16) == (NET_ADMIN if own else 0), command
        assert int(values["CapBnd"], 16) == NET_ADMIN, command
    assert len(container) >= (3 if name in ("vpnserver", "node") else 4), listed


@EVERY
def test_the_files_belong_to_the_container_s_user(deployment: Deployment, name: str) -> None:
    for path in [path for top in deployment.mounts(name).iterdir() for path in (top, *top.rglob("*"))]:
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (deployment.uid, deployment.uid), path
        if path.parts[-2] in ("wireguard", "ip_assign") or (path.name == "config.env" and name != "vpnserver"):
            assert status.st_mode & 0o077 == 0, path


@EVERY
def test_it_listens_inside_the_vpn_only(deployment: Deployment, name: str) -> None:
    listening = {tuple(line.split()) for line in deployment.python(name, LISTENING).splitlines()}
    # 127.0.0.11 is the engine's name server; WireGuard's own port is what the VPN comes in by.
    open_to_all = {
        (protocol, address, port)
        for protocol, address, port in listening
        if not address.startswith("127.") and address not in (ADDRESSES[name], "v6:00000000000000000000000001000000")
    }
    tcp = {entry for entry in open_to_all if entry[0] == "tcp"}
    own = {settings["IPAddress"] for settings in deployment.inspect(name)["NetworkSettings"]["Networks"].values()}
    expected = {("tcp", address, "8888") for address in own} if name == "researcher" else set()
    assert tcp == expected
    udp = {entry for entry in open_to_all if entry[0] == "udp"}
    assert {address for _, address, _ in udp} <= {"0.0.0.0", "::"}
    assert len({port for _, _, port in udp}) == 1, "WireGuard's"


@EVERY
def test_nothing_is_published_but_the_hub_s_port_and_the_notebook_on_loopback(
    deployment: Deployment, name: str
) -> None:
    published = {
        (port, binding["HostIp"])
        for port, bindings in deployment.inspect(name)["NetworkSettings"]["Ports"].items()
        for binding in bindings or ()
    }
    hub_port = f"{deployment.environ['VPN_SERVER_PORT']}/udp"
    expected = {
        "vpnserver": {(hub_port, "0.0.0.0"), (hub_port, "::")},
        "researcher": {("8888/tcp", "127.0.0.1")},
    }
    assert published == expected.get(name, set()) or published == expected.get(name, set()) - {(hub_port, "::")}


@pytest.mark.parametrize(("name", "port"), [("mqtt", 1883), ("restful", 8000)])
def test_the_services_are_not_reached_from_outside_of_the_vpn(deployment: Deployment, name: str, port: int) -> None:
    (address,) = (one["IPAddress"] for one in deployment.inspect(name)["NetworkSettings"]["Networks"].values())
    # From the host.
    with socket.socket() as probe:
        probe.settimeout(3)
        assert probe.connect_ex((address, port)) != 0
    # From another container's network, while the VPN reaches it.
    code = (
        "import socket, sys; s = socket.socket(); s.settimeout(3); print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))"
    )
    assert deployment.python("node", code, address, str(port)).strip() != "0"
    assert deployment.python("node", code, ADDRESSES[name], str(port)).strip() == "0"


@EVERY
def test_each_has_a_network_of_its_own(deployment: Deployment, name: str) -> None:
    mine = set(deployment.inspect(name)["NetworkSettings"]["Networks"])
    assert len(mine) == 1
    for other in {"vpnserver", *COMPONENTS} - {name}:
        assert mine.isdisjoint(deployment.inspect(other)["NetworkSettings"]["Networks"])


def test_the_hub_s_root_file_system_is_read_only(deployment: Deployment) -> None:
    assert deployment.exec("vpnserver", "touch", "/opt/vpn/x", check=False).returncode != 0


@EVERY
def test_no_compiler_and_no_certificate_of_a_proxy_is_in_the_image(deployment: Deployment, name: str) -> None:
    image = f"fedbiomed/vpn-{name}"
    inside = "ls /tmp; command -v gcc cc rustc cargo; find / -xdev -name host.crt"
    assert (
        run(
            ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", inside], check=False
        ).stdout
        == ""
    )

"""``build``: where the base comes from, what the builder is told, and what a failure shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import ROOT
from tests.deploy.host import mode
from vpn.lib.deploy import ahead

if TYPE_CHECKING:
    from tests.deploy.host import Host

BASE = "debian:bookworm-slim"
MAKES_A_TAR = 'for file; do :; done\necho "$@" > "$file"'
"""A shell script for mmdebstrap: its last argument is what it writes."""


@pytest.fixture
def builder(host: Host) -> Host:
    """A host that has the base's base."""
    host.set(images={BASE: {}})
    return host


def environ_of(host: Host, *call: str) -> dict[str, str]:
    """The noted environment of a call."""
    (noted,) = (noted for _, asked, noted in host.state["calls"] if asked == list(call))
    return dict(noted)


def test_the_base_first_and_then_what_is_named(builder: Host) -> None:
    said = builder.done("build", "node", "vpnserver")
    assert builder.calls("build") == [["build", "base"], ["build", "vpnserver"], ["build", "node"]]
    assert [line for line in said.splitlines() if line.endswith(" ...")] == [
        "build base ...",
        "build vpnserver ...",
        "build node ...",
    ]
    assert "build node: done, " in said


def test_all_by_default(builder: Host) -> None:
    builder.done("build")
    names = ["base", "vpnserver", "mqtt", "restful", "node", "researcher"]
    assert builder.calls("build") == [["build", name] for name in names]


def test_the_classic_builder_fetches_while_the_base_is_built(builder: Host) -> None:
    builder.done("build", "vpnserver", "restful", environ={"VPN_BASE_IMAGE": BASE})
    (fetched,) = builder.calls("image", "build")
    assert fetched[2:] == [
        *("--file", "docker/restful/Dockerfile", "--target", "install"),
        *("--build-arg", f"VPN_BASE_IMAGE={BASE}", "."),
    ]
    calls = builder.calls()
    assert calls.index(fetched) < calls.index(["build", "restful"])


def test_the_new_builder_fetches_by_itself(builder: Host) -> None:
    builder.set(buildx=True, compose2=True)
    builder.done("build", "restful")
    assert builder.calls("image", "build") == []


def test_the_stages_that_are_fetched_are_those_of_the_images() -> None:
    compose = (ROOT / "docker" / "docker-compose.yml").read_text()
    for stage in ahead.STAGES:
        dockerfile = (ROOT / stage.dockerfile).read_text()
        assert f" AS {stage.target}\n" in dockerfile
        assert all(f"ARG {name}={value}\n" in dockerfile for name, value in stage.arguments.items())
        assert all(f"${{{name}:-{value}}}" in compose for name, value in stage.arguments.items())


def test_the_classic_builder_where_there_is_no_other(builder: Host) -> None:
    builder.done("build", "mqtt")
    noted = environ_of(builder, "build", "mqtt")
    assert (noted["DOCKER_BUILDKIT"], noted["COMPOSE_DOCKER_CLI_BUILD"]) == ("0", "0")


def test_the_new_builder_where_it_is(builder: Host) -> None:
    builder.set(buildx=True, compose2=True)
    builder.done("build", "mqtt")
    assert "DOCKER_BUILDKIT" not in environ_of(builder, "compose", "build", "mqtt")


@pytest.mark.parametrize(
    ("environ", "identity"),
    [
        ({"CONTAINER_UID": "77", "CONTAINER_GID": "88", "CONTAINER_USER": "u", "CONTAINER_GROUP": "g"}, "77 88 u g"),
        ({"SUDO_UID": "4000111", "SUDO_GID": "4000222"}, "4000111 4000222 fedbiomed fedbiomed"),
    ],
)
def test_whom_it_is_built_for(builder: Host, environ: dict[str, str], identity: str) -> None:
    if "SUDO_UID" in environ and os.geteuid() != 0:
        identity = f"{os.getuid()} {os.getgid()}"  # nobody but root is believed to be below sudo
    builder.done("build", "mqtt", environ=environ)
    noted = environ_of(builder, "build", "mqtt")
    values = [noted[f"CONTAINER_{name}"] for name in ("UID", "GID", "USER", "GROUP")]
    assert " ".join(values).startswith(identity)


def test_it_is_built_for_whom_the_folder_says(builder: Host) -> None:
    with (builder.folder / ".env").open("a") as file:
        file.write("CONTAINER_UID=77\n")
    builder.done("build", "mqtt")
    assert environ_of(builder, "build", "mqtt")["CONTAINER_UID"] == "77"


def test_the_base_s_base_is_pulled(host: Host) -> None:
    host.set(pullable=[BASE])
    host.done("build", "mqtt")
    assert host.calls("pull") == [["pull", BASE]]
    host.done("build", "mqtt")
    assert len(host.calls("pull")) == 1


def test_a_base_that_cannot_be_pulled_is_made(host: Host) -> None:
    host.program("mmdebstrap", MAKES_A_TAR)
    said = host.done("build", "mqtt")
    assert f"{BASE} cannot be pulled; it is made here from Debian's packages instead\n" in said
    asked = host.state["images"][BASE]["from"].split()
    assert asked[:3] == ["--variant=minbase", "--include=ca-certificates", "bookworm"]
    assert not os.path.exists(asked[3])


def test_a_base_that_somebody_chose_is_not_made(host: Host) -> None:
    host.program("mmdebstrap", MAKES_A_TAR)
    outcome = host.run("build", "mqtt", environ={"VPN_BASE_IMAGE": "registry.hospital/debian:12"})
    assert outcome.status == 1
    assert "registry.hospital/debian:12 (VPN_BASE_IMAGE) is neither here nor to be pulled" in outcome.err
    assert outcome.err.count("\n") == 1
    assert host.calls("build") == []


def test_without_mmdebstrap(host: Host) -> None:
    host.program("apt-get", 'echo "E: Unable to fetch some archives" >&2\nexit 100')
    outcome = host.run("build", "mqtt")
    assert outcome.status == 1
    expected = "look for packages failed" if os.geteuid() == 0 else "as root: `apt-get install mmdebstrap`"
    assert expected in outcome.err.splitlines()[-1]
    assert f"`docker load` an image {BASE}" in outcome.err.splitlines()[-1]


def test_a_build_that_fails(builder: Host) -> None:
    builder.set(build_fails="restful")
    outcome = builder.run("build")
    *shown, line = outcome.err.splitlines()
    log = builder.folder / "logs/build.log"
    assert outcome.status == 1
    assert shown[-2:] == ["  E: Failed to fetch http://deb/: no route", "  The command returned a non-zero code: 100"]
    assert line.startswith("fedbiomed_vpn: build restful failed: ")
    assert line.endswith(f"; all that it said is in {log}")
    assert "building base\n" in log.read_text()
    assert "E: Failed to fetch" in log.read_text()
    assert builder.calls("build")[-1] == ["build", "restful"]


def test_a_log_begins_anew(builder: Host) -> None:
    builder.done("build", "mqtt")
    builder.done("build", "restful")
    assert "building mqtt" not in (builder.folder / "logs/build.log").read_text()


class TestCertificates:
    """This machine's, for the time of the build."""

    def build(self, host: Host, text: str) -> None:
        bundle = host.root / "bundle.crt"
        bundle.write_text(text)
        host.done("build", "mqtt", environ={"SSL_CERT_FILE": str(bundle)})

    def test_they_are_copied(self, builder: Host) -> None:
        self.build(builder, "a certificate\n")
        copy = builder.folder / "ca/host.crt"
        assert (copy.read_text(), mode(copy)) == ("a certificate\n", 0o644)
        self.build(builder, "another\n")
        assert copy.read_text() == "another\n"

    def test_the_same_ones_keep_their_time(self, builder: Host) -> None:
        self.build(builder, "a certificate\n")
        copy = builder.folder / "ca/host.crt"
        os.utime(copy, (1, 1))
        self.build(builder, "a certificate\n")
        assert copy.stat().st_mtime == 1

    def test_a_machine_without_any(self, builder: Host) -> None:
        builder.done("build", "mqtt", environ={"SSL_CERT_FILE": str(builder.root / "none")})
        assert not (builder.folder / "ca/host.crt").exists()


def test_progress_on_a_terminal(builder: Host) -> None:
    outcome = builder.on_terminal("build", "mqtt")
    assert outcome.status == 0
    assert "✓\x1b[0m build mqtt, " in outcome.out
    assert "build mqtt ..." not in outcome.out

"""``export`` and ``import``: the way there and back, and archives that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.deploy.host import RUN_NODE, Host, mode
from tests.fakes.engine import SECRET
from vpn.lib.deploy import archive
from vpn.lib.deploy.archive import IMAGE, SUMS, TOP
from vpn.lib.deploy.exporting import _header
from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def exporter(host: Host) -> Host:
    """A host with the node's image, and a node that has been used."""
    host.with_images("node")
    host.config("node").write_text(f"export VPN_SERVER_ENDPOINT=hub:1\nexport VPN_SERVER_PSK={SECRET}\n")
    secret = host.folder / "node/run_mounts/config/wireguard/private.key"
    secret.parent.mkdir()
    secret.write_text("KEY-MATERIAL")
    (host.folder / "node/run_mounts/data/patients.csv").write_text("PATIENT-DATA")
    return host


@pytest.fixture
def exported(exporter: Host, tmp_path: Path) -> Path:
    """An archive."""
    path = tmp_path / "node.tar"
    exporter.done("export", "node", path)
    return path


def read(path: Path) -> Members:
    """The members of an archive."""
    with tarfile.open(path) as opened:
        members = []
        for info in opened:
            file = opened.extractfile(info)
            members.append((info, b"" if file is None else file.read()))
        return members


def write(path: Path, members: Members, *, sums: bool = True) -> None:
    """An archive of these, its checksums made to fit unless ``sums`` is false."""
    listed = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {info.name.partition('/')[2]}\n"
        for info, data in members
        if info.isreg() and not info.name.endswith(SUMS)
    )
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as opened:
        for info, data in members:
            text = listed.encode() if sums and info.name == f"{TOP}/{SUMS}" else data
            if info.isreg():
                info.size = len(text)
            opened.addfile(info, io.BytesIO(text))


def inside(members: Members) -> dict[str, bytes]:
    """Contents by the name below the folder."""
    return {info.name.removeprefix(f"{TOP}/"): data for info, data in members}


class TestExport:
    """What is in an archive."""

    def test_an_image_and_what_it_runs_from(self, exported: Path) -> None:
        members = inside(read(exported))
        assert gzip.decompress(members[IMAGE]) == b"an image: fedbiomed/vpn-node\n"
        assert members["docker-compose.yml"].decode() == RUN_NODE
        assert "COMPOSE_PROJECT_NAME=fedbiomed-vpn" in members[".env"].decode()
        assert {name for name in members if name.startswith("node/")} == {
            f"node/run_mounts/{folder}/.gitkeep" for folder in ("config", "data", "fbm-node")
        }

    def test_no_secret_and_no_data(self, exported: Path) -> None:
        whole = exported.read_bytes()
        for secret in (b"KEY-MATERIAL", b"private.key", b"PATIENT-DATA", b"patients", SECRET.encode()):
            assert secret not in whole
        assert mode(exported) == 0o644

    def test_with_the_configuration(self, exporter: Host, tmp_path: Path) -> None:
        said = exporter.done("export", "node", tmp_path / "n.tar", "--with-config")
        assert SECRET.encode() in inside(read(tmp_path / "n.tar"))["node/run_mounts/config/config.env"]
        assert mode(tmp_path / "n.tar") == 0o600
        assert "it holds a secret (config.env)" in said

    def test_by_hand_with_the_tools_of_any_linux(self, exported: Path, tmp_path: Path) -> None:
        subprocess.run(["tar", "xf", exported], cwd=tmp_path, check=True)
        checked = subprocess.run(
            ["sha256sum", "--quiet", "--strict", "-c", SUMS], cwd=tmp_path / TOP, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
        assert len((tmp_path / TOP / SUMS).read_text().splitlines()) == len(inside(read(exported))) - 1

    def test_the_tool_in_it_runs(self, exported: Path, exporter: Host, tmp_path: Path) -> None:
        subprocess.run(["tar", "xf", exported], cwd=tmp_path, check=True)
        tool = tmp_path / TOP / "vpn/bin/fedbiomed_vpn.py"
        done = subprocess.run(
            [sys.executable, "-I", "-S", tool, "status", "--json"],
            cwd="/",
            env=exporter.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, "")
        assert f'"folder": "{tmp_path / TOP}"' in done.stdout
        assert os.access(tool, os.X_OK)

    def test_its_default_name(self, exporter: Host) -> None:
        exporter.done("export", "node")
        (made,) = exporter.folder.glob("fedbiomed-vpn-node-*.tar")
        assert archive.read_through(made, lambda _: None)

    def test_without_an_image(self, host: Host, tmp_path: Path) -> None:
        line = host.refused("export", "node", tmp_path / "n.tar")
        assert "there is no image fedbiomed/vpn-node; run `fedbiomed_vpn build node`" in line

    def test_without_the_node_s_compose_file(self, exporter: Host, tmp_path: Path) -> None:
        (exporter.folder / "docker-compose_run_node.yml").unlink()
        assert "export from a whole checkout" in exporter.refused("export", "node", tmp_path / "n.tar")

    def test_without_a_configuration_to_go_with_it(self, exporter: Host, tmp_path: Path) -> None:
        exporter.config("node").unlink()
        assert "fill it first, or export without" in exporter.refused(
            "export", "node", tmp_path / "n.tar", "--with-config"
        )

    @pytest.mark.parametrize("name", ["no/such/folder/n.tar", "."])
    def test_no_place_for_it(self, exporter: Host, tmp_path: Path, name: str) -> None:
        assert "is no name for a file here" in exporter.refused("export", "node", tmp_path / name)

    def test_a_save_that_fails_leaves_the_former_archive(self, exporter: Host, exported: Path) -> None:
        before = exported.read_bytes()
        exporter.set(saved="broken")
        outcome = exporter.run("export", "node", exported)
        assert outcome.status == 1
        assert "`docker save fedbiomed/vpn-node` failed: Error response from daemon: layer is missing" in outcome.err
        assert exported.read_bytes() == before
        assert [path.name for path in exported.parent.glob("*.tmp")] + list(exported.parent.glob(".*.tmp")) == []


class TestImport:
    """What becomes of an archive."""

    @pytest.fixture
    def hospital(self, tmp_path: Path) -> Host:
        """Another machine."""
        root = tmp_path / "hospital"
        root.mkdir()
        return Host(root)

    def test_a_node_s_folder_and_its_image(self, exported: Path, hospital: Host) -> None:
        said = hospital.done("import", exported, here=hospital.root)
        folder = hospital.root / "fedbiomed-vpn-node"
        compressed = inside(read(exported))[IMAGE]
        assert hospital.state["images"]["fedbiomed/vpn-node"] == {"bytes": len(compressed)}
        assert (folder / "docker-compose.yml").read_text() == RUN_NODE
        assert not (folder / IMAGE).exists()
        assert mode(folder) == 0o755
        assert f"`fedbiomed_vpn start node --folder {folder.name}`" in said
        assert "put the config.env that the hub made for this node to" in said
        assert {path.name for path in hospital.root.iterdir() if path.name.startswith(".")} == set()

    def test_the_node_starts_from_it(self, exported: Path, hospital: Host) -> None:
        folder = hospital.root / "there"
        hospital.done("import", exported, "--into", folder)
        config = folder / "node/run_mounts/config/config.env"
        config.write_text("export VPN_SERVER_ENDPOINT=hub:1\nexport FEDBIOMED_NODEID=n\n")
        assert "add node n " in hospital.done("start", "node", "--wait", "0", "--folder", folder)

    def test_with_a_configuration(self, exporter: Host, hospital: Host, tmp_path: Path) -> None:
        exporter.done("export", "node", tmp_path / "n.tar", "--with-config")
        hospital.done("import", tmp_path / "n.tar", "--into", hospital.root / "there")
        config = hospital.root / "there/node/run_mounts/config/config.env"
        assert (SECRET in config.read_text(), mode(config)) == (True, 0o600)

    def test_a_newer_archive_leaves_what_is_the_site_s(self, exported: Path, hospital: Host) -> None:
        folder = hospital.root / "there"
        hospital.done("import", exported, "--into", folder)
        mine = {
            ".env": "CONTAINER_UID=7\n",
            "node/run_mounts/config/config.env": "export A=1\n",
            "node/run_mounts/data/patients.csv": "mine",
        }
        for name, text in mine.items():
            (folder / name).write_text(text)
        (folder / "docker-compose.yml").write_text("services:\n  node: {}\n")
        hospital.done("import", exported, "--into", folder)
        assert {name: (folder / name).read_text() for name in mine} == mine
        assert (folder / "docker-compose.yml").read_text() == RUN_NODE

    def test_another_configuration_is_not_overwritten(self, exporter: Host, hospital: Host, tmp_path: Path) -> None:
        exporter.done("export", "node", tmp_path / "n.tar", "--with-config")
        folder = hospital.root / "there"
        hospital.done("import", tmp_path / "n.tar", "--into", folder)
        config = folder / "node/run_mounts/config/config.env"
        config.write_text("export A=1\n")
        outcome = hospital.run("import", tmp_path / "n.tar", "--into", folder)
        assert outcome.status == 1
        assert f"{config} is filled otherwise than in the archive" in outcome.err
        assert config.read_text() == "export A=1\n"

    def test_a_folder_of_somebody_else(self, exported: Path, hospital: Host) -> None:
        (hospital.root / "there").mkdir()
        (hospital.root / "there/thesis.tex").touch()
        outcome = hospital.run("import", exported, "--into", hospital.root / "there")
        assert (outcome.status, hospital.state["images"]) == (1, {})
        assert "holds something else than a node of ours" in outcome.err

    def test_a_link_in_an_older_import_is_not_followed(self, exported: Path, hospital: Host, tmp_path: Path) -> None:
        folder = hospital.root / "there"
        hospital.done("import", exported, "--into", folder)
        shutil.rmtree(folder / "vpn")
        (tmp_path / "mine").mkdir()
        (folder / "vpn").symlink_to(tmp_path / "mine")
        outcome = hospital.run("import", exported, "--into", folder)
        assert outcome.status == 1
        assert "is a symbolic link or a file where a folder is due" in outcome.err
        assert list((tmp_path / "mine").iterdir()) == []

    def test_docker_does_not_take_the_image(self, exported: Path, hospital: Host) -> None:
        hospital.set(load_fails="Error processing tar file: unexpected EOF")
        outcome = hospital.run("import", exported, "--into", hospital.root / "there")
        assert outcome.status == 1
        assert "`docker load` failed: Error processing tar file: unexpected EOF" in outcome.err
        assert list(hospital.root.glob("*there*")) == []

    def test_no_engine(self, exported: Path, hospital: Host) -> None:
        hospital.set(daemon="down")
        assert "the Docker daemon does not answer" in hospital.refused("import", exported)

    @pytest.mark.parametrize("text", [b"", b"not a tar", b"\0" * 10240, b"x" * 100000])
    def test_no_archive(self, hospital: Host, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "x.tar").write_bytes(text)
        self.require_refusal(hospital, tmp_path / "x.tar", "no archive of `fedbiomed_vpn export`")

    def test_a_name_that_is_not_there(self, hospital: Host, tmp_path: Path) -> None:
        self.require_refusal(hospital, tmp_path / "none.tar", "none.tar is not there; check the name")

    def test_an_archive_of_something_else(self, hospital: Host, tmp_path: Path) -> None:
        members = [(tarfile.TarInfo(f"{TOP}/README.txt"), b"hello"), (tarfile.TarInfo(f"{TOP}/{SUMS}"), b"")]
        write(tmp_path / "x.tar", members)
        self.require_refusal(hospital, tmp_path / "x.tar", "is incomplete, or no archive of")

    @pytest.mark.parametrize("left", [0.3, 0.9, 0.99])
    def test_half_an_archive(self, exported: Path, hospital: Host, left: float) -> None:
        whole = exported.read_bytes()
        exported.write_bytes(whole[: int(len(whole) * left)])
        self.require_refusal(hospital, exported, "copy it again|copy the archive again")

    def test_every_kind_of_member_that_differs_is_found(self, exported: Path, hospital: Host) -> None:
        members = read(exported)
        for position, (info, data) in enumerate(members):
            if info.name.endswith(SUMS):
                continue
            changed = members.copy()
            changed[position] = (info, data + b"!")
            write(exported, changed, sums=False)
            with pytest.raises(InvalidInput, match="is not what was exported"):
                archive.read_through(exported, lambda _: None)

    def test_damage_is_one_line_and_leaves_nothing(self, exported: Path, hospital: Host) -> None:
        members = [(info, data[::-1] if info.name.endswith(IMAGE) else data) for info, data in read(exported)]
        write(exported, members, sums=False)
        self.require_refusal(hospital, exported, f"{IMAGE} is not what was exported; copy the archive again")

    @pytest.mark.parametrize(
        ("name", "kind", "leads_to"),
        [
            ("/etc/cron.d/x", tarfile.REGTYPE, ""),
            (f"{TOP}/../x", tarfile.REGTYPE, ""),
            (f"{TOP}/a/../../../x", tarfile.REGTYPE, ""),
            (f"{TOP}//etc/x", tarfile.REGTYPE, ""),
            (f"{TOP}/./x", tarfile.REGTYPE, ""),
            ("elsewhere/x", tarfile.REGTYPE, ""),
            ("elsewhere", tarfile.DIRTYPE, ""),
            (TOP, tarfile.REGTYPE, ""),
            (f"{TOP}/a\nb", tarfile.REGTYPE, ""),
            (f"{TOP}/\u202egnp.exe", tarfile.REGTYPE, ""),
            (f"{TOP}/README.txt", tarfile.REGTYPE, ""),
            (f"{TOP}/x", tarfile.SYMTYPE, "/etc"),
            (f"{TOP}/x", tarfile.LNKTYPE, f"{TOP}/README.txt"),
            (f"{TOP}/x", tarfile.CHRTYPE, ""),
            (f"{TOP}/x", tarfile.FIFOTYPE, ""),
        ],
    )
    def test_hostile_members(self, exported: Path, hospital: Host, name: str, kind: bytes, leads_to: str) -> None:
        members = read(exported)
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, leads_to
        # First, so that whatever comes after it would go where it leads.
        write(exported, [(info, b""), *members])
        self.require_refusal(hospital, exported, "refused|in the archive twice")

    def test_a_huge_member(self, exported: Path, hospital: Host) -> None:
        write(exported, [(tarfile.TarInfo(f"{TOP}/x"), b"x" * (archive.SMALL + 1)), *read(exported)])
        self.require_refusal(hospital, exported, "x in the archive is too large")

    def test_a_member_that_has_no_checksum(self, exported: Path, hospital: Host) -> None:
        members = read(exported)
        write(exported, [(tarfile.TarInfo(f"{TOP}/x"), b"x"), *members], sums=False)
        self.require_refusal(hospital, exported, "x is not what was exported")

    def require_refusal(self, hospital: Host, path: Path, saying: str) -> None:
        """One line, nothing loaded, nothing written."""
        before = sorted(hospital.root.rglob("*"))
        outcome = hospital.run("import", path, here=hospital.root)
        assert outcome.status == 1
        assert len(outcome.err.splitlines()) == 1
        assert outcome.err.removesuffix("\n").isprintable()
        assert re.search(saying, outcome.err), outcome.err
        assert hospital.calls("load") == []
        changed = {hospital.state_file.with_suffix(".lock")}
        assert set(hospital.root.rglob("*")) - changed == set(before) - changed


def test_an_image_of_more_than_8_gib_has_a_header() -> None:
    info = tarfile.TarInfo.frombuf(_header(IMAGE, 9 << 30, 0o644), "utf-8", "strict")
    assert (info.size, info.name) == (9 << 30, f"{TOP}/{IMAGE}")

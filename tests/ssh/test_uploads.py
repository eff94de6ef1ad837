"""An artifact arrives whole or not at all: files, modes and links, by SFTP, else as a stream."""

import asyncio
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetctl.errors import FleetctlError, HostError
from fleetctl.host.artifacts import digest_of
from fleetctl.ssh import transfer
from fleetctl.ssh.access import Access
from fleetctl.ssh.bootstrap import loader, program
from fleetctl.ssh.link import open_link


@asynccontextmanager
async def link_to(fleet):
    async with await open_link(fleet.spec("h1"), Access(), mode="drive", fleet=fleet.name) as link:
        report = await link.observe()
        await link.claim(generation=1, author="me", serial=report.serial, fleet=fleet.name, wishes={})
        yield link


async def uploaded(link, folder, digest=None):
    """What was told of its progress."""
    told = []
    await link.upload(
        generation=1,
        author="me",
        digest=digest or digest_of(str(folder)),
        source=folder,
        progress=lambda done, total: told.append((done, total)),
    )
    return told


def arrived(fleet, digest):
    return fleet.host("h1").root / "artifacts" / digest


def incoming(fleet):
    return list((fleet.host("h1").root / "incoming").iterdir())


def assert_same(there, here):
    assert digest_of(str(there)) == digest_of(str(here))
    assert (there / "current").readlink() == Path("deep/er")
    assert (there / "run").stat().st_mode & 0o111


# -- both ways


WAYS = {
    "sftp": {},
    "noisy shell": {"noisy": True},
    "no sftp": {"no_sftp": True},
    "one channel a connection": {"sessions_max": 1},
    "one channel and no sftp": {"sessions_max": 1, "no_sftp": True},
}


@pytest.mark.parametrize("host", WAYS.values(), ids=WAYS.keys())
async def test_a_folder_arrives_as_it_is(fleet_of, artifact, host):
    async with fleet_of() as fleet:
        for name, value in host.items():
            setattr(fleet.host("h1"), name, value)
        async with link_to(fleet) as link:
            told = await uploaded(link, artifact)
            digest = digest_of(str(artifact))
            assert_same(arrived(fleet, digest), artifact)
            assert digest in (await link.observe()).artifacts
        assert (told[0], told[-1]) == ((0, 3_000_028), (3_000_028, 3_000_028))
        assert told == sorted(told)
        assert incoming(fleet) == []


@pytest.fixture
def ways(monkeypatch):
    """By which ways files went."""
    gone = []
    for name in ("_put_all", "_as_stream"):
        way = getattr(transfer, name)

        async def noted(*arguments, name=name, way=way):
            gone.append(name)
            await way(*arguments)

        monkeypatch.setattr(transfer, name, noted)
    return gone


@pytest.mark.parametrize(
    ("host", "way"), [("sftp", "_put_all"), ("noisy shell", "_as_stream"), ("no sftp", "_as_stream")]
)
async def test_sftp_is_taken_where_it_starts(fleet_of, artifact, ways, host, way):
    async with fleet_of() as fleet:
        for name, value in WAYS[host].items():
            setattr(fleet.host("h1"), name, value)
        async with link_to(fleet) as link:
            await uploaded(link, artifact)
        assert ways == [way]


async def test_a_file_is_a_folder_with_one_entry(fleet_of, tmp_path):
    (tmp_path / "server").write_bytes(b"binary")
    (tmp_path / "server").chmod(0o755)
    named = hashlib.sha256(f"755 {hashlib.sha256(b'binary').hexdigest()} server\n".encode()).hexdigest()
    async with fleet_of() as fleet, link_to(fleet) as link:
        await uploaded(link, tmp_path / "server", named)
        assert (arrived(fleet, named) / "server").read_bytes() == b"binary"


async def test_many_hosts_at_once(fleet_of, artifact):
    async with fleet_of(12) as fleet:
        access = Access()
        links = await asyncio.gather(*(open_link(spec, access, mode="drive", fleet=fleet.name) for spec in fleet.specs))
        for link in links:
            await link.claim(
                generation=1, author="me", serial=(await link.observe()).serial, fleet=fleet.name, wishes={}
            )
        await asyncio.gather(*(uploaded(link, artifact) for link in links))
        reports = await asyncio.gather(*(link.observe() for link in links))
        assert [len(report.artifacts) for report in reports] == [1] * 12
        await asyncio.gather(*(link.close() for link in links))


# -- what goes wrong


async def test_what_arrived_damaged_is_thrown_away(fleet_of, artifact):
    async with fleet_of() as fleet, link_to(fleet) as link:
        with pytest.raises(HostError, match="arrived damaged"):
            await uploaded(link, artifact, digest="0" * 64)
        assert incoming(fleet) == []
        assert (await link.observe()).artifacts == frozenset()


@pytest.mark.parametrize("no_sftp", [False, True], ids=["sftp", "stream"])
async def test_a_source_that_shrinks_meanwhile_is_a_failed_upload(fleet_of, artifact, monkeypatch, no_sftp):
    pack = transfer.pack

    def pack_then_shrink(source):
        parcel = pack(source)
        (artifact / "deep" / "data").write_bytes(b"short")
        return parcel

    digest = digest_of(str(artifact))
    monkeypatch.setattr(transfer, "pack", pack_then_shrink)
    async with fleet_of() as fleet:
        fleet.host("h1").no_sftp = no_sftp
        async with link_to(fleet) as link:
            with pytest.raises(HostError):
                await uploaded(link, artifact, digest)
            assert incoming(fleet) == []


@pytest.mark.parametrize("no_sftp", [False, True], ids=["sftp", "stream"])
async def test_a_host_that_dies_meanwhile_is_a_failed_upload(fleet_of, artifact, no_sftp):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        host.no_sftp = no_sftp
        async with link_to(fleet) as link:
            with pytest.raises(HostError):
                await link.upload(
                    generation=1,
                    author="me",
                    digest=digest_of(str(artifact)),
                    source=artifact,
                    progress=lambda done, _total: host.refuse() if done else None,
                )


async def test_an_upload_that_stands_still_is_given_up(fleet_of, artifact, monkeypatch):
    monkeypatch.setattr(transfer, "STALL_S", 0.3)
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        async with link_to(fleet) as link:
            monkeypatch.setattr("fleetctl.ssh.link.ORDER_S", 0.2)
            with pytest.raises(HostError, match="stood still"):
                await link.upload(
                    generation=1,
                    author="me",
                    digest=digest_of(str(artifact)),
                    source=artifact,
                    progress=lambda done, _total: host.hang() if done else None,
                )
            await host.kill()


async def test_where_nothing_can_be_written_the_host_says_so(fleet_of, artifact):
    """It says so long before it has read all that comes."""
    (artifact / "large").write_bytes(bytes(20_000_000))
    async with fleet_of() as fleet, link_to(fleet) as link:
        (fleet.host("h1").root / "incoming").rmdir()
        (fleet.host("h1").root / "incoming").write_text("in the way")
        with pytest.raises(HostError, match=r"refused the upload: .*Not a directory"):
            await uploaded(link, artifact)
        (fleet.host("h1").root / "incoming").unlink()


def test_what_can_not_be_part_of_an_artifact_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FleetctlError, match="pipe is neither a file nor a folder nor a link"):
        transfer.pack(tmp_path)


# -- the receiver trusts nothing


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def receive(folder, members, promised=None):
    """What it answers to a stream of (name, content or ->target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, content.removeprefix("->")
            elif content == "<fifo>":
                member.type = tarfile.FIFOTYPE
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    size = sum(len(content) for _, content in members if not content.startswith(("->", "<")))
    request = {"folder": str(folder), "bytes": size, "entries": len(members), **(promised or {})}
    source = program("receive.py")
    ended = subprocess.run(
        shlex.split(loader(sys.executable, source, "marker"))[1:],
        input=source + json.dumps(request).encode() + b"\n" + stream.getvalue(),
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    marker, answer = ended.stdout.splitlines()
    assert marker == b"marker"
    return json.loads(answer)


def test_a_sound_stream_is_unpacked(tmp_path):
    answer = receive(tmp_path / "in", [("a", "one"), ("deep/b", "two"), ("l", "->a")])
    assert answer == {"received": 6}
    assert ((tmp_path / "in/l").read_text(), (tmp_path / "in/deep/b").read_text()) == ("one", "two")


@pytest.mark.parametrize(
    "members",
    [
        [("../out", "x")],
        [("deep/../../out", "x")],
        [("/out", "x")],
        [("way", "->.."), ("way/out", "x")],
        [("a", "x"), ("a", "y")],
        [("pipe", "<fifo>")],
    ],
    ids=["up", "up from below", "from the top", "through a link", "over another", "no file"],
)
def test_no_stream_leads_out_of_its_folder(place, members):
    answer = receive(place / "in", members)
    assert answer["received"] == -1
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("promised", [{"bytes": 5}, {"entries": 1}, {"bytes": 7}, {"entries": 3}])
def test_no_more_and_no_less_is_taken_than_was_announced(place, promised):
    assert receive(place / "in", [("a", "one"), ("b", "two")], promised)["received"] == -1
    assert list(place.iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "mine").write_text("mine")
    assert receive(tmp_path / "in", [("mine", "theirs")])["received"] == -1
    assert (tmp_path / "in" / "mine").read_text() == "mine"

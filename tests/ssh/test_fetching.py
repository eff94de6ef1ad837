"""An artifact comes back from a host as it was sent, by SFTP, else as a stream; a host can write nowhere else here."""

import asyncio
import os
import shutil
from collections import namedtuple
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from fleetctl.errors import FleetctlError, HostError
from fleetctl.ssh import fetching
from fleetctl.ssh.access import Access
from fleetctl.ssh.fetching import Intake, Item
from fleetctl.ssh.link import open_link
from fleetctl.state.artifacts import KeptArtifacts, digest_of

WAYS = {
    "sftp": {},
    "noisy shell": {"noisy": True},
    "no sftp": {"no_sftp": True},
    "one channel a connection": {"sessions_max": 1},
    "one channel and no sftp": {"sessions_max": 1, "no_sftp": True},
}
BOTH = pytest.mark.parametrize("host", [{}, {"no_sftp": True}], ids=["sftp", "stream"])


@asynccontextmanager
async def link_to(fleet, **host):
    for name, value in host.items():
        setattr(fleet.host("h1"), name, value)
    async with await open_link(fleet.spec("h1"), Access(), mode="drive", fleet=fleet.name) as link:
        yield link


async def sent(link, fleet, folder):
    """The digest of what was uploaded, and where it is on the host."""
    digest = digest_of(folder)
    serial = (await link.observe()).serial
    await link.claim(generation=1, author="me", serial=serial, fleet=fleet.name, wishes={})
    await link.upload(generation=1, author="me", digest=digest, source=folder, progress=lambda *_: None)
    return digest, fleet.host("h1").root / "artifacts" / digest


@contextmanager
def writable(folder):
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o555)


@pytest.mark.parametrize("host", WAYS.values(), ids=WAYS.keys())
async def test_what_was_sent_comes_back_and_is_kept_under_the_same_digest(fleet_of, artifact, tmp_path, host):
    kept = KeptArtifacts(tmp_path / "state")
    (tmp_path / "state").mkdir()
    async with fleet_of() as fleet, link_to(fleet, **host) as link:
        digest, _ = await sent(link, fleet, artifact)
        with kept.receiving() as received:
            await link.fetch(digest, received)
            assert (received / "run").stat().st_mode & 0o777 == 0o755
            assert (received / "deep" / "data").stat().st_mode & 0o777 == 0o644
            assert kept.take_back(digest, received)
    copy = kept.path(digest)
    assert digest_of(copy) == digest
    assert ((copy / "current").readlink(), (copy / "dangling").readlink()) == (Path("deep/er"), Path("/nowhere/at/all"))
    assert ((copy / "run").stat().st_mode & 0o777, copy.stat().st_mode & 0o777) == (0o555, 0o555)
    assert list(copy.parent.glob("unfinished-*")) == []


@pytest.mark.parametrize(("host", "way"), [("sftp", "_get_all"), ("noisy shell", "_offered"), ("no sftp", "_offered")])
async def test_sftp_is_taken_where_it_starts(fleet_of, artifact, tmp_path, monkeypatch, host, way):
    gone = []
    for name in ("_get_all", "_offered"):
        taken = getattr(fetching, name)

        async def noted(*arguments, name=name, way=taken):
            gone.append(name)
            return await way(*arguments)

        monkeypatch.setattr(fetching, name, noted)
    async with fleet_of() as fleet, link_to(fleet, **WAYS[host]) as link:
        digest, _ = await sent(link, fleet, artifact)
        await link.fetch(digest, tmp_path / "back")
    assert gone == [way]


@BOTH
async def test_what_is_damaged_on_the_host_is_not_kept(fleet_of, artifact, tmp_path, host):
    kept = KeptArtifacts(tmp_path / "state")
    (tmp_path / "state").mkdir()
    async with fleet_of() as fleet, link_to(fleet, **host) as link:
        digest, there = await sent(link, fleet, artifact)
        with writable(there):
            (there / "run").chmod(0o755)
            (there / "run").write_text("#!/bin/sh\nexec sleep 9\n")
        with kept.receiving() as received:
            await link.fetch(digest, received)
            assert not kept.take_back(digest, received)
    assert [path.name for path in (tmp_path / "state" / "artifacts").iterdir()] == [".in-use"]


@BOTH
async def test_what_is_not_there_or_no_folder_is_told(fleet_of, artifact, tmp_path, host):
    async with fleet_of() as fleet, link_to(fleet, **host) as link:
        digest, there = await sent(link, fleet, artifact)
        with pytest.raises(HostError, match=r"refused the download: .*No such file"):
            await link.fetch("0" * 64, tmp_path / "back")
        (there.parent / ("1" * 64)).symlink_to(tmp_path)
        with pytest.raises(HostError, match="is no folder"):
            await link.fetch("1" * 64, tmp_path / "back")
        with writable(there):
            os.mkfifo(there / "pipe")
        with pytest.raises(HostError, match="neither a file nor a folder nor a link"):
            await link.fetch(digest, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@BOTH
async def test_no_more_is_taken_than_there_is_room_for(fleet_of, artifact, tmp_path, monkeypatch, host):
    room = namedtuple("room", "total used free")(2**30, 2**30 - 2**26, 2**26 + 1_000_000)  # noqa: PYI024
    async with fleet_of() as fleet, link_to(fleet, **host) as link:
        digest, _ = await sent(link, fleet, artifact)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
        with pytest.raises(FleetctlError, match="no room for 3 MiB") as told:
            await link.fetch(digest, tmp_path / "back")
    assert not isinstance(told.value, HostError), "another host's copy would not fit either"
    assert list((tmp_path / "back").iterdir()) == []


@BOTH
async def test_a_host_that_stands_still_is_given_up(fleet_of, artifact, tmp_path, monkeypatch, host):
    async with fleet_of() as fleet, link_to(fleet, **host) as link:
        digest, _ = await sent(link, fleet, artifact)
        monkeypatch.setattr("fleetctl.ssh.transfer.STALL_S", 0.5)
        prepare = Intake.prepare

        def then_hang(self, items):
            prepare(self, items)
            fleet.host("h1").hang()

        monkeypatch.setattr(Intake, "prepare", then_hang)
        monkeypatch.setattr(fetching, "STALL_S", 0.5)
        with pytest.raises(HostError, match=r"the download stood still for 0\.5 s"):
            await link.fetch(digest, tmp_path / "back")


# -- the host is not trusted


def intake(folder, within):
    async def work():
        async with asyncio.timeout(5) as limit:
            within(Intake("h1", folder, limit))

    asyncio.run(work())


def plain(path, size=3):
    return Item(path, size, executable=False)


@pytest.mark.parametrize("path", [b"../a", b"/a", b"a/../../b", b"", b"a//b", b"a/.", b"a\0", b"x" * 256, b"a/" * 2500])
def test_no_path_leaves_the_folder(path):
    with pytest.raises(HostError, match="can't be in an artifact"):
        fetching._checked("h1", path)


def test_a_link_and_files_below_its_name_are_refused(tmp_path):
    link = Item(b"a", 0, executable=False, target=os.fsencode(tmp_path))
    with pytest.raises(HostError, match="there twice"):
        intake(tmp_path / "in", lambda there: there.prepare([link, plain(b"a/mine")]))
    with pytest.raises(HostError, match="there twice"):
        intake(tmp_path / "in", lambda there: there.prepare([plain(b"a"), link]))
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(("offset", "data"), [(0, b"four"), (2, b"to"), (10**15, b"x")])
def test_no_more_is_written_than_was_announced(tmp_path, offset, data):
    def work(there):
        there.prepare([plain(b"a")])
        with there.file(plain(b"a")) as write:
            write(offset, data)

    with pytest.raises(HostError, match="sent more"):
        intake(tmp_path / "in", work)
    assert (tmp_path / "in" / "a").stat().st_size == 0


def test_less_than_was_announced_is_told(tmp_path):
    def work(there):
        there.prepare([plain(b"a")])
        with there.file(plain(b"a")) as write:
            write(0, b"12")

    with pytest.raises(HostError, match="sent less"):
        intake(tmp_path / "in", work)

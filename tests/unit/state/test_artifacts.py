"""An artifact is named by its content, for ever and on both sides; a kept copy is whole or absent."""

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.errors import StateError, UsageError
from fleetctl.host import artifacts as on_the_host
from fleetctl.state import artifacts
from fleetctl.state.artifacts import KeptArtifacts, digest_of
from tests.unit.state import artifact_vector
from tests.unit.state.scene import OTHER_DIGEST, another_process, wait_until_dead


@pytest.fixture
def build(tmp_path):
    """A small build: a program and its data."""
    folder = tmp_path / "build"
    (folder / "data").mkdir(parents=True)
    (folder / "web").write_bytes(b"program" * 1000)
    (folder / "web").chmod(0o755)
    (folder / "data" / "words").write_text("a b c")
    (folder / "current").symlink_to("data/words")
    return folder


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def kept(state):
    return KeptArtifacts(state)


def tree(folder):
    """Everything below, with modes, contents and targets."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = oct(path.stat().st_mode & 0o777)
        else:
            found[name] = (oct(path.stat().st_mode & 0o777), path.read_bytes())
    return found


# The digest


def test_the_digest_of_the_known_artifact_is_the_one_that_is_written_down(tmp_path):
    folder = artifact_vector.make(tmp_path / "artifact")
    assert hashlib.sha256(artifact_vector.LISTING).hexdigest() == artifact_vector.DIGEST
    assert digest_of(folder) == artifact_vector.DIGEST
    assert on_the_host.digest_of(str(folder)) == artifact_vector.DIGEST


names = st.binary(min_size=1, max_size=4).filter(
    lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0\n")
)
trees = st.recursive(
    st.tuples(st.sampled_from([0o644, 0o755, 0o600, 0o100]), st.binary(max_size=3))
    | st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"\xe9"]), min_size=1, max_size=4).map(b"".join),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def grow(folder, entries):
    folder.mkdir()
    for name, entry in entries.items():
        place = folder / os.fsdecode(name)
        match entry:
            case dict():
                grow(place, entry)
            case bytes():
                place.symlink_to(os.fsdecode(entry))
            case (mode, content):
                place.write_bytes(content)
                place.chmod(mode)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(names, trees, min_size=1, max_size=3))
def test_both_sides_name_any_artifact_alike(drawn):
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "it")
        grow(folder, drawn)
        there = on_the_host.digest_of(str(folder))
        if there == hashlib.sha256(b"").hexdigest():
            with pytest.raises(UsageError, match="empty folder"):
                digest_of(folder)
        else:
            assert digest_of(folder) == there


def test_a_file_is_a_folder_with_one_entry_its_base_name(build, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(build / "web", alone / "web")
    assert digest_of(build / "web") == digest_of(alone)
    (alone / "web").rename(alone / "other")
    assert digest_of(alone) != digest_of(build / "web")


def test_a_link_to_the_build_is_followed_and_gives_a_file_its_own_name(build, tmp_path):
    (tmp_path / "latest").symlink_to(build)
    assert digest_of(tmp_path / "latest") == digest_of(build)
    (tmp_path / "server").symlink_to(build / "web")
    shutil.copy(build / "web", tmp_path / "copy")
    (tmp_path / "copy").rename(tmp_path / "server.copy")
    (tmp_path / "server").unlink()
    (tmp_path / "server").symlink_to("server.copy")
    followed = digest_of(tmp_path / "server")
    (tmp_path / "server").unlink()
    (tmp_path / "server.copy").rename(tmp_path / "server")
    assert digest_of(tmp_path / "server") == followed


@pytest.mark.parametrize(
    "change",
    [
        lambda build: (build / "data" / "words").write_text("a b d"),
        lambda build: (build / "data" / "words").chmod(0o755),
        lambda build: (build / "data" / "words").rename(build / "data" / "wordz"),
        lambda build: ((build / "current").unlink(), (build / "current").symlink_to("web")),
        lambda build: (build / "more").write_text(""),
    ],
)
def test_whatever_a_program_could_notice_changes_the_digest(build, change):
    before = digest_of(build)
    change(build)
    assert digest_of(build) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda build: os.utime(build / "web", (1, 1)),
        lambda build: (build / "web").chmod(0o500),
        lambda build: (build / "data" / "words").chmod(0o444),
        lambda build: (build / "empty" / "folders").mkdir(parents=True),
    ],
)
def test_times_write_bits_and_empty_folders_do_not_change_it(build, change):
    before = digest_of(build)
    change(build)
    assert digest_of(build) == before


def test_what_is_not_there_or_is_empty_is_refused(tmp_path):
    with pytest.raises(UsageError, match=f"{tmp_path}/dist can't be read: No such file or directory"):
        digest_of(tmp_path / "dist")
    (tmp_path / "dist" / "sub").mkdir(parents=True)
    with pytest.raises(UsageError, match="dist is an empty folder"):
        digest_of(tmp_path / "dist")


def test_what_is_neither_file_folder_nor_symlink_is_refused_by_its_name(build):
    os.mkfifo(build / "data" / "pipe")
    with pytest.raises(UsageError, match=r"data/pipe is neither"):
        digest_of(build)
    with pytest.raises(UsageError, match=r"data/pipe is neither"):
        digest_of(build / "data" / "pipe")
    (build / "data" / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(build / "sock"))
        with pytest.raises(UsageError, match=r"sock is neither"):
            digest_of(build)


def test_names_that_would_make_a_listing_read_two_ways_are_refused(build):
    (build / "two\nlines").touch()
    with pytest.raises(UsageError, match="line break"):
        digest_of(build)
    (build / "two\nlines").unlink()
    (build / "link").symlink_to("to a b")
    with pytest.raises(UsageError, match="spaces"):
        digest_of(build)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("hidden", ["web", "data"])
def test_an_unreadable_part_is_named(build, hidden):
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        shutil.copytree(build, Path(parent, "build"), symlinks=True)
        Path(parent, "build", hidden).chmod(0o000)

        def work(say):
            os.setgroups([])
            os.setuid(65_534)
            try:
                digest_of(Path(parent, "build"))
            except UsageError as error:
                say(error.message)

        with another_process(work) as (_, hears):
            assert hears.readline() == f"{parent}/build/{hidden} can't be read: Permission denied\n"


# Kept copies


def test_a_copy_is_the_same_without_write_bits_and_outlives_the_build(build, kept, state):
    before = tree(build)
    digest = kept.keep(build)
    shutil.rmtree(build)
    copy = kept.path(digest)
    assert copy == state / "artifacts" / digest
    assert digest_of(copy) == digest
    assert tree(copy) == {
        "current": "data/words",
        "data": "0o555",
        "data/words": ("0o444", b"a b c"),
        "web": ("0o555", b"program" * 1000),
    }
    assert tree(copy).keys() == before.keys()
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o555, 0o700)


def test_a_file_is_kept_as_a_folder_with_that_file(build, kept):
    digest = kept.keep(build / "web")
    assert [entry.name for entry in kept.path(digest).iterdir()] == ["web"]
    assert digest_of(kept.path(digest)) == digest


def test_names_that_are_no_text_are_kept_as_they_are(tmp_path, kept):
    digest = kept.keep(artifact_vector.make(tmp_path / "artifact"))
    assert digest == artifact_vector.DIGEST
    assert digest_of(kept.path(digest)) == digest
    assert not (kept.path(digest) / "nothing").exists()


def test_keeping_what_is_kept_writes_nothing(build, kept):
    copy = kept.path(kept.keep(build))
    before = (copy.stat().st_ino, copy.stat().st_ctime_ns)
    kept.keep(build)
    assert (copy.stat().st_ino, copy.stat().st_ctime_ns) == before


@pytest.mark.parametrize("damage", ["content", "missing", "mode"])
def test_a_damaged_copy_is_replaced_by_the_next_deploy(build, kept, damage):
    digest = kept.keep(build)
    web = kept.path(digest) / "web"
    web.parent.chmod(0o755)
    web.chmod(0o755)
    match damage:
        case "content":
            web.write_bytes(b"short")
        case "missing":
            web.unlink()
        case "mode":
            web.chmod(0o644)
    assert kept.keep(build) == digest
    assert digest_of(kept.path(digest)) == digest


def test_an_absent_copy_is_told_with_what_to_do(kept, state):
    for digest in (OTHER_DIGEST, "../../etc", ""):
        with pytest.raises(StateError, match="no copy of artifact") as told:
            kept.path(digest)
        assert "deploy the job again" in told.value.hint
    assert list(state.iterdir()) == []


def test_a_build_that_changes_while_it_is_copied_is_refused_and_leaves_nothing(build, kept, state, monkeypatch):
    copy = artifacts._copy

    def changing(source, into):
        (build / "web").write_bytes(b"the linker is not done")
        copy(source, into)

    monkeypatch.setattr(artifacts, "_copy", changing)
    with pytest.raises(UsageError, match="build changed while it was copied"):
        kept.keep(build)
    assert [path.name for path in (state / "artifacts").iterdir()] == [".in-use"]


def test_two_runs_that_keep_the_same_at_the_same_time_both_have_it(build, kept, state, monkeypatch):
    finish = artifacts._finish

    def overtaken(building):
        monkeypatch.setattr(artifacts, "_finish", finish)
        KeptArtifacts(state).keep(build)
        finish(building)

    monkeypatch.setattr(artifacts, "_finish", overtaken)
    digest = kept.keep(build)
    assert digest_of(kept.path(digest)) == digest
    assert sorted(path.name for path in (state / "artifacts").iterdir()) == [".in-use", digest]


def test_a_disk_that_refuses_is_told_and_nothing_is_left(build, kept, state, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(StateError, match="artifacts: No space left on device") as told:
        kept.keep(build)
    assert told.value.context == f"keeping a copy of {build}"
    assert [path.name for path in (state / "artifacts").iterdir()] == [".in-use"]


def test_only_what_is_needed_is_left(build, kept, state):
    needed, unused = kept.keep(build), kept.keep(build / "web")
    assert kept.forget_unused({needed}) == (unused,)
    assert sorted(path.name for path in (state / "artifacts").iterdir()) == [".in-use", needed]
    assert kept.forget_unused({needed}) == ()


def test_where_nothing_was_ever_kept_there_is_nothing_to_forget(kept, state):
    assert kept.forget_unused(()) == ()
    assert list(state.iterdir()) == []


def test_while_another_run_works_with_copies_none_is_removed(build, kept, state):
    """It may have kept what no release names yet."""

    def work(say):
        say(theirs.keep(build))

    theirs = KeptArtifacts(state)
    with another_process(work) as (pid, hears):
        digest = hears.readline().strip()
        assert kept.forget_unused(()) == ()
        assert kept.path(digest).is_dir()
        os.kill(pid, 9)
        wait_until_dead(pid)
        assert kept.forget_unused(()) == (digest,)


@pytest.mark.parametrize("at", ["_copy", "_finish", "_rename", "_remove"])
def test_kill_9_while_keeping_leaves_a_whole_copy_or_none_and_the_next_run_tidies(build, state, kept, monkeypatch, at):
    step = getattr(artifacts, at)

    def work(_say):
        def dying(*args):
            if at != "_remove":  # at the end: all is done but what is left over
                step(*args)
            os.kill(os.getpid(), 9)

        monkeypatch.setattr(artifacts, at, dying)
        KeptArtifacts(state).keep(build)

    with another_process(work) as (pid, _):
        wait_until_dead(pid)
    digest = digest_of(build)
    found = [path for path in (state / "artifacts").iterdir() if path.name == digest]
    assert all(digest_of(path) == digest for path in found)
    assert bool(found) == (at in ("_rename", "_remove"))
    assert kept.keep(build) == digest
    kept.forget_unused({digest})
    assert sorted(path.name for path in (state / "artifacts").iterdir()) == [".in-use", digest]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_a_plain_user_keeps_and_forgets_too(build):
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o777)
        shutil.copytree(build, Path(parent, "build"), symlinks=True)

        def work(say):
            os.setgroups([])
            os.setuid(65_534)
            kept = KeptArtifacts(Path(parent, "state"))
            digest = kept.keep(Path(parent, "build"))
            say(digest)
            say(str(kept.forget_unused(()) == (digest,)))

        with another_process(work) as (_, hears):
            assert hears.readline().strip() == digest_of(build)
            assert hears.readline().strip() == "True"

"""The file system of the root hangs: the link answers all the same, from memory, and says so."""

from __future__ import annotations

import pytest

from tests.host import fuse
from tests.host.driven import LIMIT_S, Host, RefusedError, lives, wait_until


@pytest.fixture
def mount(tmp_path):
    try:
        mounted = fuse.Mount(tmp_path / "mounted")
    except OSError as error:
        pytest.skip(str(error))
    yield mounted
    mounted.end()


@pytest.fixture
def hangable(mount, oldest_python):
    """A host whose root is on a file system that can be made to hang."""
    host = Host(mount.folder / "root", oldest_python)
    yield host
    mount.answer_again()
    host.end()


def test_a_host_whose_root_hangs_is_observed_from_memory_and_takes_no_order(hangable, mount, python):
    hangable.python = python
    hangable.run("web.0@1", "exec sleep 1000")
    before = hangable.ready("web.0@1")
    seen = hangable.report()
    mount.hang()
    before_that = hangable.link
    asked = before_that.send("observe")  # the agent sleeps over this
    for mode in ("drive", "look"):
        link = hangable.connect(mode)
        assert link.linked == {"linked": 1, "by": "agent"}
        assert (link.hello["agent"], link.hello["send"]) == (True, False)
        report = link.ask("observe")["report"]
        row = report["instances"][0]
        assert (row["phase"], row["pid"]) == ("ready", before["pid"])
        assert (report["serial"], report["artifacts"], report["guard"]) == (
            seen["serial"],
            seen["artifacts"],
            seen["guard"],
        )
        assert "has not answered for" in report["notes"][-1]
        assert "from memory" in report["notes"][-1]
        assert str(hangable.root) in report["notes"][-1]
        for order in (
            {"do": "claim", "fleet": "test", "serial": seen["serial"], "wishes": None},
            {"do": "stop", "instance": "web.0@1", "reason": "test"},
            {"do": "logs", "instance": "web.0@1", "lines": 1},
        ):
            with pytest.raises(RefusedError) as refused:
                link.ask(**order, generation=1, author="tester")
            assert refused.value.kind == "root_hangs"
            assert "findmnt" in refused.value.error["hint"]
    with pytest.raises(EOFError):  # nobody waits for an agent that sleeps
        before_that.answer(asked)
    mount.answer_again()
    wait_until(lambda: hangable.report()["notes"] == [], "the agent is back")
    with pytest.raises(EOFError):  # the agent is back, and this is not it
        link.ask("observe")
    assert hangable.row("web.0@1")["pid"] == before["pid"]
    hangable.stop("web.0@1")
    hangable.stopped("web.0@1")
    assert not lives(before["pid"])


def test_an_agent_that_has_not_noticed_yet_is_told(hangable, mount):
    """It waits for something to happen; who comes in finds that the root hangs, and gets the memory."""
    hangable.run("web.0@1", "exec sleep 1000")
    pid = hangable.ready("web.0@1")["pid"]
    hangable.report()
    mount.hang()
    link = hangable.connect()
    assert link.linked == {"linked": 1, "by": "agent"}
    report = link.ask("observe")["report"]
    assert report["instances"][0]["pid"] == pid
    assert "from memory" in report["notes"][-1]


def test_a_hung_root_without_an_agent_is_refused_with_the_remedy(hangable, mount):
    hangable.run("web.0@1", "exec sleep 1000")
    hangable.ready("web.0@1")
    hangable.kill_all_of_ours()
    mount.hang()
    link = hangable.connect()
    assert link.hello["error"]["kind"] == "root"
    assert "its file system hangs" in link.hello["error"]["message"]
    assert "findmnt" in link.hello["error"]["hint"]
    assert link.process.wait(LIMIT_S) == 1
    mount.answer_again()
    wait_until(lambda: hangable.row("web.0@1")["phase"] == "ready")

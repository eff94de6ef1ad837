"""Probes: what is asked of a page, a port and a command, and what a prober that hangs or is broken does not do."""

from __future__ import annotations

import resource
import sys
import time

import pytest

from fleetctl.host.page import BODY_BYTES_MAX, Malformed, Page, judge, metric, number
from tests.host.driven import children, free_port, lives, wait_until

SERVER = """
import http.server, os, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, mood, text = open("page").read().split(None, 2)
        self.send_response(int(status)); self.send_header("X-Mood", mood); self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""


def probe(kind: str, **changes):
    found = {"kind": kind, "interval_s": 0.05, "timeout_s": 5.0, "failures": 1, "successes": 1, "grace_s": 0.0}
    return {**found, **changes}


# A page


def page_of(content: bytes, *, ended: bool = False, piece: int = 1) -> Page:
    found = Page()
    for place in range(0, len(content), piece):
        found.feed(content[place : place + piece])
    if ended:
        found.feed(b"")
        found.end()
    return found


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n0\r\n\r\n\r\n3\r\nend\r\n0\r\nTrailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_page_is_whole_when_its_length_its_chunks_or_its_end_say_so(piece):
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
    assert not page_of(sized[:-1], piece=piece).whole
    assert page_of(sized, piece=piece).body == b"body"
    assert page_of(b"HTTP/1.1 100 Continue\r\n\r\n" + sized, piece=piece).whole
    chunked = page_of(CHUNKED, piece=piece)
    assert (chunked.whole, bytes(chunked.body)) == (True, b"0\r\n\r\nend")
    assert not page_of(CHUNKED[:-20], ended=True, piece=piece).whole
    open_ended = b"HTTP/1.0 200 OK\r\n\r\nuntil the end"
    assert not page_of(open_ended, piece=piece).whole
    assert page_of(open_ended, ended=True, piece=piece).whole
    assert page_of(b"HTTP/1.1 204 Fine\r\n\r\n", piece=piece).whole


def test_a_page_without_an_end_is_read_no_further_than_its_bound():
    found = page_of(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3 * BODY_BYTES_MAX, piece=65536)
    assert found.whole
    assert len(found.body) == BODY_BYTES_MAX
    with pytest.raises(Malformed):
        page_of(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, piece=65536)
    with pytest.raises(Malformed):
        page_of(b"SSH-2.0-OpenSSH\r\n")


def test_numbers_that_are_none_of_http_are_malformed_and_neither_a_yes_nor_an_error_of_ours():
    with pytest.raises(Malformed):
        page_of("HTTP/1.1 2²0 Fine\r\n\r\n".encode("latin-1"))
    assert not page_of("HTTP/1.1 200 OK\r\nContent-Length: ²\r\n\r\nbody".encode("latin-1")).whole
    for size in (b"", b"-5", b"+5", b"0x5", b"1_0"):
        with pytest.raises(Malformed):
            page_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % size)


def test_status_header_and_body_are_each_asked_for():
    found = page_of(b"HTTP/1.1 503 Busy\r\nX-Mood: fine\r\nx-mood: very\r\nContent-Length: 5\r\n\r\nhello")
    assert judge(found, {}) == (False, "answered 503")
    busy = {"status": [500, 599]}
    assert judge(found, busy)[0]
    assert judge(found, {**busy, "header": {"X-MOOD": "fine, very"}, "body": "ell"})[0]
    assert judge(found, {**busy, "header": {"X-Mood": "bad"}}) == (
        False,
        "answered 503, but its header X-Mood is 'fine, very', without 'bad'",
    )
    assert judge(found, {**busy, "header": {"X-Other": ""}}) == (False, "answered 503, without the header X-Other")
    assert judge(found, {**busy, "body": "bye"}) == (False, "answered 503, but its page is without 'bye'")


def test_a_metric_is_found_by_its_name_with_its_labels():
    text = b'# docs 1\ndocs_total 5\ndocs{of="a b"} 7 1700000000\ndocs\t12345678901234567890\nnone NaN\n'
    found = page_of(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
    assert metric(found, "docs") == 12345678901234567890
    assert metric(found, 'docs{of="a b"}') == 7
    assert [metric(found, name) for name in ("doc", "none", "absent")] == [None, None, None]
    assert [number(text) for text in ("", " 8 of 9", "1e3", "eight")] == [None, 8, 1000.0, None]
    assert number("9" * 400) == 10**400 - 1
    assert number("9" * 401) is None


# Of a program


def test_an_http_probe_asks_for_status_header_and_body(standing):
    port = free_port()
    script = f"echo 404 fine all is well > page; exec {sys.executable} -c '{SERVER}' {port}"
    wanted = probe("http", port=port, status=[404, 404], header={"x-mood": "fin"}, body="well", failures=2)
    standing.run("page.0@1", script, ready=wanted)
    standing.ready("page.0@1")
    page = standing.folder("page.0@1") / "run" / "page"
    for content, seen in [
        ("200 fine all is well", "answered 200"),
        ("404 bad all is well", "header x-mood is 'bad'"),
        ("404 fine all is lost", "without 'well'"),
    ]:
        (page.parent / "new").write_text(content)
        (page.parent / "new").rename(page)
        standing.until("page.0@1", lambda row, seen=seen: row["phase"] == "unready" and seen in row["reason"])
    assert standing.row("page.0@1")["restarts"] == 0
    standing.stop("page.0@1")


def test_a_command_is_run_as_the_program_is_and_its_exit_decides(host):
    asked = 'echo asked; test -e fine && test "$FLEETCTL_REPLICA $MOOD $(pwd)" = "web.0 good $FLEETCTL_RUN"'
    wanted = probe("command", argv=["sh", "-c", asked])
    host.run("web.0@1", "touch fine; exec sleep 1000", env={"MOOD": "good"}, ready=wanted)
    pid = host.ready("web.0@1")["pid"]
    (host.folder("web.0@1") / "run" / "fine").unlink()
    row = host.until("web.0@1", lambda row: row["phase"] == "unready")
    assert "not ready: it exited 1" in row["reason"]
    (host.folder("web.0@1") / "run" / "fine").touch()
    assert host.ready("web.0@1")["pid"] == pid
    assert host.lines("web.0@1") == []  # what a probe says is no output of the program


HANGS = "setsid sleep 7771 & (setsid setsid sleep 7772 &) ; sleep 7773"


def test_a_probe_that_hangs_is_killed_with_its_tree_and_is_a_failure(host):
    wanted = probe("command", argv=["sh", "-c", HANGS], timeout_s=1.0, interval_s=1.5)
    host.run("web.0@1", "exec sleep 1000", ready=wanted)

    def asleep() -> list[int]:
        return [pid for pid, command in host.processes().items() if "sleep 777" in command and "sh -c" not in command]

    wait_until(lambda: len(asleep()) == 3, "a probe with its tree")
    old = asleep()
    wait_until(lambda: not any(lives(pid) for pid in old), "its tree gone")
    host.until("web.0@1", lambda row: "not ready: it did not end within 1 s: killed" in row["reason"])
    wait_until(lambda: len(asleep()) == 3, "the next one")
    old = asleep()
    host.kill(agent_of(host))  # whoever asked is dead: so is what it ran
    wait_until(lambda: not any(lives(pid) for pid in old), "its tree gone with the agent")
    host.stop("web.0@1")
    host.stopped("web.0@1")
    wait_until(lambda: not asleep(), "nothing left")


def agent_of(host) -> int:
    """The agent itself: what it forks carries the same command line."""
    return wait_until(lambda: [pid for pid in children(host.supervisor_pid()) if pid in host.role("agent")])[0]


def test_what_a_command_leaves_behind_ends_with_it(host):
    wanted = probe("command", argv=["sh", "-c", "setsid sleep 7774 & exit 0"], interval_s=0.2)
    host.run("web.0@1", "exec sleep 1000", ready=wanted)
    host.ready("web.0@1", for_s=1.0)
    left = [command for command in host.processes().values() if "sleep 7774" in command and "sh -c" not in command]
    assert len(left) <= 1


def test_a_broken_prober_is_not_a_failed_program(host):
    missing = probe("command", argv=["./no-such-probe"])
    port = free_port()
    script = f"echo 200 fine well > page; exec {sys.executable} -c '{SERVER}' {port}"
    host.run("web.0@1", "exec sleep 1000", alive={"probe": missing}, ready=missing)
    host.run("web.1@1", script, alive={"probe": probe("http", port=port, grace_s=20.0)}, ready=probe("http", port=port))
    host.run("web.2@1", "exec sleep 1000", alive={"probe": probe("command", argv=["true"])})
    host.ready("web.1@1")
    host.ready("web.2@1")
    agent = agent_of(host)
    usual = resource.prlimit(agent, resource.RLIMIT_NOFILE)
    resource.prlimit(agent, resource.RLIMIT_NOFILE, (3, usual[1]))  # no socket, no pipe
    try:
        host.until("web.1@1", lambda row: "its readiness is not known" in row["reason"])
        time.sleep(1.0)  # twenty intervals: that nothing happens can't be awaited
        rows = [host.row(f"web.{index}@1") for index in range(3)]
    finally:
        resource.prlimit(agent, resource.RLIMIT_NOFILE, usual)
    assert [row["restarts"] for row in rows] == [0, 0, 0]
    assert [row["phase"] for row in rows] == ["starting", "ready", "ready"]
    assert "its readiness is not known: it can't be run" in rows[0]["reason"]
    assert "its readiness is not known" in rows[1]["reason"]
    row = host.until("web.1@1", lambda row: "readiness" not in row["reason"])  # and it is asked again
    assert (row["phase"], row["restarts"]) == ("ready", 0)

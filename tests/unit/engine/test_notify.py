"""The notify command as a real process: what it gets, and what it can't do to us however it behaves."""

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from fleetctl.engine.notify import Hook, last_failure

FAR_S = 60.0  # no command of these tests takes so long; what waits for one gives up


@pytest.fixture
def hook(tmp_path):
    """Makes a hook of a Python program, or of any command."""

    def made(program="", *, command=None, limit_s=FAR_S):
        if command is None:
            script = tmp_path / "hook.py"
            script.write_text(f"import os, sys, time\n{program}\n")
            command = (sys.executable, "-I", "-S", str(script))
        return Hook("prod", command, tmp_path, tmp_path, limit_s)

    return made


def ending(folder, fleet="prod"):
    """How it ended, once it did."""
    path = folder / f"notify-{fleet}.json"
    awaited(path.exists)
    return json.loads(path.read_text())


def awaited(is_so):
    until = time.monotonic() + FAR_S
    while not is_so():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.01)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_it_gets_the_message_on_standard_input_and_the_fleets_name(hook, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "of the caller")
    one = hook(
        "open('got.part', 'w').write(repr((sys.stdin.read(), os.environ['FLEETCTL_FLEET'], os.environ['TOKEN'])))\n"
        "os.rename('got.part', 'got')"
    )
    assert one.send('{"version": 1}')
    assert ending(tmp_path)["how"] == "exit 0"
    assert (tmp_path / "got").read_text() == repr(('{"version": 1}', "prod", "of the caller"))
    assert last_failure(tmp_path, "prod") is None


def test_no_message_and_no_command_shows_in_a_list_of_processes(hook, tmp_path):
    one = hook("open('pid', 'w').write(str(os.getppid())); os.rename('pid', 'watcher'); time.sleep(600)", limit_s=20.0)
    assert one.send("the secret is out")
    awaited((tmp_path / "watcher").exists)
    watcher = Path("/proc") / (tmp_path / "watcher").read_text() / "cmdline"
    seen = watcher.read_bytes()
    assert b"notify.py" in seen
    assert b"secret" not in seen
    assert b"hook.py" not in seen


@pytest.mark.parametrize(
    ("program", "how", "said"),
    [
        ("sys.exit(3)", "exit 3", ""),
        ("sys.stderr.write('no such channel'); sys.exit(1)", "exit 1", "no such channel"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9", ""),
        ("os.close(0); sys.exit(4)", "exit 4", ""),
    ],
)
def test_how_it_fails_is_kept_for_the_next_run_to_tell(hook, tmp_path, program, how, said):
    hook(program).send("{}" * 100_000)
    assert ending(tmp_path)["how"] == how
    failure = last_failure(tmp_path, "prod")
    assert failure is not None
    assert (failure.how, failure.stderr) == (how, said)
    assert abs(failure.at_wall - time.time()) < FAR_S
    assert f": {how}" in str(failure)
    assert last_failure(tmp_path, "other") is None


def test_once_it_works_again_its_failure_is_forgotten(hook, tmp_path):
    hook("sys.exit(3)").send("{}")
    awaited(lambda: last_failure(tmp_path, "prod") is not None)
    hook("").send("{}")
    awaited(lambda: last_failure(tmp_path, "prod") is None)


def test_one_that_hangs_is_killed_with_all_that_it_started(hook, tmp_path):
    one = hook(
        "child = os.fork()\n"
        "if not child: time.sleep(600)\n"
        "open('pids', 'w').write(f'{os.getpid()} {child}'); os.rename('pids', 'both'); time.sleep(600)",
        limit_s=5.0,
    )
    assert one.send("{}")
    assert not (tmp_path / "notify-prod.json").exists(), "the run does not wait for its end"
    assert ending(tmp_path)["how"] == "killed after 5 s"
    for pid in (tmp_path / "both").read_text().split():
        awaited(lambda pid=pid: is_gone(int(pid)))


def test_what_it_leaves_behind_has_the_same_time(hook, tmp_path):
    one = hook(
        "child = os.fork()\n"
        "if child: open('pid', 'w').write(str(child)); os.rename('pid', 'left'); os._exit(0)\n"
        "time.sleep(600)",
        limit_s=6.0,
    )
    assert one.send("{}")
    assert ending(tmp_path)["how"] == "exit 0", "it ended well, and that is told at once"
    awaited(lambda: is_gone(int((tmp_path / "left").read_text())))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_megabyte_of_output_is_thrown_away_but_for_the_last_of_it(hook, tmp_path, stream):
    hook(f"sys.{stream}.write('x' * 1_000_000 + 'the end'); sys.{stream}.flush(); sys.exit(1)").send("{}")
    kept = ending(tmp_path)["stderr"]
    assert kept == ("" if stream == "stdout" else "x" * 2041 + "the end")


def test_one_that_ignores_every_signal_but_one_is_killed(hook, tmp_path):
    ignore = "import signal\nfor one in (1, 2, 15): signal.signal(one, signal.SIG_IGN)\ntime.sleep(600)"
    hook(ignore, limit_s=1.0).send("{}")
    assert ending(tmp_path)["how"] == "killed after 1 s"


def test_a_command_that_is_not_there_is_named(hook, tmp_path):
    assert hook(command=("./tell",)).send("{}")
    assert ending(tmp_path)["how"] == "not found: ./tell"


def test_a_command_that_may_not_be_executed_is_named(hook, tmp_path):
    (tmp_path / "tell").write_text("#!/bin/sh\n")
    (tmp_path / "tell").chmod(stat.S_IRUSR)
    assert hook(command=("./tell",)).send("{}")
    assert ending(tmp_path)["how"] == "not executable: ./tell"


def test_a_folder_that_is_gone_harms_nothing(hook, tmp_path):
    gone = Hook("prod", ("true",), tmp_path / "gone", tmp_path)
    assert gone.send("{}")
    assert ending(tmp_path)["how"] == f"not found: {tmp_path / 'gone'}"


def test_where_no_process_can_be_made_it_says_so_and_the_message_is_not_lost(hook, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert not hook("").send("{}")
    assert last_failure(tmp_path, "prod").how.startswith("could not be started: ")


def test_a_state_folder_that_takes_nothing_harms_nothing(tmp_path):
    lost = Hook("prod", ("true",), tmp_path, tmp_path / "gone")
    assert lost.send("{}")
    assert last_failure(tmp_path / "gone", "prod") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"ok": false}', '{"ok": false, "at_wall": "x", "how": 1, "stderr": 2}']
)
def test_a_file_that_says_nothing_sensible_tells_nothing(tmp_path, text):
    (tmp_path / "notify-prod.json").write_text(text)
    assert last_failure(tmp_path, "prod") is None


def test_it_outlives_whoever_sent_it_and_holds_none_of_his_files(hook, tmp_path):
    """As in cron, which waits until nobody has its pipe any more."""
    waits = "while not os.path.exists('go'): time.sleep(0.02)"
    (tmp_path / "hook.py").write_text(f"import os, time\n{waits}\nopen('done', 'w')\n")
    read, write = os.pipe()
    sender = os.fork()
    if not sender:
        os.dup2(write, 1)
        os.dup2(write, 2)
        Hook("prod", (sys.executable, str(tmp_path / "hook.py")), tmp_path, tmp_path).send("{}")
        os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"", "nobody holds the pipe"
    os.close(read)
    assert not (tmp_path / "done").exists()
    (tmp_path / "go").touch()
    os.waitpid(sender, 0)
    awaited((tmp_path / "done").exists)
    assert ending(tmp_path)["how"] == "exit 0"


def test_a_ctrl_c_in_the_terminal_is_not_for_the_hook(hook, tmp_path):
    one = hook("open('pid', 'w').write(f'{os.getpgid(0)} {os.getsid(os.getppid())}'); os.rename('pid', 'ids')")
    one.send("{}")
    awaited((tmp_path / "ids").exists)
    group, session = map(int, (tmp_path / "ids").read_text().split())
    assert group not in (os.getpgid(0), 0)
    assert session != os.getsid(0)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

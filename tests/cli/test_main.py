"""Where every command begins and ends: usage, errors, interruption, and what is not even imported."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from fleetctl.cli.errors import error_lines, told
from fleetctl.cli.screen import Screen
from fleetctl.errors import ExitCode, FileError, HostError, InvalidFilesError, UsageError, YieldError

HEAVY = ("asyncssh", "sqlalchemy", "pydantic", "yaml", "jinja2", "rich", "typer", "fleetctl.engine", "fleetctl.ssh")


def test_the_version_is_told_without_importing_what_is_heavy(in_a_process):
    report = "import atexit; atexit.register(lambda: print(*sorted(sys.modules)))"
    shown = in_a_process("--version", prelude=report)
    first, modules = shown.out.splitlines()
    assert (shown.exit, first) == (0, "fleetctl 0.1.0")
    assert "fleetctl.cli.main" in modules.split()
    assert not {module for module in modules.split() if module.startswith(HEAVY)}


@pytest.mark.parametrize(
    ("argv", "told_as"),
    [
        (["deploy", "web.yml", "--forks", "5"], "not supported yet: --forks"),
        (["deploy", "web.yml", "--forks=5"], "not supported yet: --forks"),
        (["deploy", "web.yml", "-b"], "not supported yet: -b"),
        (["heal", "--json"], "not supported yet: --json"),
        (["rollback", "web"], "not supported yet: rollback"),
        (["frobnicate"], "no such command 'frobnicate'"),
        (["deploy"], "missing argument 'PLAYBOOK'"),
        (["deploy", "web.yml", "--frob"], "no such option: --frob"),
        (["logs", "web", "-n", "0"], "invalid value for '-n'"),
        (["--frob"], "no such option: --frob"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(typed, argv, told_as):
    refused = typed(*argv)
    said = json.loads(refused.out)["error"] if "--json" in argv else refused.err.removeprefix("error: ")
    assert refused.exit == 2
    assert said.startswith(told_as)


def test_without_a_command_the_help_is_shown(typed):
    shown = typed()
    assert shown.exit == 2
    assert "deploy" in shown.out


def test_help_tells_the_exit_codes(typed):
    shown = typed("--help")
    assert shown.exit == 0
    assert "130 interrupted" in " ".join(shown.out.split())


# errors


def test_an_error_says_what_where_while_doing_what_and_what_next():
    error = HostError("h3", "no space left on /srv", context="placing web.2", hint="free space there\nor cordon it")
    assert error_lines(error) == [
        "error: h3: no space left on /srv",
        "  while placing web.2",
        "  free space there",
        "  or cordon it",
    ]


def test_all_that_is_wrong_in_the_files_is_told_each_with_its_own_hint():
    errors = (
        FileError("a.yml", 3, "jobs.web", "unknown key", hint="see the README"),
        FileError("b.yml", None, "", "gone"),
    )
    assert error_lines(InvalidFilesError(errors)) == [
        "error: a.yml:3: jobs.web: unknown key",
        "  see the README",
        "error: b.yml: gone",
    ]


def test_of_errors_that_came_together_the_one_whose_code_comes_first_is_told():
    stale, wrong = YieldError("somebody else drives"), UsageError("no such job")
    together = ExceptionGroup("", [ValueError("x"), ExceptionGroup("", [HostError("h1", "gone"), stale])])
    assert told(together) is stale
    assert told(ExceptionGroup("", [stale, wrong])) is wrong


def test_what_nobody_foresaw_is_told_without_a_traceback_unless_asked_for(typed, engine):
    engine.result = ZeroDivisionError("division by zero")
    plain = typed("heal", "-i", "inv.yml")
    assert plain.exit == 1
    assert plain.err.startswith("error: fleetctl has a defect: ZeroDivisionError: division by zero\n")
    assert "Traceback" not in plain.err
    assert "Traceback" in typed("heal", "-i", "inv.yml", "--debug").err
    assert "Traceback" in typed("--debug", "heal", "-i", "inv.yml").err


def test_control_characters_in_an_error_are_spelled_out(typed, engine):
    engine.result = HostError("h1", "said \x1b[2J")
    assert "said \\x1b[2J" in typed("heal", "-i", "inv.yml").err


# interruption and pipes


def test_ctrl_c_ends_with_130_and_says_how_it_goes_on(typed, engine):
    engine.result = KeyboardInterrupt()
    interrupted = typed("heal", "-i", "inv.yml")
    assert interrupted.exit == ExitCode.INTERRUPTED
    assert interrupted.err == "interrupted; the next run goes on from there\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", [["status"], ["deploy", "web.yml"]], ids=["status", "deploy"])
def test_a_signal_in_the_middle_of_a_command_interrupts_it(here, number, command):
    """The signal comes while the command waits for a host that accepted its connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        inventory = here / "inv.yml"
        inventory.write_text(
            inventory.read_text().replace("ansible_port: 1}", f"ansible_port: {silent.getsockname()[1]}}}", 1)
        )
        argv = [sys.executable, "-c", "from fleetctl.cli.main import run; run()", *command, "-i", "inv.yml"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(30)
            connection, _ = silent.accept()
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
            connection.close()
    assert process.returncode == 130
    assert said == "interrupted; the next run goes on from there\n"


def test_an_interrupted_deploy_lets_go_of_the_lock(here):
    test_a_signal_in_the_middle_of_a_command_interrupts_it(here, signal.SIGTERM, ["deploy", "web.yml"])
    from fleetctl.clock import SystemClock
    from fleetctl.state.store import Store

    store = Store.open(here / "state", clock=SystemClock())
    with store.lock("prod", "heal"):
        [_, interrupted] = store.runs("prod", 2)
    store.close()
    assert (interrupted.command, interrupted.exit_code) == ("deploy web.yml", 130)


def test_a_reader_that_has_seen_enough_is_no_error(here):
    argv = [sys.executable, "-c", "from fleetctl.cli.main import run; run()", "--help"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""


def test_a_reader_that_went_away_stops_no_work():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as out:
        screen = Screen(out, terminal=False)
        screen.say("one")
        screen.say("two")
        with suppress(BrokenPipeError):
            out.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["lines", "json"])
def test_an_error_that_nobody_reads_has_its_exit_code(here, more):
    argv = [sys.executable, "-c", "from fleetctl.cli.main import run; run()", "status", "-i", "gone.yml", *more]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert subprocess.run(argv, check=False, stdout=writing, stderr=writing).returncode == 2
    finally:
        os.close(writing)


def test_closed_output_is_no_error(here):
    script = f"exec {sys.executable} -c 'from fleetctl.cli.main import run; run()' check web.yml -i inv.yml >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 0


def test_a_locale_that_knows_ascii_alone_stops_nothing(in_a_process, here):
    (here / "web.yml").write_text("- hosts: größe\n  jobs: {}\n")
    refused = in_a_process("check", "web.yml", "-i", "inv.yml", PYTHONIOENCODING="ascii")
    assert refused.exit == 2
    assert "gr\\xf6\\xdfe" in refused.err

"""Where every command begins and ends: arguments in, exit code out, one handler for errors and for Ctrl-C.

Imported by every command, `--version` among them: nothing heavy here.
"""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fleetctl.cli.errors import print_error
from fleetctl.cli.screen import complain
from fleetctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from types import FrameType


def run() -> NoReturn:
    """The console command `fleetctl`."""
    _treat_like_ctrl_c(signal.SIGTERM)
    _treat_like_ctrl_c(signal.SIGHUP)
    _prepare_output()
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # whoever read us has read enough
    sys.exit(code)


def _prepare_output() -> None:
    """Cron's locale may know ASCII alone; a pipe's reader sees each line when it is said; closed output is no error."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 (open until we end)
    sys.stderr = sys.stderr or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def main(argv: list[str]) -> int:
    """Runs one command and returns its exit code; whatever goes wrong is printed."""
    words = argv[: argv.index("--")] if "--" in argv else argv
    debug, as_json = "--debug" in words, "--json" in words
    arguments = [word for word in words if word != "--debug"] + argv[len(words) :]
    if arguments[:1] == ["--version"]:
        return _print_version()
    try:
        code = _command(arguments)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the one handler
        return print_error(error, as_json=as_json, debug=debug)
    if code == ExitCode.INTERRUPTED and words[:1] != ["logs"]:  # which Ctrl-C ends as a matter of course
        complain(["interrupted; the next run goes on from there"])
    return code


def _command(arguments: list[str]) -> int:
    """Raises what the command raises, mistakes in its arguments as UsageError."""
    import typer

    from fleetctl.cli.app import app

    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="fleetctl", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "fleetctl"
        message = error.format_message().rstrip(".")
        raise UsageError(message[:1].lower() + message[1:], hint=f"see: {where} --help") from error
    return int(code or 0)


def _print_version() -> int:
    """Before any option is parsed: typer itself takes a while to load."""
    from importlib.metadata import version

    sys.stdout.write(f"fleetctl {version('fleetctl')}\n")
    return ExitCode.AS_WISHED


def _treat_like_ctrl_c(number: signal.Signals) -> None:
    """Whatever Ctrl-C does now, event loops included. One that is ignored (nohup) stays so."""
    if signal.getsignal(number) is signal.SIG_IGN:
        return

    def interrupt(_number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    signal.signal(number, interrupt)

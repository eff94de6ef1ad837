"""`python -m tests [LAYER…]`: runs the layers one after another and says how each ended and how long it took.

Every layer is a process of its own, some are two or three side by side. `--soak` adds the larger numbers.
`python -m tests fleet` keeps the compose fleet up for a person until Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).parents[1]
LAYERS = ("unit", "property", "sim", "cli", "host", "ssh", "e2e", "vm")  # from arguments to real time, as they build up
LINT = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("lint-imports",),
    ("vermin", "-t=3.6-", "--violations", "--no-tips", "fleetctl/host"),
)
LONGEST_S = 50 * 60  # a layer that hangs is ended, so that a run says which one it was; a busy machine takes its time
LONGEST_SOAK_S = 120 * 60
# These files run beside the layer's others: two cores are expected, and hosts are mostly waited for. Not in a soak,
# whose figures are told.
BESIDE = {
    "unit": (("engine/test_*",),),
    "property": (("test_plans", "test_verdicts"),),
    "sim": (("test_observer",),),
    "host": (("test_[bfhnpuw]*", "test_status_whole"), ("test_chaos", "test_limits", "test_logs*", "test_survival")),
    "ssh": (("test_c[hl]*", "test_killed_*", "test_notify", "test_stopped", "test_take_over", "test_watch"),),
    "e2e": (("test_readme",), ("test_strange_*", "test_conformance", "test_load", "test_watch")),
    "vm": (("test_boot*", "test_limits*"),),
}
SKIPPED = 3  # how tests.e2e.image and tests.vm.image end where hosts can't be had
ON_AN_IMAGE = ("e2e", "vm")


@dataclass(frozen=True, slots=True)
class Outcome:
    layer: str
    word: str
    seconds: float
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.layer:10}{self.word:9}{self.seconds:7.1f} s  {self.reason}".rstrip()


class Image:
    """The image of a layer's hosts, made beside the layers that need no hosts."""

    def __init__(self, layer: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.{layer}.image"],
            cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @cache  # noqa: B019 - one image a run
    def missing(self) -> tuple[str, str] | None:
        """Waits until it is made; ("skipped" or "FAILED", why) where it can't be."""
        said = self._process.communicate(timeout=LONGEST_S)[0].strip()
        if self._process.returncode == 0:
            return None
        may_skip = self._process.returncode == SKIPPED and os.environ.get("CI") != "true"
        return ("skipped" if may_skip else "FAILED", said)


def run(*commands: Sequence[str], longest_s: float = LONGEST_S) -> bool:
    """Whether all commands succeeded, side by side, within the time a layer has.

    The first is heard as it goes on, the others once they have ended.
    """
    with ExitStack() as stack:
        heard = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        processes = [
            stack.enter_context(subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, **told))
            for argv, told in zip(commands, ({}, *({"stdout": file, "stderr": file} for file in heard)), strict=True)
        ]
        deadline = time.monotonic() + longest_s
        try:
            succeeded = [process.wait(max(0.0, deadline - time.monotonic())) == 0 for process in processes]
        except subprocess.TimeoutExpired as late:
            print(f"{' '.join(late.cmd)}: not done after {longest_s / 60:.0f} minutes: ended", flush=True)
            succeeded = [False]
        finally:  # also by Ctrl-C or kill: the layer takes down what it put up, then so do we
            end([process for process in processes if process.poll() is None])
            for file in heard:
                file.seek(0)
                sys.stdout.write(file.read().decode(errors="replace"))
            sys.stdout.flush()
        return all(succeeded)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGINT)  # pytest ends the fixtures of the test it is at; SIGTERM would leave them
    for process in processes:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def lint() -> bool:
    results = []
    for name, *arguments in LINT:
        print(f"$ {name} {' '.join(arguments)}", flush=True)
        results.append(run((str(Path(sys.executable).with_name(name)), *arguments)))
    return all(results)


def parts_of(layer: str) -> list[list[str]]:
    """The files of a layer, by what runs beside what; every file is in one part."""
    folder = REPOSITORY / "tests" / layer
    beside = [
        sorted(str(path) for pattern in part for path in folder.glob(f"{pattern}.py")) for part in BESIDE.get(layer, ())
    ]
    if not any(beside):
        return [[str(folder)]]
    chosen = {path for part in beside for path in part}
    return [sorted(str(path) for path in folder.rglob("test_*.py") if str(path) not in chosen), *filter(None, beside)]


def layer(name: str, image: Image | None, *, soak: bool) -> Outcome:
    begun = time.monotonic()
    print(f"\n=== {name}", flush=True)
    if image and (missing := image.missing()):
        return Outcome(name, missing[0], time.monotonic() - begun, missing[1])
    if name == "lint":
        passed = lint()
    else:
        choice = () if soak else ("-m", "not soak")
        longest_s = LONGEST_SOAK_S if soak else LONGEST_S
        parts = [[f"tests/{name}"]] if soak else parts_of(name)
        passed = run(*((sys.executable, "-m", "pytest", "-q", *part, *choice) for part in parts), longest_s=longest_s)
    return Outcome(name, "passed" if passed else "FAILED", time.monotonic() - begun)


def layers(chosen: list[str], *, soak: bool) -> list[Outcome]:
    images = {name: Image(name) for name in ON_AN_IMAGE if name in chosen}
    outcomes = []
    for name in chosen:
        if name in ("host", "ssh"):
            for image in images.values():
                image.missing()  # what measures real time does not share the cores with it
        outcomes.append(layer(name, images.get(name), soak=soak))
    return outcomes


def main(arguments: list[str]) -> int:
    soak = "--soak" in arguments
    asked = [argument for argument in arguments if argument != "--soak"]
    there = ["lint", *(name for name in LAYERS if (REPOSITORY / "tests" / name).is_dir())]
    if asked == ["fleet"]:
        os.chdir(REPOSITORY)
        os.execv(sys.executable, [sys.executable, "-m", "tests.e2e.by_hand"])  # Ctrl-C and kill are its own
    if unknown := [name for name in asked if name not in there]:
        print(f"no such layer: {', '.join(unknown)}; there are: {', '.join(there)}", file=sys.stderr)
        return 2
    chosen = [name for name in there if name in asked or not asked]
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    outcomes = layers(chosen, soak=soak)
    print("\n=== summary", *outcomes, sep="\n", flush=True)
    return int(any(outcome.word == "FAILED" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

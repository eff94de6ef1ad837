"""The virtual machine's image: `python -m tests.vm.image` makes it, so that it is there when the tests begin.

Made once for each recipe and qemu, and kept outside the repository. Raises `Unavailable` with the reason where a
machine can't be had.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm import qemu, recipe
from tests.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

UNAVAILABLE = 3  # exit status where a machine can't be had at all, in contrast to a build that failed
UNUSED_S = 30 * 86400
REPOSITORY = Path(__file__).parents[2]
SBIN = ":/usr/sbin:/sbin"


class Unavailable(Exception):  # noqa: N818 - a reason to skip, not a fault
    """No virtual machine can be had here, and why."""


def kept() -> Path:
    """Where images are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleetctl-tests"


def folder() -> Path:
    """Where the image of this recipe, for this qemu, belongs; whether it is there or not."""
    if shutil.which(qemu.PROGRAM) is None:
        raise Unavailable(f"no {qemu.PROGRAM} on PATH")
    if shutil.which("qemu-img") is None:
        raise Unavailable("no qemu-img on PATH")
    if platform.machine() != "x86_64":
        raise Unavailable(f"the recipe is for x86_64, not {platform.machine()}")
    version = subprocess.run([qemu.PROGRAM, "--version"], capture_output=True, check=True, timeout=60).stdout
    sources = (Path(file).read_bytes() for file in (recipe.__file__, qemu.__file__))
    return kept() / f"vm-{hashlib.sha256(b'|'.join([version, *sources])).hexdigest()[:16]}"


def ensure() -> Path:
    """The image's folder: vm.img, ready.qcow2 with ready.state (booted, logged in once), kernel, initrd and keys."""
    made = folder()
    kept().mkdir(parents=True, exist_ok=True)
    with one_at_a_time(made.with_suffix(".lock")):
        if made.exists():
            os.utime(made)
            return made
        as_root = () if os.geteuid() == 0 else ("sudo", "-n", "--preserve-env")
        if as_root and (shutil.which("sudo") is None or not _succeeds("sudo", "-n", "true")):
            raise Unavailable("the image is not there, and only root can make it")
        for needed in ("mmdebstrap", "mkfs.ext4", "ssh-keygen"):
            if shutil.which(needed, path=os.environ.get("PATH", "") + SBIN) is None:
                raise Unavailable(f"the image is not there, and {needed} is not installed")
        beside = Path(tempfile.mkdtemp(prefix="vm-making-", dir=kept()))
        try:
            recipe.run(*as_root, sys.executable, "-m", "tests.vm.recipe", str(beside), cwd=REPOSITORY)
            save_ready(beside)
            beside.rename(made)
            _forget_unused()
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return made


def save_ready(image: Path) -> None:
    """Boots it once, logs in as root and as ops, runs what every test will run, and saves all of it."""
    machine = Machine.boot(image)
    try:
        for user in ("root", "ops"):
            machine.run("python3 -I -S -E -c 'import json, os, select, socket, zlib'", user)
            machine.log_out(user)
        machine.wait_until("test -z \"$(loginctl list-sessions --no-legend | grep -v ' root ')\"", "ops is logged out")
        machine.run("sync")
        machine.log_out("root")
        machine.save(image / "ready.qcow2", image / "ready.state")
    finally:
        machine.end()


def _forget_unused() -> None:
    """Images of older recipes that nothing has asked for in a month."""
    for path in kept().glob("vm-*"):
        if path.is_dir() and path.stat().st_mtime < time.time() - UNUSED_S:
            shutil.rmtree(path, ignore_errors=True)


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Two test runs on one machine make an image once, not twice."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        print(ensure())
    except Unavailable as reason:
        print(reason)
        sys.exit(UNAVAILABLE)

"""The image of a test host: `python -m tests.e2e.image` makes it, so that it is there when the tests begin.

Knows the Docker engine and nothing of fleetctl. Raises `Unavailable` with the reason where hosts can't be had.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
BASE = "debian:bookworm-slim"
HOST = "fleetctl-test-host"
UNAVAILABLE = 3  # exit status where hosts can't be had at all, in contrast to a build that failed


class Unavailable(Exception):  # noqa: N818 - a reason to skip, not a fault
    """This machine can't run the test hosts, and why."""


def command(
    *argv: str, timeout_s: float = 60, stdin: str = "", env: dict[str, str] | None = None, exit_code: int = 0
) -> str:
    """What `argv` printed; another exit than `exit_code` raises, and tells all it said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=env, check=False)
    if done.returncode != exit_code:
        raise RuntimeError(f"{' '.join(argv[:8])}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def succeeds(*argv: str, timeout_s: float = 60) -> bool:
    try:
        command(*argv, timeout_s=timeout_s)
    except (OSError, RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


def compose() -> tuple[str, ...]:
    """`docker compose` (version 2) or `docker-compose` (1.29): whichever is there."""
    if shutil.which("docker") is None:
        raise Unavailable("no docker on PATH")
    if not succeeds("docker", "info"):
        raise Unavailable("docker's engine does not answer `docker info`")
    if succeeds("docker", "compose", "version"):
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise Unavailable("neither `docker compose` nor `docker-compose` is there")


def ensure_base() -> None:
    """Debian bookworm is there: pulled, or made by debootstrap where nothing can be pulled."""
    with _one_at_a_time():
        if succeeds("docker", "image", "inspect", BASE) or succeeds("docker", "pull", "-q", BASE, timeout_s=300):
            return
        if shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            raise Unavailable(f"{BASE} can't be pulled and debootstrap is not installed")
        as_root = () if os.geteuid() == 0 else ("sudo", "-n")
        command(*as_root, str(FOLDER / "base_image"), timeout_s=600)


def ensure() -> None:
    """The test host's image is there and as its Dockerfile says."""
    compose()
    ensure_base()
    proxies = [f"--build-arg={name}" for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ]
    with _one_at_a_time():
        command("docker", "build", "-q", "-t", HOST, *proxies, str(FOLDER / "host"), timeout_s=600)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two test runs on one machine make an image once, not twice."""
    with Path(tempfile.gettempdir(), f"fleetctl-test-image.{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        ensure()
    except Unavailable as reason:
        print(reason)
        sys.exit(UNAVAILABLE)

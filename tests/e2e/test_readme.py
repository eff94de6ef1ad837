"""What README says works on a bare machine: Debian with python3, python3-venv and git, and nothing else."""

import io
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.e2e import image
from tests.e2e.image import command
from tests.e2e.machines import REPOSITORY

BARE = "fleetctl-test-bare"
BARE_FILE = f"""\
FROM {image.BASE}
ARG http_proxy
ARG https_proxy
RUN apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv git \\
 && apt-get clean && rm -rf /var/lib/apt/lists/*
"""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # this machine's may know a registry that Debian's does not
ELSEWHERE = ("/proc", "/sys", "/dev", "/checkout", "/root/.cache")  # not looked through for what a run leaves behind


def readme_command(word):
    """The one line of README that begins at a bare checkout and ends in `word`."""
    lines = re.findall(r"^python3 -m venv \.venv && .*$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    (line,) = [line for line in lines if line.endswith(word)]
    return line


class Bare:
    """A fresh container with a checkout of the working tree in it."""

    def __init__(self, container):
        self.container = container

    def sh(self, script, timeout_s=60, exit_code=0):
        run = ("docker", "exec", "-w", "/checkout", self.container, "sh", "-c", script)
        return command(*run, timeout_s=timeout_s, exit_code=exit_code)

    def files(self):
        pruned = " ".join(f"-path {path} -prune -o" for path in ELSEWHERE)
        return set(self.sh(f"find / -xdev {pruned} -type f -print -o -type s -print -o -type p -print").splitlines())

    def processes(self):
        rows = self.sh("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null; echo; done").splitlines()
        return sorted(row.strip() for row in rows if row.strip() and "/proc/[0-9]*" not in row)


def checkout():
    """The working tree as git would hand it over, uncommitted changes and all."""
    listing = ("git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in command(*listing).split("\0"):
            if name and (REPOSITORY / name).exists():
                archive.add(REPOSITORY / name, f"checkout/{name}")
    return packed.getvalue()


def handed_in():
    """This machine's certificates and pip settings: how its registry is reached."""
    options = []
    if Path(CERTIFICATES).exists():
        options += ["-v", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
        options += [option for name in ("PIP_CERT", "SSL_CERT_FILE") for option in ("-e", f"{name}={CERTIFICATES}")]
    if Path("/etc/pip.conf").exists():
        options += ["-v", "/etc/pip.conf:/etc/pip.conf:ro"]
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if wheels.startswith("/") and Path(wheels).is_dir():
        options += ["-v", f"{wheels}:{wheels}:ro"]
    names = (
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_DEFAULT_TIMEOUT",
        "http_proxy",
        "https_proxy",
    )
    return options + [option for name in names if name in os.environ for option in ("-e", name)]


def contention_s():
    """For how long, since this machine booted, somebody waited for a core; 0 where the kernel does not count that."""
    pressure = Path("/proc/pressure/cpu")
    return int(pressure.read_text().split("total=")[1].split()[0]) / 1e6 if pressure.exists() else 0.0


@pytest.fixture(scope="module")
def bare(_engine):
    image.ensure_base()
    proxies = [f"--build-arg={name}" for name in ("http_proxy", "https_proxy") if name in os.environ]
    command("docker", "build", "-q", "-t", BARE, *proxies, "-", stdin=BARE_FILE, timeout_s=600)
    container = command("docker", "run", "-d", "--init", "--rm", *handed_in(), BARE, "sleep", "infinity").strip()
    try:
        subprocess.run(["docker", "cp", "-", f"{container}:/"], input=checkout(), check=True, capture_output=True)
        yield Bare(container)
    finally:
        command("docker", "kill", container)


def test_the_demo_runs_whole_and_leaves_nothing(bare, figure):
    install, _, demo = readme_command("fleetctl demo").rpartition(" && ")
    bare.sh(install, timeout_s=600)
    files, processes = bare.files(), bare.processes()

    begun, contended_s = time.monotonic(), contention_s()
    told = bare.sh(demo, timeout_s=240)
    seconds, contended_s = time.monotonic() - begun, contention_s() - contended_s
    figure("s for the demo in a bare container", seconds)
    figure("s of these in which somebody waited for a core", contended_s)

    assert told.strip()
    assert seconds - contended_s < 30
    assert bare.processes() == processes
    assert {path for path in bare.files() - files if not path.endswith(".pyc")} == set()


def test_the_unit_and_cli_tests_pass(bare):
    tests = readme_command("-m tests")
    told = bare.sh(f"{tests} unit cli", timeout_s=1200)
    assert re.search(r"^unit +passed", told, re.MULTILINE), told
    assert re.search(r"^cli +passed", told, re.MULTILINE), told


@pytest.mark.soak
def test_all_that_needs_no_docker_passes_and_the_rest_is_named_as_skipped(bare):
    told = bare.sh(readme_command("-m tests"), timeout_s=3600)
    assert re.search(r"^e2e +skipped .*no docker on PATH", told, re.MULTILINE), told

"""Hosts for the tests of the host program: real processes under every Python that has to do."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.host.driven import Host

NOBODY = 65534
PYTHONS = [Path(sys.executable).resolve()]
PYTHONS += sorted((Path.home() / ".pyenv/versions").glob("3.6*/bin/python3.6"))[:1]


@pytest.fixture(params=[str(python) for python in PYTHONS], ids=[python.name for python in PYTHONS])
def python(request):
    return request.param


@pytest.fixture
def oldest_python():
    return str(PYTHONS[-1])


@pytest.fixture
def host(tmp_path, python):
    """A host with nothing on it yet."""
    driven = Host(tmp_path / "root", python)
    yield driven
    dispose(driven)


@pytest.fixture
def plain_host(tmp_path_factory):
    """A host whose login is a plain user: where root runs the tests, and there is a python3 that anyone may run."""
    if os.getuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root and /usr/bin/python3")
    home = Path(tempfile.mkdtemp(prefix="fleetctl-plain-", dir="/tmp"))
    os.chown(home, NOBODY, NOBODY)
    driven = Host(home / "root", "/usr/bin/python3")
    driven.uid = NOBODY
    yield driven
    dispose(driven)
    home.rmdir()


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """One host for all tests of a file that change nothing on it."""
    driven = Host(tmp_path_factory.mktemp("standing") / "root", str(PYTHONS[-1]))
    yield driven
    dispose(driven)


def dispose(driven: Host) -> None:
    driven.end()
    if driven.root is not None and driven.root.exists():
        for path in driven.root.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(driven.root)

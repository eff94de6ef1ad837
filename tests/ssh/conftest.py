"""A fleet of embedded hosts for each test that asks for one, and coroutine functions as tests."""

import asyncio
import inspect
import os
from pathlib import Path

import pytest

from fleetctl.embedded.fleet import EmbeddedFleet

TEST_S = 240  # a test that takes longer hangs, on a busy machine too


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), TEST_S))
    return True


@pytest.fixture
def fleet_of(tmp_path):
    """`async with fleet_of(3) as fleet`."""
    return lambda count=1, **options: EmbeddedFleet(tmp_path / "f", count=count, **options)


@pytest.fixture(autouse=True)
def _no_keys_of_this_user(monkeypatch, tmp_path):
    """Neither keys nor agent of whoever runs the tests decide about them."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def artifact(tmp_path):
    """A folder with everything an artifact may hold."""
    folder = tmp_path / "artifact"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "run").write_text("#!/bin/sh\nexec sleep 1000\n")
    (folder / "run").chmod(0o755)
    (folder / "deep" / "data").write_bytes(os.urandom(3_000_000))
    (folder / "deep" / "data").chmod(0o600)
    (folder / "deep" / "er" / "empty").touch()
    (folder / "name with space, ü and 'quote'").write_text("x")
    Path(os.fsdecode(os.fsencode(folder) + b"/odd\xff")).mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/odd\xff/file")).write_text("y")
    (folder / "current").symlink_to("deep/er")
    (folder / "dangling").symlink_to("/nowhere/at/all")
    return folder

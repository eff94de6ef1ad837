"""A fleet of embedded hosts for each test that asks for one, and coroutine functions as tests."""

import asyncio
import inspect

import pytest

from fleetctl.embedded.fleet import EmbeddedFleet

TEST_S = 60  # a test that takes longer hangs


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

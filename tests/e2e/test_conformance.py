"""OpenSSH hosts keep what every host keeps: the suite that the modelled and the embedded fleet pass too."""

import asyncio

import pytest

from tests.conformance.compose import ComposeHosts
from tests.conformance.suite import PROMISES, keep, name_of


@pytest.fixture(scope="module")
def wiped(_running_machines):
    _running_machines.reset()
    return _running_machines


@pytest.fixture
def hosts(wiped, tmp_path):
    hosts = ComposeHosts(wiped, tmp_path)
    yield hosts
    if not hosts.whole:
        wiped.mend()


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_a_compose_host(promise, hosts):
    asyncio.run(keep(promise, hosts))

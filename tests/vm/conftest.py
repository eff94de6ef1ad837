"""Virtual machines for the tests: thawed once for a file, or one of a test's own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.vm import image
from tests.vm.host import VmHost
from tests.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_configure() -> None:
    """A run that is told to end still ends its machines."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def vm_image() -> Path:
    """The image is there; else the tests are skipped by name, and fail where CI=true."""
    try:
        return image.ensure()
    except image.Unavailable as reason:
        told = f"no virtual machine can be had here: {reason}"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)


@pytest.fixture(scope="module")
def machine(vm_image: Path) -> Iterator[Machine]:
    """A machine for all tests of a file, each of which leaves it as it should be found."""
    machine = Machine.thaw(vm_image)
    yield machine
    machine.end()


@pytest.fixture
def fresh_machine(vm_image: Path) -> Iterator[Machine]:
    """A machine of this test alone, whose disk outlives the power."""
    machine = Machine.thaw(vm_image, lasting=True)
    yield machine
    machine.end()


@pytest.fixture
def root_host(machine: Machine) -> Iterator[VmHost]:
    """The host program there, driven as root; nothing is left of it afterwards."""
    host = VmHost(machine)
    yield host
    host.end()


@pytest.fixture
def ops_host(machine: Machine) -> Iterator[VmHost]:
    """The host program there, driven as a plain user."""
    host = VmHost(machine, "ops")
    yield host
    host.end()


@pytest.fixture
def fresh_host(fresh_machine: Machine) -> Iterator[VmHost]:
    """The host program as root on a machine of this test alone."""
    host = VmHost(fresh_machine)
    yield host
    host.forget_links()

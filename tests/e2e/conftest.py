"""Fixtures of the compose fleet: machines once per run, a fresh fleet on them per test, and figures at the end."""

from __future__ import annotations

import os
import signal
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.image import Unavailable, compose
from tests.e2e.machines import HOSTS, Machines
from tests.e2e.steady import Steady, SteadyFleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIGURES: dict[str, list[float]] = {}


def pytest_configure() -> None:
    """A run that is told to end still takes its hosts down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def _engine() -> None:
    """Docker and compose are there; else the tests are skipped by name, and fail where CI=true."""
    try:
        compose()
    except Unavailable as reason:
        _unavailable(reason)


def _unavailable(reason: Unavailable) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"the test hosts can't be had here: {reason}")
    pytest.skip(f"the test hosts can't be had here: {reason}")


@pytest.fixture(scope="session")
def _running_machines(_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    try:
        machines = Machines.up(tmp_path_factory.mktemp("machines"))
    except Unavailable as reason:
        _unavailable(reason)
        raise
    try:
        yield machines
    finally:
        machines.down()


@pytest.fixture
def machines(_running_machines: Machines) -> Machines:
    """Five hosts as they were first booted, whatever the test before did to them."""
    _running_machines.reset()
    return _running_machines


@pytest.fixture
def fleet(machines: Machines, tmp_path: Path) -> Fleet:
    """All five hosts under one inventory, empty."""
    return Fleet(machines, tmp_path, HOSTS)


@pytest.fixture
def one_host(machines: Machines, tmp_path: Path) -> Fleet:
    """A fleet of h1 alone."""
    return Fleet(machines, tmp_path, ("h1",))


@pytest.fixture(scope="module")
def _steady(_running_machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Steady:
    return Steady(_running_machines, tmp_path_factory)


@pytest.fixture
def steady(_steady: Steady) -> Iterator[SteadyFleet]:
    """Five replicas of `web` on five hosts, all as wished. One deployment serves all tests of a file that leave it so.

    Each test breaks hosts of its own (`untouched`); they are mended for it.
    """
    fleet = _steady.fleet()
    yield fleet
    fleet.machines.mend()


@pytest.fixture
def figure() -> Callable[[str, float], None]:
    """Keeps a measured number; the run ends by printing the least, the median and the most of each."""

    def note(name: str, value: float) -> None:
        FIGURES.setdefault(name, []).append(value)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures (least / median / most)")
    for name, values in sorted(FIGURES.items()):
        spread = f"{min(values):.1f} / {median(values):.1f} / {max(values):.1f}"
        terminalreporter.line(f"{name}: {spread}, {len(values)} measured")

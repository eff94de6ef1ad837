"""One deployment that many tests look at, each of which leaves it as it was: deploying is most of a test's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.fleet import Fleet

if TYPE_CHECKING:
    import pytest

    from tests.e2e.machines import Machines


class SteadyFleet(Fleet):
    """A fleet of five replicas on five hosts, and which of the hosts no test has broken yet."""

    def deploy_all(self) -> None:
        self.deployed(replicas=5)
        self.whole = list(self.hosts)

    def untouched(self) -> str:
        """A host nothing has happened to so far: what befell one before would be held against it."""
        return self.whole.pop(0)

    def is_as_wished(self) -> bool:
        return self.heal().exit == 0 and len(self.programs()) == 5


class Steady:
    """Deploys anew only where the test before left something else than it found, or no host untouched."""

    HOSTS_NEEDED = 2  # by any one test

    def __init__(self, machines: Machines, folders: pytest.TempPathFactory) -> None:
        self._machines, self._folders = machines, folders
        self._fleet: SteadyFleet | None = None

    def fleet(self) -> SteadyFleet:
        fleet = self._fleet
        if fleet is None or len(fleet.whole) < self.HOSTS_NEEDED or not fleet.is_as_wished():
            self._machines.reset()
            fleet = SteadyFleet(self._machines, self._folders.mktemp("steady"))
            fleet.deploy_all()
            self._fleet = fleet
        return fleet

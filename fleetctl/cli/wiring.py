"""Puts together what a command works with: files, store, hosts. The one place that knows which parts make a run.

It decides nothing: every function here loads, opens, calls the engine once and closes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from fleetctl.cli.screen import Line
from fleetctl.clock import SystemClock
from fleetctl.config.inventory import load_inventory
from fleetctl.config.patterns import match_remaining_hosts
from fleetctl.config.playbook import load_playbook
from fleetctl.engine import read
from fleetctl.engine.follow import follow
from fleetctl.engine.forget import forget
from fleetctl.engine.links import Links
from fleetctl.engine.logs import logs
from fleetctl.engine.notify import last_failure
from fleetctl.engine.run import Means, RunResult, run
from fleetctl.engine.telling import hook_of
from fleetctl.engine.wishing import Build, Change
from fleetctl.errors import ExitCode, FleetctlError, UsageError
from fleetctl.model.host import Inventory
from fleetctl.ssh.access import Access
from fleetctl.ssh.link import open_link, redial
from fleetctl.state.artifacts import KeptArtifacts, digest_of
from fleetctl.state.chosen import VARIABLE, choose_inventory
from fleetctl.state.folder import state_folder
from fleetctl.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleetctl.config.playbook import Playbook
    from fleetctl.engine.events import Tell
    from fleetctl.engine.links import HostLink
    from fleetctl.engine.logs import TellLog, Wanted
    from fleetctl.engine.read import View
    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import Digest

T = TypeVar("T")
Mode = Literal["drive", "look"]
Report = Callable[[RunResult], list[Line]]  # what the history keeps of a run that ended


@dataclass(frozen=True, slots=True)
class OpenFleet:
    """The hosts of one inventory and what is remembered of them."""

    inventory: Inventory
    store: Store
    kept: KeptArtifacts
    state: Path  # the folder of both

    @property
    def name(self) -> str:
        return self.inventory.fleet

    def means(self, mode: Mode, tell: Tell) -> Means:
        """Call it in the event loop of the run: keys and gates belong to that."""
        access = Access()

        async def dial(host: HostSpec, on_banner: Callable[[], None]) -> HostLink:
            return await open_link(host, access, mode=mode, fleet=self.name, on_banner=on_banner)

        async def dial_again(host: HostSpec) -> HostLink:
            return await redial(host, access, mode=mode, fleet=self.name)

        eligible = partial(match_remaining_hosts, inventory=self.inventory)
        links, hook = Links(dial, dial_again, access.close), hook_of(self.inventory, self.state)
        notify = hook.send if hook is not None and mode == "drive" else None
        return Means(self.inventory, eligible, self.store, self.kept, links, SystemClock(), tell, notify)

    def untold(self) -> str:
        """How the command that tells a human failed when it was last called; empty where it worked."""
        failure = last_failure(self.state, self.name) if self.inventory.notify else None
        return str(failure or "")


def chosen_inventory(named: Path | None) -> Inventory:
    """That of `-i`, `FLEETCTL_INVENTORY` or the last deploy. Raises UsageError."""
    return load_inventory(choose_inventory(named, os.environ, _Kept(state_folder(os.environ))))


@contextmanager
def open_fleet(named: Path | None) -> Iterator[OpenFleet]:
    """The chosen inventory and its store, closed in the end. Raises UsageError, StateError."""
    inventory, folder = chosen_inventory(named), state_folder(os.environ)
    with closing(Store.open(folder, clock=SystemClock())) as store:
        yield OpenFleet(inventory, store, KeptArtifacts(folder), folder)


@contextmanager
def reopening_fleet(named: Path | None) -> Iterator[Callable[[], OpenFleet]]:
    """One store that stays open, and the inventory as it is at each call; where none is named, that of the last deploy
    by then. Raises as `open_fleet` does, each call too."""
    folder = state_folder(os.environ)
    path = choose_inventory(named, os.environ, _Kept(folder))
    fleet = load_inventory(path).fleet
    follows = named is None and not os.environ.get(VARIABLE)
    with closing(Store.open(folder, clock=SystemClock())) as store:
        kept = KeptArtifacts(folder)

        def reopen() -> OpenFleet:
            inventory = load_inventory((store.inventory_path(fleet) if follows else None) or path)
            if inventory.fleet != fleet:
                raise UsageError(f"{path} is the inventory of {inventory.fleet} by now: {fleet} is what is watched")
            return OpenFleet(inventory, store, kept, folder)

        yield reopen


@dataclass(frozen=True, slots=True)
class _Kept:
    """The inventories of earlier deploys. Where nothing was ever kept, asking makes no store."""

    folder: Path

    def fleets(self) -> tuple[str, ...]:
        return self._ask(lambda store: store.fleets()) or ()

    def inventory_path(self, fleet: str) -> Path | None:
        return self._ask(lambda store: store.inventory_path(fleet))

    def _ask(self, question: Callable[[Store], T]) -> T | None:
        if not self.folder.is_dir():
            return None
        with closing(Store.open(self.folder, clock=SystemClock())) as store:
            return question(store)


def read_playbook(path: Path, inventory: Inventory, extra_vars: Mapping[str, object]) -> Playbook:
    """Raises InvalidFilesError with all that is wrong, UsageError."""
    return load_playbook(path, inventory, extra_vars)


def wished_by(playbook: Playbook, name_of: Callable[[Path], Digest]) -> Change:
    """The jobs of `playbook` with what they run, named by `name_of`: `digest_of` only looks, a keeper also keeps it."""
    builds = tuple(Build(job.spec, name_of(job.artifact) if job.artifact else None) for job in playbook.jobs)
    return Change(deploys=builds, owner=owner_of(playbook.path))


def owner_of(playbook: Path) -> str:
    """What a playbook is called as the owner of its jobs: its whole path.

    With less of it, two teams' `playbooks/web.yml` would be one owner, and `--prune` of the one stop the other's jobs.
    """
    return str(playbook.resolve())


async def look(fleet: OpenFleet, change: Change, tell: Tell) -> View:
    """What is there, and what `change` would do."""
    return await read.view(fleet.means("look", tell), change)


async def tell_logs(fleet: OpenFleet, wanted: Wanted, tell: Tell, tell_log: TellLog, *, goes_on: bool) -> None:
    """What programs said; `goes_on`: and what they say, until it is cancelled."""
    await (follow if goes_on else logs)(fleet.means("look", tell), wanted, tell_log)


async def drive(fleet: OpenFleet, command: str, change: Change, tell: Tell, report: Report) -> RunResult:
    """One run under the lock; however it ends is written into the history, with the lines of `report`.

    Raises what `engine.run` raises.
    """
    with fleet.store.lock(fleet.name, command) as lock:
        try:
            untold = fleet.untold()  # before this run's own messages, which have a minute
            result = replace(await run(fleet.means("drive", tell), lock, change), untold=untold)
        except FleetctlError as error:
            lock.release(int(error.exit_code), tuple(error.lines()))
            raise
        except asyncio.CancelledError:
            lock.release(int(ExitCode.INTERRUPTED), ("interrupted",))
            raise
        lock.release(int(result.exit_code), tuple(line.text for line in report(result)))
        return result


async def forget_host(fleet: OpenFleet, host: str, tell: Tell, *, force: bool) -> str:
    """Forgets a host, under the lock; what is said of that. Raises what `engine.forget` raises."""
    with fleet.store.lock(fleet.name, f"hosts --forget {host}{' --force' if force else ''}") as lock:
        try:
            said = await forget(fleet.means("look", tell), lock, host, force=force)
        except FleetctlError as error:
            lock.release(int(error.exit_code), tuple(error.lines()))
            raise
        lock.release(int(ExitCode.AS_WISHED), (said,))
        return said


__all__ = ["OpenFleet", "chosen_inventory", "digest_of", "drive", "forget_host", "look", "open_fleet", "read_playbook",
           "reopening_fleet", "tell_logs", "wished_by"]  # fmt: skip

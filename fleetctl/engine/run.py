"""One run: the lock, then sweeps of observe, plan, write down, claim, execute, record, until nothing is left to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fleetctl.clock import Clock
from fleetctl.engine.acquaint import try_neighbours
from fleetctl.engine.claims import Claim, claim_all
from fleetctl.engine.events import ActionResult, Outcome, PlanMade, Tell
from fleetctl.engine.execute import Orders, execute
from fleetctl.engine.fetch_back import Gone, fetch_back
from fleetctl.engine.lease import renewed
from fleetctl.engine.links import Links
from fleetctl.engine.look import look
from fleetctl.engine.pauses import Pauses
from fleetctl.engine.record import awaited_in_vain, expect, forget_old_names, remember, with_failures
from fleetctl.engine.refusing import distrust, refuse, refuse_unrenderable
from fleetctl.engine.take_over import driven_elsewhere, take_over
from fleetctl.engine.telling import Send, Teller
from fleetctl.engine.wishing import Change, Eligible, Wished, desired, lay_over
from fleetctl.errors import (
    ChangedError,
    ExitCode,
    FleetctlError,
    HostError,
    StateError,
    UnansweredError,
    YieldError,
)
from fleetctl.model.desired import Desired
from fleetctl.model.host import Inventory
from fleetctl.model.memory import Memory
from fleetctl.model.plan import Action, Answer, Plan, Start, StepKey, Upload, step_key
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import Silence, Snapshot, Unreachable
from fleetctl.model.verdict import HostVerdict
from fleetctl.plan.failures import new_failures, not_overcome
from fleetctl.plan.from_memory import taken_for_silent
from fleetctl.plan.outcome import exit_code, newly_good
from fleetctl.plan.ownership import one_name_each, other_driver, owes_a_claim, own_hosts, refuse_shared_roots
from fleetctl.plan.reconcile import make_plan
from fleetctl.plan.sources import needed, sources
from fleetctl.plan.verdicts import SNAPSHOT_HOLDS_S, is_stale, verdicts
from fleetctl.state.artifacts import KeptArtifacts
from fleetctl.state.handover import pack
from fleetctl.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from fleetctl.model.job import Digest
    from fleetctl.model.memory import HostMemory
    from fleetctl.state.store import RunLock

SWEEPS_MAX = 20
CLAIMS_MAX = 3


@dataclass(frozen=True, slots=True)
class Means:
    """What a run works with."""

    inventory: Inventory
    eligible: Eligible
    store: Store
    kept: KeptArtifacts
    links: Links
    clock: Clock
    tell: Tell
    notify: Send | None = None  # hands a message for a human over, and waits for nothing

    @property
    def fleet(self) -> str:
        return self.inventory.fleet


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: its last sweep, and what was done in all of them."""

    exit_code: ExitCode
    desired: Desired
    snapshot: Snapshot
    verdicts: Mapping[str, HostVerdict]
    plan: Plan  # the last: without actions, unless the run gave up
    results: tuple[ActionResult, ...]
    sweeps: int
    untold: str = ""  # why a human was not told of something earlier

    @property
    def failures(self) -> tuple[ActionResult, ...]:
        return tuple(result for result in self.results if result.outcome is not Outcome.DONE)


async def run(means: Means, lock: RunLock, change: Change) -> RunResult:
    """Brings the fleet to what `change` and the store wish, or says why not. The lock is held by the caller.

    Raises UsageError before anything is touched, YieldError when somebody else drives, FleetctlError when a claim
    fails three times. What single hosts failed at is in the result.
    """
    try:
        async with renewed(lock):
            return await _Run(means, lock, change).sweep_until_done()
    finally:
        await means.links.close()


@dataclass(frozen=True, slots=True)
class _Sweep:
    """What one look came to: everything the plan was made from, and the plan."""

    desired: Desired
    memory: Memory
    snapshot: Snapshot
    verdicts: Mapping[str, HostVerdict]
    plan: Plan
    wished: Wished
    owes_a_claim: bool  # some host may obey another run or driver, or none keeps the newest wishes


class _Run:
    """The little that is carried from sweep to sweep."""

    def __init__(self, means: Means, lock: RunLock, change: Change) -> None:
        self.means, self.lock, self.change = means, lock, change
        self.begin()
        self.pending = True  # the change is not yet written down
        self.may_be_followed = lock.may_be_followed  # until we have claimed: then its orders are refused
        self.lost: dict[str, Unreachable] = {}
        self.answers: tuple[Answer, ...] = ()
        self.failed: set[StepKey] = set()
        self.mute: Counter[str] = Counter()  # how many claims a host gave no answer to
        self.results: list[ActionResult] = []
        self.teller = Teller(means.store, lock, means.notify, means.clock)
        self.unready: frozenset[InstanceName] = frozenset()  # awaited in vain since the last look

    def begin(self) -> None:
        before = self.means.store.memory(self.means.fleet)
        self.at_start: Mapping[str, HostMemory] = before.hosts
        self.fresh_from = Generation(before.generation + 1)

    async def sweep_until_done(self) -> RunResult:
        claims_left = CLAIMS_MAX
        if self.change.take_over:
            await self._take_over()
        for number in range(1, SWEEPS_MAX + 1):
            sweep = await self._decide()
            self.teller.plan_made(sweep.desired, sweep.plan, sweep.memory.incidents)
            if not sweep.plan.actions and not (self.pending and sweep.wished.is_new) and not sweep.owes_a_claim:
                return await self._finish(sweep, number)
            expected = expect(sweep.memory, sweep.plan, sweep.desired)
            blob = self._for_hosts(sweep, expected)
            self._write_down(sweep, expected)
            if is_stale(sweep.snapshot.at, self.means.clock.now()):
                self._look_at_all_again()
                continue
            try:
                claimed = await self._claim(sweep, blob)
            except (ChangedError, UnansweredError) as error:
                claims_left -= 1
                if not claims_left:
                    raise self._cannot_claim(error, sweep) from error
                continue
            if claimed:
                self.may_be_followed = False
                claims_left = CLAIMS_MAX
                await self._execute(sweep)
        return await self._finish(await self._decide(), SWEEPS_MAX)

    async def _take_over(self) -> None:
        """Whatever the change is: it is laid over what the hosts keep, not over what an older store knows."""
        means = self.means
        wished = self._wished(Change())
        wanted = desired(wished, means.inventory, means.eligible, Change(), self.fresh_from)
        seen = await look(wanted, wished.memory, means.links, means.clock, means.tell, known={})
        self.lost, self.answers = seen.snapshot.unreachable(), seen.answers
        named = one_name_each(wanted, seen.snapshot, wished.memory)
        refuse_shared_roots(named.snapshot)
        driver = other_driver(means.fleet, named.snapshot, wished.memory, means.store.author)
        if driver is not None:
            await take_over(means, self.lock, named.snapshot, driver, wished.memory)
            self.begin()

    def _look_at_all_again(self) -> None:
        """This machine slept: what did not answer then is tried anew. What refused an order is left alone as before."""
        self.lost = {host: why for host, why in self.lost.items() if not why.tries}
        self.answers = ()

    async def _decide(self) -> _Sweep:
        """Observe, judge and plan; what was learned is written down."""
        means = self.means
        wished = self._wished(self.change)
        memory = wished.memory
        wanted = desired(wished, means.inventory, means.eligible, self.change, self.fresh_from)
        seen = await look(wanted, memory, means.links, means.clock, means.tell, known=self.lost, answers=self.answers)
        taken = taken_for_silent(seen.snapshot)
        self.lost, self.answers = taken.unreachable(), seen.answers
        named = one_name_each(wanted, taken, memory)
        wanted, snapshot = named.desired, named.snapshot
        memory = forget_old_names(means.fleet, named.memory, snapshot)
        driver = other_driver(means.fleet, snapshot, memory, means.store.author)
        if driver is not None:
            raise await driven_elsewhere(means, driver, memory)
        now = means.clock.now()
        failures = new_failures(memory, snapshot, self.unready, wanted, now)
        memory = with_failures(memory, failures, forgiven=self.change.forgives)
        memory = replace(memory, failures=not_overcome(memory, snapshot, means.fleet, now))
        judged = verdicts(wanted, snapshot, seen.answers, memory, now)
        if self.pending:  # later, what can't be kept any more is held back: something was touched
            refuse(wanted, snapshot, judged, memory)
        plan = make_plan(wanted, snapshot, judged, memory, now)
        means.tell(PlanMade(plan, wanted, snapshot))
        distrust(plan, wanted, snapshot, judged, memory)
        hosts = remember(wanted, memory, snapshot, judged, at_start=self.at_start, behind=plan.behind)
        means.store.record_observation(self.lock, means.fleet, hosts)
        means.store.record_failures(self.lock, means.fleet, failures)  # after: killed in between, none counts twice
        self.unready = frozenset()
        for old, new in named.renamed.items():
            means.store.rename_host(self.lock, means.fleet, old, new)
        owes = self.may_be_followed or owes_a_claim(means.fleet, snapshot, memory, means.store.author)
        memory = replace(memory, hosts={**memory.hosts, **hosts})
        return _Sweep(wanted, memory, snapshot, judged, plan, wished, owes)

    def _wished(self, change: Change) -> Wished:
        """The store's memory with the change laid over it. Silent runs are those before this run, whatever it wrote."""
        memory = self.means.store.memory(self.means.fleet)
        silence = {
            name: replace(
                host,
                silent_runs=self.at_start[name].silent_runs if name in self.at_start else 0,
                silent_since=self.at_start[name].silent_since if name in self.at_start else None,
            )
            for name, host in memory.hosts.items()
        }
        memory = replace(memory, hosts=silence, failed_steps=frozenset(self.failed))
        return lay_over(memory, change)

    def _for_hosts(self, sweep: _Sweep, expected: Mapping[str, HostMemory]) -> dict[str, Any]:
        memory = replace(sweep.memory, hosts={**sweep.memory.hosts, **expected})
        return pack(sweep.plan.generation, self.means.store.driver, memory)

    def _write_down(self, sweep: _Sweep, expected: Mapping[str, HostMemory]) -> None:
        """The plan and what changes by it. Raises UsageError where a new wish can't be carried out as it is planned."""
        means, plan, wished = self.means, sweep.plan, sweep.wished
        for action in plan.actions if self.pending else ():
            if isinstance(action, Start) and action.instance.job in self.change.rolls:
                refuse_unrenderable(action, sweep.desired)
        means.store.write_plan(
            self.lock,
            means.fleet,
            plan,
            wishes=wished.wishes,
            releases=wished.releases,
            inventory=means.inventory.source if self.change.deploys else None,
            hosts=expected,
            cordons=wished.cordons,
            uncordons=wished.uncordons,
            forgive=self.change.forgives if self.pending else frozenset(),
        )
        self.pending = False

    async def _claim(self, sweep: _Sweep, blob: dict[str, Any]) -> bool:
        """Raise the guard of every reachable host in one message each; whether all took it.

        One that can't, as for want of disk, or that gave no answer three times is left alone for the rest of the run:
        look again, and plan without it.
        """
        means = self.means
        self.lock.assert_held()
        claim = Claim(sweep.plan.generation, means.store.author, means.fleet, blob)
        ended = await claim_all(means.links, own_hosts(means.fleet, sweep.snapshot, sweep.memory), claim)
        refused = sorted(ended.values(), key=_most_telling_first)
        if refused and not isinstance(refused[0], HostError):
            raise refused[0]
        self.mute.update(error.host for error in refused if isinstance(error, UnansweredError))
        unable = [error for error in refused if isinstance(error, HostError) and self._is_unable(error)]
        for error in unable:
            self.lost[error.host] = Unreachable(Silence.AGENT, error.reason, tries=0, hint=error.hint)  # it answered
        if refused and not unable:
            raise refused[0]
        return not refused

    def _is_unable(self, error: HostError) -> bool:
        """One that answers when it is looked at, and no claim, keeps nobody else from being healed."""
        return not _asks_for_another_look(error) or self.mute[error.host] >= CLAIMS_MAX

    def _cannot_claim(self, error: HostError, sweep: _Sweep) -> FleetctlError:
        return FleetctlError(
            f"{error.host} could not be claimed, {CLAIMS_MAX} times in a row: {error.reason}",
            context=f"claiming {len(sweep.snapshot.reachable())} hosts for plan {sweep.plan.generation}",
            hint=f"something there keeps changing: see `fleetctl status` and the logs of what runs on {error.host}",
        )

    async def _execute(self, sweep: _Sweep) -> None:
        means, generation = self.means, sweep.plan.generation
        pauses = Pauses(means.clock)

        def may_order() -> None:
            """However quickly the lease was renewed after a sleep: the plan was made before it."""
            self.lock.assert_held()
            if pauses.longest_s() > SNAPSHOT_HOLDS_S:
                raise YieldError(
                    f"this machine slept while plan {generation} was carried out: nothing more of it is sent",
                    hint="the next run looks again and goes on from here",
                )

        def record(index: int, result: ActionResult) -> None:
            means.store.record_action(self.lock, generation, index, result.outcome.value, result.detail)

        lacking = await fetch_back(self._gone(sweep), links=means.links, kept=means.kept, tell=means.tell)

        def kept(artifact: Digest) -> Path:
            if artifact in lacking:
                raise lacking[artifact]
            return means.kept.path(artifact)

        orders = Orders(
            desired=sweep.desired,
            generation=generation,
            author=means.store.author,
            links=means.links,
            kept=kept,
            assert_held=may_order,
            record=record,
            tell=means.tell,
        )
        async with pauses:
            results = await execute(sweep.plan, orders)
        self.results += results
        self.unready = awaited_in_vain(results)
        for result in results:
            if result.outcome is not Outcome.DONE:
                self.failed |= self._forbidden_by(result.action)

    def _gone(self, sweep: _Sweep) -> tuple[Gone, ...]:
        """What the plan uploads and is kept no more, and the hosts that it can be fetched back from."""
        specs = {host.name: host for host in sweep.desired.hosts}
        return tuple(
            Gone(
                artifact,
                job,
                tuple(specs[name] for name in sources(sweep.snapshot, sweep.verdicts, self.means.fleet, artifact)),
            )
            for artifact, job in needed(sweep.plan).items()
            if not self._is_kept(artifact)
        )

    def _forbidden_by(self, failed: Action) -> set[StepKey]:
        """The steps not to plan again in this run: that one; where there is nothing to upload, it on any host."""
        if not isinstance(failed, Upload) or self._is_kept(failed.artifact):
            return {step_key(failed)}
        return {step_key(replace(failed, host=host.name)) for host in self.means.inventory.hosts}

    def _is_kept(self, artifact: Digest) -> bool:
        try:
            self.means.kept.path(artifact)
        except StateError:
            return False
        return True

    async def _finish(self, sweep: _Sweep, sweeps: int) -> RunResult:
        means = self.means
        if self.results:
            await try_neighbours(means.fleet, means.inventory, means.links, sweep.snapshot, sweep.memory)
        if self.change.deploys:
            means.store.keep_inventory(self.lock, means.fleet, means.inventory.source)
        if good := newly_good(sweep.desired, sweep.snapshot, sweep.memory):
            for job, release in good:
                means.store.mark_good(self.lock, means.fleet, job, release)
            await self._leave_there_what_is_good(sweep)
        self.teller.run_ended(sweep.desired, sweep.plan, tuple(self.results))
        gave_up = bool(sweep.plan.actions)
        failed = gave_up or any(result.outcome is not Outcome.DONE for result in self.results)
        code = exit_code(sweep.plan, sweep.verdicts, sweep.snapshot, sweep.desired, failed=failed)
        return RunResult(code, sweep.desired, sweep.snapshot, sweep.verdicts, sweep.plan, tuple(self.results), sweeps)

    async def _leave_there_what_is_good(self, sweep: _Sweep) -> None:
        """The newest claim once more, with what it could not yet know: who takes the fleet over is not to start an
        older release. A host that can't take it keeps what it has."""
        means, generation = self.means, sweep.memory.generation
        self.lock.assert_held()
        ours = {
            name: seen
            for name, seen in own_hosts(means.fleet, sweep.snapshot, sweep.memory).items()
            if (seen.report.guard.generation, seen.report.guard.author) == (generation, means.store.author)
        }
        blob = pack(generation, means.store.driver, means.store.memory(means.fleet))
        ended = await claim_all(means.links, ours, Claim(generation, means.store.author, means.fleet, blob))
        for error in ended.values():
            if not isinstance(error, HostError | YieldError):
                raise error


def _asks_for_another_look(error: BaseException) -> bool:
    return isinstance(error, ChangedError | UnansweredError)


def _most_telling_first(error: BaseException) -> int:
    """Somebody else drives; a defect or a Ctrl-C; a host that can't; a host that is to be looked at again."""
    if isinstance(error, YieldError):
        return 0
    if not isinstance(error, HostError):
        return 1
    return 3 if _asks_for_another_look(error) else 2

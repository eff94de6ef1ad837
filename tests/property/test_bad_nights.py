"""A fleet through a bad night: hosts are lost, doubted and come back, deploys fail halfway, people cordon, drain and
limit, the controller dies between any two actions. After every step the checker has passed the plan, and what was
serving still is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fleetctl.model.plan import AwaitReady
from fleetctl.model.snapshot import Phase
from tests.unit.plan.fleets import Fleet, fixed, job, names

HOSTS = names(5)
REPLICAS = 3


class BadNight(RuleBasedStateMachine):
    """One job on five hosts. `bad` releases never get ready."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet.of(*HOSTS)
        self.version = 0
        self.bad: set[int] = set()
        self.fleet.refuses = self._is_gate_of_a_bad_release
        self.ports = ()

    def _is_gate_of_a_bad_release(self, action: object) -> bool:
        if not isinstance(action, AwaitReady):
            return False
        return self.fleet.machines[action.host].rows[action.instance].release in self.bad

    def _next_spec(self):
        self.version += 1
        how = {"ports": fixed(8080)} if self.ports else {}
        return job(replicas=REPLICAS, command=("./web", str(self.version)), **how)

    @initialize(fixed_port=st.booleans())
    def first_deploy(self, fixed_port):
        self.ports = fixed_port
        self.fleet.deploy(self._next_spec())

    # -- what people and cron do

    @rule()
    def heal(self):
        self.fleet.heal()

    @rule(good=st.booleans())
    def deploy(self, good):
        number = self.fleet.wish(self._next_spec())
        if not good:
            self.bad.add(number)
        self.fleet.redeploy("web")

    @rule(limit=st.frozensets(st.sampled_from(HOSTS)), deploys=st.booleans())
    def somebody_is_cautious(self, limit, deploys):
        if deploys:
            self.fleet.wish(self._next_spec())
        before = self._running_outside(limit)
        self.fleet.redeploy(*(["web"] if deploys else []), limit=limit)
        assert self._running_outside(limit) == before

    def _running_outside(self, limit):
        return {name: host for name, host in self.fleet.running().items() if host not in limit}

    @rule(silent=st.integers(1, 2))
    def deploy_without_waiting_for_silent_hosts(self, silent):
        self.fleet.wish(self._next_spec())
        self.fleet.redeploy("web", allow_unreachable=silent)

    @rule()
    def restart(self):
        self.fleet.restart("web")

    @rule(host=st.sampled_from(HOSTS), drains=st.booleans())
    def a_host_is_cordoned(self, host, drains):
        self.fleet.cordon(host, drains=drains)

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_uncordoned(self, host):
        self.fleet.uncordon(host)

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_taken_out_of_the_inventory(self, host):
        self.fleet.take_out_of_the_inventory(host)

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_put_back(self, host):
        self.fleet.gone.discard(host)

    @rule(actions=st.integers(0, 12), deploys=st.booleans())
    def the_controller_dies(self, actions, deploys):
        self.fleet.failed.clear()
        if deploys:
            self.fleet.wish(self._next_spec())
            self.fleet.rolls = frozenset({"web"})
        plan = self.fleet.decide()
        self.fleet.rolls = frozenset()
        self.fleet.apply(plan, actions=actions)

    # -- what happens to hosts

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_lost(self, host):
        self.fleet.lose(host)

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_doubted(self, host):
        self.fleet.doubt(host)

    @rule(host=st.sampled_from(HOSTS))
    def a_host_comes_back(self, host):
        self.fleet.come_back(host)

    @precondition(lambda self: any(machine.silence is None for machine in self.fleet.machines.values()))
    @rule(data=st.data(), phase=st.sampled_from([Phase.UNREADY, Phase.WAITING, Phase.STARTING]))
    def a_program_fails(self, data, phase):
        ready = [
            (machine, name)
            for machine in self.fleet.machines.values()
            for name, row in sorted(machine.rows.items())
            if row.phase is Phase.READY
        ]
        if ready:
            machine, name = data.draw(st.sampled_from(ready))
            self.fleet.put(machine.spec.name, replace(machine.rows[name], phase=phase, ready_for_s=None))

    @rule()
    def programs_recover(self):
        for machine in self.fleet.machines.values():
            for name, row in machine.rows.items():
                if row.phase in (Phase.UNREADY, Phase.WAITING, Phase.STARTING) and row.release not in self.bad:
                    machine.rows[name] = replace(row, phase=Phase.READY, ready_for_s=60.0, ever_ready=True)

    # -- what must hold

    @invariant()
    def no_two_hold_one_port_of_a_host(self):
        for machine in self.fleet.machines.values():
            ports = [n for row in machine.rows.values() if row.phase.holds_room for _, n in row.ports]
            assert len(ports) == len(set(ports))

    def teardown(self):
        """Once the faults are over, a good deploy brings the wished replicas up, each once."""
        if self.version == 0:
            return
        self.fleet.come_back(*HOSTS)
        self.fleet.uncordon(*HOSTS)
        self.fleet.gone.clear()
        self.programs_recover()
        self.fleet.deploy(self._next_spec())
        self.programs_recover()
        self.fleet.deploy(self._next_spec())
        running = sorted(name.split("@")[0] for name in self.fleet.running())
        assert running == [f"web.{index}" for index in range(REPLICAS)], self.fleet.plan
        assert self.fleet.behind == {}
        assert self.fleet.plan.held == ()


def test_a_bad_night():
    run_state_machine_as_test(
        BadNight, settings=settings(max_examples=150, stateful_step_count=30, deadline=None, derandomize=True)
    )


@pytest.mark.soak
def test_many_bad_nights():
    run_state_machine_as_test(
        BadNight,
        settings=settings(
            max_examples=3000, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

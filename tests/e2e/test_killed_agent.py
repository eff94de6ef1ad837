"""The agent is ended by kill -9: the programs do not notice, and the status is right again within seconds."""

from tests.e2e.fleet import EXITS_42
from tests.e2e.machines import wait_until

RIGHT_AGAIN_S = 5


def agent_of(fleet, host):
    agents = [pid for pid, argv in fleet.machines.look(host).of_fleetctl.items() if "agent" in argv]
    return agents[0] if len(agents) == 1 else None


def test_ten_kills_of_the_agent_leave_the_programs_and_the_status_is_right_within_5_s(fleet):
    fleet.deployed()
    programs = fleet.programs()
    host = fleet.host_of("web.1")
    for _ in range(10):
        agent = wait_until(lambda: agent_of(fleet, host), 30, f"an agent runs on {host}, and no fork of it")
        fleet.machines.kill_pid(host, agent)
        wait_until(
            lambda killed=agent: agent_of(fleet, host) not in (None, killed) and len(fleet.status().ready()) == 4,
            RIGHT_AGAIN_S, "another agent runs, and all four are ready",
        )  # fmt: skip
        assert fleet.programs() == programs
    assert [row.pid for row in fleet.status().instances if row.host == host] == [
        program.pid for program in programs if program.host == host
    ]


def test_an_exit_the_agent_missed_is_shown_and_answered_by_one_restart(fleet):
    fleet.deployed(program=EXITS_42)
    host = fleet.host_of("web.1")
    instance = next(row.instance for row in fleet.status().instances if row.replica == "web.1")
    shell = next(p for p in fleet.programs() if p.host == host and "serve" in " ".join(p.argv))
    agent = wait_until(lambda: agent_of(fleet, host), 30, f"an agent runs on {host}, and no fork of it")

    fleet.machines.exec(host, "sh", "-c", f"kill -9 {agent}; kill -USR1 {shell.pid}")

    def restarted():
        row = fleet.status().of(instance)
        return row.phase == "ready" and row.restarts > 0 and row

    row = wait_until(restarted, 60, f"{instance} is restarted and ready")
    assert (row.last_exit, row.restarts) == ("exited 42", 1)
    fleet.await_all_answer()

"""An old program is worth more than a new one that fails."""

from tests.e2e.fleet import SERVE

CRASHES = SERVE.replace("set -eu\n", "set -eu\n[ ! -e /tmp/crash ] || exit 1\n")


def test_an_old_program_serves_on_while_the_one_that_should_succeed_it_keeps_crashing(fleet):
    fleet.deployed(program=CRASHES, update={"min_healthy": "3s", "deadline": "12s"})
    host = fleet.host_of("web.1")
    (old,) = [program for program in fleet.programs() if program.host == host]
    others = tuple(name for name in fleet.hosts if name != host)
    for name in others:
        fleet.machines.exec(name, "touch", "/tmp/crash")
    fleet.machines.cut_off(host)
    fleet.heal().ends(1, 3)
    fleet.machines.come_back(host)

    for _ in range(3):
        fleet.heal().ends(1, 3)
        assert old in fleet.programs(), "nothing newer of web.1 was ever ready"
        assert fleet.serving()["web.1"] == [old]

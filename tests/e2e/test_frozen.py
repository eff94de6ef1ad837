"""A host that is paused and goes on: what is watched there had no time to beat, and is given all of it again."""

import time

from tests.e2e.fleet import SERVE
from tests.e2e.machines import wait_until

HEARTBEAT_S = 4  # a busy machine keeps a program that beats five times a second from it for less
# As SERVE, with a heartbeat of its own until /tmp/no-heartbeat is on the host.
BEATS = SERVE.replace(
    "exec ", '( while [ ! -e /tmp/no-heartbeat ]; do touch "$FLEETCTL_HEARTBEAT"; sleep 0.2; done ) &\nexec '
)


def test_programs_outlive_a_pause_of_three_heartbeat_intervals_and_end_when_they_beat_no_more(one_host):
    one_host.deployed(program=BEATS, replicas=2, alive={"heartbeat": f"{HEARTBEAT_S}s"})
    programs = one_host.programs()
    one_host.machines.pause("h1")
    time.sleep(3 * HEARTBEAT_S)  # the fault itself: nothing can be awaited of a host that is paused
    one_host.machines.unpause("h1")
    one_host.await_all_answer(2)
    time.sleep(2 * HEARTBEAT_S)  # as long as it takes to see that nothing comes of it
    assert one_host.programs() == programs
    assert [row.restarts for row in one_host.status().instances] == [0, 0]

    one_host.machines.exec("h1", "touch", "/tmp/no-heartbeat")
    wait_until(
        lambda: all(row.last_exit and "SIGABRT" in row.last_exit for row in one_host.status().instances),
        60, "both are ended, for they beat no more",
    )  # fmt: skip
